"""What a generator learns from or has made: files sorted by class, and the volumes of another experiment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from connectomake.config.section import Section

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
