"""What the volumes are and where they lie: the model of one file in config/data/."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from connectomake.config.engine.explain import nearest
from connectomake.config.section import Section
from connectomake.config.settings.data_cellmap import CellmapConfig

SideVx = Annotated[int, Field(ge=16, le=4096)]
_BYTES_PER_VOXEL = 40  # measured: 32 to 37, where one label spans the block


class SkeletonConfig(Section):
    """How skeletons are traced in labels where a volume has no skeleton file (TEASAR, as kimimaro has it)."""

    scale: float = Field(default=1.5, ge=0, description="a branch is pruned within scale x radius + const_nm of a path")
    const_nm: float = Field(default=300.0, ge=0, description="the constant part of that distance (nm)")
    dust_vx: int = Field(
        default=1000, ge=0, description="labels of fewer voxels in the whole volume get no skeleton (voxels)"
    )
    soma_detection_nm: float = Field(
        default=750.0, gt=0, description="radius from which a label is looked at as a soma (nm)"
    )
    soma_acceptance_nm: float = Field(default=3500.0, gt=0, description="radius from which it is one (nm)")
    block_zyx_vx: tuple[SideVx, SideVx, SideVx] = Field(
        default=(512, 512, 512),
        description="largest block that one process traces at a time, z, y, x (voxels); sets the memory, some 40 bytes "
        "a voxel for each thread; a volume within one block is traced as a whole",
    )

    @property
    def block_mb(self) -> int:
        """The memory of a process that traces one block, in MB."""
        return prod(side + 1 for side in self.block_zyx_vx) * _BYTES_PER_VOXEL // 10**6


PerAxisNm = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class CollectionConfig(Section):
    """Many files, sorted by class, such as the CT and MRI volumes of 3D MedDiffusion; for the synth stage alone."""

    path: str = Field(
        description="a folder with one folder of files for each class, or a JSON file {class: folder or [folders]}, "
        "whose "
        "relative folders start from it"
    )
    pattern: str = Field("*.nii.gz", description="names of the files in these folders, `*` stands for anything")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of each class's files that nothing is learnt from, at least one"
    )
    seed: NonNegativeInt = Field(0, description="seed of which these are")
    voxel_size_zyx_nm: PerAxisNm | None = Field(
        None, description="voxel size, z, y, x in nm; where the files do not say"
    )


class SyntheticConfig(Section):
    """Volumes that the generator of another experiment makes, to train on."""

    generator: str = Field(description="experiment of config/experiments with a synth preset whose volumes have labels")
    classes: tuple[str, ...] = Field((), description="classes to take; [] = all")
    volumes: PositiveInt | None = Field(
        None, description="volumes of each class and shape to take; null = as many as its synth preset makes"
    )
    source: str = Field("synthetic", description="kind of data that they belong to; see `mix`")


FROM_LABELS = "from_labels"

UNKNOWN = -1
"""The label of voxels about which the truth says nothing: no loss and no metric counts them."""

PerAxisVx = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


def _check_box(box: tuple[PerAxisVx, PerAxisVx]) -> tuple[PerAxisVx, PerAxisVx]:
    """Reject a box without voxels."""
    start, stop = box
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        raise ValueError(
            f"the box must end after it starts on each of z, y, x; it starts at {start} and stops at {stop}"
        )
    return box


def _check_axes(axes: str) -> str:
    """Reject a string of axis letters that does not name z, y and x once each."""
    if len(set(axes)) != len(axes) or not set("zyx") <= set(axes) or not axes.isalpha() or not axes.islower():
        raise ValueError(
            "axes are one small letter per axis of the array, each once, with z, y and x among them, as in zyx or xyzc"
        )
    return axes


class VolumeSource(Section):
    """One volume: its raw data, what is known about it, and what it is used for."""

    role: Literal["train", "validate", "test", "predict"] = Field(description="what the volume is used for")
    raw: str | None = Field(
        None,
        description="path of the images: HDF5 `file.h5::dataset`, TIFF, folder of TIFF or PNG slices, NIfTI, "
        "Zarr, OME-Zarr `store.zarr` or `store.zarr::s1`; Zarr also as a URL, `s3://bucket/store.zarr::s0` or `https://`",
    )
    labels: str | None = Field(
        None, description="path of the instance labels in any of these formats: integers, 0 = background, -1 = unknown"
    )
    skeletons: str | None = Field(
        None,
        description="path of skeletons (.npz, .swc or a folder of them, NISB .pkl), or from_labels to trace them",
    )
    phantom: str | None = Field(None, description="preset in config/phantom/ of a volume to generate; instead of raw")
    seed: int = Field(0, ge=0, description="seed of the generated volume")
    box_zyx_vx: Annotated[tuple[PerAxisVx, PerAxisVx], AfterValidator(_check_box)] | None = Field(
        None,
        description="part to use, [[z, y, x], [z, y, x]] in voxels of the source, start included, stop excluded; "
        "all by default",
    )
    voxel_size_zyx_nm: PerAxisNm | None = Field(
        None, description="voxel size, z, y, x in nm; where the file does not say"
    )
    offset_zyx_nm: tuple[float, float, float] | None = Field(
        None,
        description="centre of the source's first voxel, z, y, x in nm; by default what the file says, else 0, 0, 0",
    )
    axes: Annotated[str, AfterValidator(_check_axes)] | None = Field(
        None,
        description="order of the array's axes, as in zyx, xyz, czyx or xyzc; by default what the file says, else zyx",
    )
    swc_unit_nm: PositiveFloat = Field(1.0, description="nm per unit of length in SWC files")
    weight: PositiveFloat = Field(
        1.0, description="how often training draws from a voxel of this volume, relative to the others of its source"
    )
    source: str = Field("", description="kind of data that it belongs to, such as real or synthetic; see `mix`")
    crop: str | None = Field(
        None,
        description="crop of the CellMap challenge that it is, DATASET/cropN; raw and labels are then the Zarr groups "
        "of the dataset's images and of the crop. Filled in by `cellmap`",
    )
    generated: str | None = Field(
        None, description="volume that a generator makes, instead of raw: CLASS_N. Filled in by `synthetic`"
    )

    @property
    def has_labels(self) -> bool:
        """Whether there are truth labels."""
        return self.phantom is not None or self.generated is not None or self.labels is not None

    @property
    def has_skeletons(self) -> bool:
        """Whether there are truth skeletons, or will be."""
        return self.phantom is not None or self.skeletons is not None

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        """Reject combinations of keys that cannot mean anything."""
        if [self.raw, self.phantom, self.generated].count(None) != 2:
            raise ValueError("give exactly one of raw (a path) and phantom (a preset of config/phantom/)")
        if self.raw is None:
            for key in ("labels", "axes", "voxel_size_zyx_nm", "offset_zyx_nm"):
                if getattr(self, key) is not None:
                    raise ValueError(f"a phantom brings its own {key}: remove that key")
        elif self.labels is None and self.skeletons == FROM_LABELS:
            raise ValueError("skeletons: from_labels needs labels: give their path")
        return self


class DataConfig(Section):
    """A set of volumes."""

    description: str = Field("", description="what these data are, and where they come from")
    folder: str = Field(
        "",
        description="folder or URL that relative paths start from, by default the project's; "
        "`~` and `$NAME` are filled in",
    )
    missing: str = Field(
        "", description="what to do when the folder does not exist, such as where to download it; shown in the error"
    )
    volumes: dict[str, VolumeSource] = Field(default_factory=dict, description="the volumes by name")
    cellmap: CellmapConfig | None = Field(
        None,
        description="crops of the CellMap Segmentation Challenge, or of a generated one like it, instead of volumes",
    )
    collection: CollectionConfig | None = Field(
        None, description="folders of files by class, for the synth stage, instead of volumes"
    )
    synthetic: SyntheticConfig | None = Field(
        None, description="volumes of a generator to train on, beside the others; weighted by `mix`"
    )
    mix: dict[str, NonNegativeFloat] = Field(
        default_factory=dict,
        description="source -> weight: the share of the training patches that come from its volumes is its weight over "
        "the sum, whatever their size; of a source with weight 0 nothing is read; {} = all voxels count alike",
    )
    skeletonize: SkeletonConfig = Field(
        default_factory=SkeletonConfig, description="how skeletons are traced in labels, for skeletons: from_labels"
    )

    @property
    def segmented(self) -> list[str]:
        """The volumes that are segmented: those not trained on, or all where there are no others.

        Of a challenge, those to submit.
        """
        if self.cellmap is not None:
            return [name for name, source in self.volumes.items() if source.role == "predict"]
        return [name for name, source in self.volumes.items() if source.role != "train"] or list(self.volumes)

    @property
    def phantoms(self) -> set[str]:
        """The presets of config/phantom/ that are generated for it."""
        made = self.cellmap.generate.values() if self.cellmap is not None else ()
        return {v.phantom for v in self.volumes.values() if v.phantom} | {dataset.phantom for dataset in made}

    @model_validator(mode="after")
    def _check_volumes(self) -> Self:
        """Reject data without a volume, and volumes beside those of a challenge or a collection."""
        if self.cellmap is None and self.collection is None and not self.volumes:
            raise ValueError("give volumes, cellmap or collection")
        if self.collection is not None and (self.volumes or self.cellmap is not None or self.synthetic is not None):
            raise ValueError("collection stands alone: remove volumes, cellmap and synthetic")
        if self.cellmap is not None and any(volume.crop is None for volume in self.volumes.values()):
            raise ValueError("cellmap makes the volumes itself: remove volumes, or write a data config for each")
        return self

    @model_validator(mode="after")
    def _check_mix(self) -> Self:
        """Reject a mix of other sources than those of the train volumes, and one that gives nothing."""
        if not self.mix or not self.volumes:
            return self
        sources = {name: volume.source for name, volume in self.volumes.items() if volume.role == "train"}
        if self.synthetic is not None:
            sources.setdefault("synthetic", self.synthetic.source)
        for source in self.mix:
            if source not in sources.values():
                raise ValueError(
                    f"mix: no train volume has the source {source!r}: "
                    f"{nearest(source, set(sources.values()) - {''}, 'sources of train volumes')}"
                )
        for name, source in sources.items():
            if source not in self.mix:
                got = f"its source {source!r} is not in mix" if source else "it has no source"
                raise ValueError(
                    f"mix: how often shall the train volume {name!r} be drawn from? {got}; "
                    f"{nearest(source, self.mix, 'sources in mix')}"
                )
        if not sum(self.mix.values()) > 0:
            raise ValueError(f"mix: the weights must sum to a positive number, got {dict(self.mix)}")
        return self
