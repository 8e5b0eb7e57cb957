"""Settings of the submit stage: from what the network says of each class to what the challenge takes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from connectomake.cellmap.classes import INSTANCE_CLASSES
from connectomake.config.section import Section

Probability = Annotated[float, Field(ge=0, lt=1)]


class ObjectsConfig(Section):
    """How the objects of one class are told apart."""

    threshold: Probability = Field(0.5, description="a voxel is of the class where its probability is above this")
    split_nm: PositiveFloat | None = Field(
        None,
        description="objects that touch are cut apart by a watershed where the distance to their border rises by more "
        "than this from the neck between them to both middles (nm); null = what touches is one object",
    )
    smallest_nm3: NonNegativeFloat = Field(0.0, description="smaller objects are left out (nm^3)")
    fill_holes: bool = Field(False, description="fill what an object encloses wholly")


class SubmitConfig(Section):
    """One submission: labels of every class of every crop, packed."""

    threshold: Probability = Field(
        0.5,
        description="of classes that are not told object by object: a voxel is of it where its probability is above",
    )
    class_threshold: dict[str, Probability] = Field(
        default_factory=dict, description="class -> a threshold of its own, for classes not told object by object"
    )
    instance_classes: tuple[str, ...] = Field(
        INSTANCE_CLASSES, description="classes that are told object by object; by default as the challenge scores them"
    )
    objects: ObjectsConfig = Field(default_factory=ObjectsConfig, description="how objects are told apart")
    class_objects: dict[str, ObjectsConfig] = Field(
        default_factory=dict, description="class -> how its objects are told apart, instead of `objects`"
    )
    chunk_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (128, 128, 128), description="voxels of a chunk of the arrays that are written (z, y, x)"
    )
    largest_gb: PositiveFloat = Field(
        50.0, description="largest size of all files in the submission together; the challenge refuses more (GB)"
    )
    metric: Literal["6b9ad68"] = Field(
        "6b9ad68", description="commit of the challenge's toolbox whose metric the local score follows"
    )
    second_opinion: bool = Field(
        False, description="score by the challenge's own toolbox too, in envs/cellmap.yaml, and compare"
    )

    def objects_of(self, name: str) -> ObjectsConfig:
        """Return how the objects of a class are told apart."""
        return self.class_objects.get(name, self.objects)

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        """Reject settings of classes that are not read."""
        for name in self.class_objects:
            if name not in self.instance_classes:
                raise ValueError(f"class_objects: {name!r} is not in instance_classes")
        for name in self.class_threshold:
            if name in self.instance_classes:
                raise ValueError(
                    f"class_threshold: {name!r} is told object by object: set class_objects.{name}.threshold"
                )
        return self
