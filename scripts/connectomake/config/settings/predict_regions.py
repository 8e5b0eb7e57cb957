"""Settings that say which part of a volume is predicted."""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from connectomake.config.section import Section

CornerVx = tuple[int, int, int]
CornerNm = tuple[float, float, float]
Corner = TypeVar("Corner", CornerVx, CornerNm)


def _check_order(box: tuple[Corner, Corner]) -> tuple[Corner, Corner]:
    """Reject a box that does not end after it starts."""
    start, stop = box
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        raise ValueError(f"a box must end after it starts on each of z, y, x; it starts at {start} and stops at {stop}")
    return box


BoxVx = Annotated[tuple[CornerVx, CornerVx], AfterValidator(_check_order)]
BoxNm = Annotated[tuple[CornerNm, CornerNm], AfterValidator(_check_order)]


class RegionConfig(Section):
    """A box, a list of crops, and a mask; what is predicted lies in all that are given."""

    box_zyx_vx: BoxVx | None = Field(
        None,
        description="[[z, y, x], [z, y, x]] in voxels of the volume as its data config gives it, start included, stop "
        "excluded",
    )
    box_zyx_nm: BoxNm | None = Field(
        None,
        description="the same in nm, in the volume's own coordinates: the voxels whose centres lie in it",
    )
    crops_zyx_vx: tuple[BoxVx, ...] = Field((), description="several such boxes, in voxels")
    crops_zyx_nm: tuple[BoxNm, ...] = Field((), description="several such boxes, in nm")
    crops_file: str | None = Field(
        None,
        description="table (TSV) of crops in nm, with the columns name, z_start, y_start, x_start, z_stop, y_stop, "
        "x_stop; relative to the folder of the data",
    )
    mask: str | None = Field(
        None,
        description="volume of any format and voxel size, such as a coarse mask of the tissue: where it is 0, or does "
        "not reach, nothing is predicted; relative to the folder of the data",
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        """Reject two boxes, and a region that says nothing."""
        if self.box_zyx_vx is not None and self.box_zyx_nm is not None:
            raise ValueError("give box_zyx_vx or box_zyx_nm, not both")
        if not any(getattr(self, key) for key in type(self).model_fields):
            raise ValueError("a region needs a box, crops or a mask; leave it out to predict the whole volume")
        return self

    @property
    def has_crops(self) -> bool:
        """Whether there is a list of crops."""
        return bool(self.crops_zyx_vx or self.crops_zyx_nm or self.crops_file)
