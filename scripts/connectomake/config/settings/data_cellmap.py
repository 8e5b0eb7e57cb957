"""Settings of data that lie as in the CellMap Segmentation Challenge, or are generated to lie so."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from connectomake.cellmap.tree import RAW_GROUP
from connectomake.config.section import Section

GENERATED_CLASSES = ("cell", "pm", "cyto", "mito", "mito_mem", "mito_lum", "ves", "ves_mem", "ves_lum")
"""Classes of a generated challenge, in the order of the ids of its table of classes."""

LABEL_SCALES = (0.5, 1, 2, 4)
Voxels = tuple[PositiveInt, PositiveInt, PositiveInt]
SizeNm = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Start = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
Share = Annotated[float, Field(ge=0, le=1)]


class GeneratedCrop(Section):
    """One crop of a generated dataset."""

    start_zyx_vx: Start = Field(description="where it begins, in voxels of the dataset's finest level")
    shape_zyx_vx: Voxels = Field(description="its extent, in the same voxels")
    label_scale: float = Field(
        1.0,
        description="side of a voxel of its labels over that of the finest level: 0.5, 1, 2 or 4; the extent must be a "
        "multiple",
    )
    test: bool = Field(False, description="whether its labels are kept back, and it is one of those to submit")
    not_annotated: tuple[str, ...] = Field((), description="classes that have no labels here")
    unknown_share: Share = Field(0.0, description="share of the crop, along z from the far end, that is unknown (255)")

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        """Reject labels whose voxels do not fill the crop."""
        if self.label_scale not in LABEL_SCALES:
            raise ValueError(
                f"label_scale must be one of {', '.join(map(str, LABEL_SCALES))}, got {self.label_scale:g}"
            )
        if any(side % self.label_scale for side in self.shape_zyx_vx):
            raise ValueError(f"shape_zyx_vx must be multiples of label_scale ({self.label_scale:g})")
        return self


class GeneratedDataset(Section):
    """One generated dataset: a phantom, and crops in it."""

    phantom: str = Field("default", description="preset of config/phantom/ that draws it")
    seed: int = Field(0, ge=0, description="seed of the phantom")
    levels: PositiveInt = Field(3, description="levels of its pyramid, each half the one before")
    first_level: int = Field(
        0, ge=0, description="first level whose voxels are there; finer ones are listed and empty, as after a download"
    )
    crops: dict[str, GeneratedCrop] = Field(min_length=1, description="crops by name, as in crop1")

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Reject a dataset without voxels."""
        if self.first_level >= self.levels:
            raise ValueError(f"first_level must be below levels ({self.levels}), got {self.first_level}")
        return self


class CellmapConfig(Section):
    """Crops in the layout of the CellMap Segmentation Challenge; each becomes a volume called DATASET.cropN."""

    tree: str | None = Field(
        None,
        description="folder of the datasets, as `csc fetch-data` of the challenge's toolbox makes it: "
        f"DATASET/DATASET.zarr/{RAW_GROUP} and .../labels/groundtruth/cropN/CLASS",
    )
    generate: dict[str, GeneratedDataset] = Field(
        default_factory=dict, description="datasets to generate instead, by name"
    )
    voxel_size_zyx_nm: SizeNm = Field(
        description="voxels to learn and predict on, z, y, x in nm: the level of the images nearest to it is read, and "
        "resampled where it differs by more than 5 %"
    )
    classes: tuple[str, ...] = Field(min_length=1, description="classes to learn, predict and submit")
    class_table: str | None = Field(
        None, description="classes.csv of the toolbox: what a class is made of, where it has no labels of its own"
    )
    manifest: str | None = Field(
        None, description="test_crop_manifest.csv of the toolbox: the crops to submit; none = nothing is submitted"
    )
    datasplit: str | None = Field(
        None,
        description="a datasplit.csv of yours (5 or 3 columns) that says which crops are learnt from and which "
        "validate; none = split.method: classes decides",
    )
    datasets: tuple[str, ...] = Field((), description="learn from crops of these datasets only; none = all")
    crops: tuple[str, ...] = Field((), description="learn from these crops only, as in crop234; none = all")
    skip_crops: tuple[str, ...] = Field((), description="neither learn from these crops nor predict them")
    coarsest_labels_nm: SizeNm | None = Field(
        None, description="leave out labels of voxels larger than this along any axis (nm); none = take all"
    )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        """Reject two trees or none, and what a generated one brings itself."""
        if (self.tree is None) == (not self.generate):
            raise ValueError("give exactly one of tree (a folder) and generate (datasets to make)")
        for key in ("manifest", "class_table", "datasplit"):
            if self.generate and getattr(self, key) is not None:
                raise ValueError(f"a generated challenge brings its own {key}: remove that key")
        return self

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        """Reject a class twice, and classes that a generated challenge does not have."""
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ValueError(f"classes: {twice[0]!r} is there twice")
        asked = [*self.classes, *(n for d in self.generate.values() for c in d.crops.values() for n in c.not_annotated)]
        unknown = [name for name in asked if name not in GENERATED_CLASSES]
        if self.generate and unknown:
            raise ValueError(
                f"a generated challenge has the classes {', '.join(GENERATED_CLASSES)}, not {unknown[0]!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_crops(self) -> Self:
        """Reject a name of a crop that is none, and one that two generated datasets have."""
        names = [name for dataset in self.generate.values() for name in dataset.crops]
        for name in (*names, *self.crops, *self.skip_crops):
            if not (name.startswith("crop") and name.removeprefix("crop").isdigit()):
                raise ValueError(f"crops are called crop and a number, as in crop234, got {name!r}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"generate: two datasets have a {twice[0]}")
        return self

    def learns_from(self, dataset: str, crop: str) -> bool:
        """Return whether an annotated crop is asked for."""
        wanted = (not self.datasets or dataset in self.datasets) and (not self.crops or crop in self.crops)
        return wanted and crop not in self.skip_crops
