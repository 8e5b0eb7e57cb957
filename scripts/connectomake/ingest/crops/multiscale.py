"""The levels of one Zarr group of the challenge's tree: how large their voxels are, and where they lie.

The challenge's trees are Zarr 2 with OME-NGFF 0.4 metadata; a translation is the centre of the first voxel. Other Zarr
is refused with what is wrong with it, not guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, prod
from pathlib import Path
from typing import Any

from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.geometry import TripleNm, to_triple_nm
from connectomake.volumes.formats.array import SPATIAL
from connectomake.volumes.formats.metadata import read_multiscales
from connectomake.volumes.volume import Volume, open_volume

SAME_SIZE = 0.05  # share by which a voxel size may differ, along any axis, and be read as it is
_LAYOUT = "a Zarr 2 group with OME-NGFF 0.4 multiscales, as `csc fetch-data` of the challenge's toolbox makes it"


@dataclass(frozen=True)
class Level:
    """One level of a multiscale group, as its metadata list it; whether it is there is another question.

    Parameters
    ----------
    name
        Its path in the group, as in ``s1``.
    folder
        Where its array should lie.
    voxel_size_zyx_nm, offset_zyx_nm
        Voxel size, and centre of its first voxel, in nm.
    """

    name: str
    folder: Path
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm

    @property
    def exists(self) -> bool:
        """Whether there is an array; its chunks may be missing all the same."""
        return (self.folder / ".zarray").is_file()

    @property
    def corner_zyx_nm(self) -> TripleNm:
        """The outer corner of the first voxel, half a voxel before its centre."""
        return to_triple_nm([o - s / 2 for o, s in zip(self.offset_zyx_nm, self.voxel_size_zyx_nm, strict=True)])

    def open(self) -> Volume:
        """Open the array; only its header is read.

        Raises
        ------
        MissingDataError
            It is not there.
        DataError
            It is no volume.
        """
        if not self.exists:
            raise MissingDataError(f"{self.folder} is listed in {self.folder.parent / '.zattrs'} and is not there")
        volume = replace(open_volume(self.folder), offset_zyx_nm=self.offset_zyx_nm).drop_single_channel()
        if volume.has_channels or not volume.box.size:
            raise DataError(f"{self.folder} is no volume", expected="one value per voxel", got=f"shape {volume.shape}")
        return volume

    def fits(self, wanted_zyx_nm: Sequence[float]) -> bool:
        """Return whether its voxels are of a size, within 5 % along each axis."""
        return all(abs(s - w) <= SAME_SIZE * w for s, w in zip(self.voxel_size_zyx_nm, wanted_zyx_nm, strict=True))

    def is_coarser(self, wanted_zyx_nm: Sequence[float], tolerance: float = SAME_SIZE) -> bool:
        """Return whether its voxels are larger than a size along any axis."""
        return any(s > w * (1 + tolerance) for s, w in zip(self.voxel_size_zyx_nm, wanted_zyx_nm, strict=True))

    def distance(self, wanted_zyx_nm: Sequence[float]) -> float:
        """Return how far its voxel size is from another, as the sum of the logarithms of the ratios."""
        return sum(abs(log(s / w)) for s, w in zip(self.voxel_size_zyx_nm, wanted_zyx_nm, strict=True))

    def describe(self) -> str:
        """Return which level it is, and its voxel size."""
        return f"{self.name} ({' x '.join(f'{s:g}' for s in self.voxel_size_zyx_nm)} nm)"


def read_levels(group: Path) -> tuple[Level, ...]:
    """Read what a multiscale group says about its levels, the finest first.

    Transformations are told by their type, not by their place, and those of the whole image come on top. A level
    without a translation has the outer corner of the finest one with one; where none has, the first voxel of the
    finest level lies at 0, or where the image's own translation says.

    Raises
    ------
    DataError
        It is no Zarr 2 multiscale group, or it does not say which axis is which or how large voxels are in which unit.
    """
    attributes = read_group(group)
    try:
        listed = _order_steps(attributes["multiscales"][0])
        placed = {level["path"].strip("/"): _is_placed(level) for level in listed}
        levels = sorted(
            (_read_level(group, attributes, name) for name in placed), key=lambda v: prod(v.voxel_size_zyx_nm)
        )
        first = next((level for level in levels if placed[level.name]), levels[0])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        problem = f"the multiscales in {group / '.zattrs'} cannot be read ({type(error).__name__}: {error})"
        raise DataError(problem, expected=_LAYOUT) from error
    return tuple(level if placed[level.name] else _on_corner_of(level, first) for level in levels)


def read_group(group: Path) -> dict[str, Any]:
    """Read the attributes of a multiscale group of Zarr 2.

    Raises
    ------
    DataError
        It is another kind of Zarr, or none.
    """
    what = None
    if (group / "zarr.json").is_file():
        what = "it is Zarr 3"
    elif (group / ".zarray").is_file():
        what = "it is a single array"
    elif not (group / ".zattrs").is_file():
        what = "there is no .zattrs in it"
    attributes = read_json(group / ".zattrs") if what is None else {}
    if what is None and (not isinstance(attributes, dict) or not attributes.get("multiscales")):
        what = "its .zattrs hold no multiscales"
    if what is not None:
        hint = "download it again, or write it in this layout"
        raise DataError(f"{group} cannot be read", expected=_LAYOUT, got=what, hint=hint)
    return attributes


def _order_steps(image: dict[str, Any]) -> list[dict[str, Any]]:
    """Put each scale before its translation, as NGFF demands, in place; give the levels."""
    for part in (image, *image["datasets"]):
        part["coordinateTransformations"] = sorted(part.get("coordinateTransformations", []), key=lambda s: s["type"])
    return list(image["datasets"])


def _is_placed(level: Mapping[str, Any]) -> bool:
    return any(step.get("type") == "translation" for step in level.get("coordinateTransformations", []))


def _read_level(group: Path, attributes: Mapping[str, Any], name: str) -> Level:
    image = attributes["multiscales"][0]
    found = read_multiscales(attributes, name)
    metadata = found and found[1]
    if metadata is None or not image.get("axes") or not set(SPATIAL) <= set(metadata.axes or ""):
        hint = "name them in its multiscales; their order there is taken as it is"
        axes = f"axes {image.get('axes')}"
        raise DataError(f"{group / '.zattrs'} does not say which axis is z, y and x", got=axes, hint=hint)
    steps = next(level["coordinateTransformations"] for level in image["datasets"] if level["path"].strip("/") == name)
    size, offset = metadata.voxel_size_nm, metadata.offset_nm
    is_told = any(step["type"] == "scale" for step in steps)
    if not is_told or not isinstance(size, Mapping) or not isinstance(offset, Mapping) or min(size.values()) <= 0:
        raise DataError(
            f"{group / '.zattrs'} does not say how large the voxels of {name} are",
            expected="a scale above 0, and a unit for each of the axes z, y, x, such as nanometer",
            got=f"axes {image['axes']}, transformations {steps}",
        )
    return Level(name, group / name, *(to_triple_nm([part[a] for a in SPATIAL]) for part in (size, offset)))


def _on_corner_of(level: Level, first: Level) -> Level:
    """Lay a level on the outer corner of another one, as levels lie that were made by averaging."""
    if level is first:
        return level
    halves = zip(first.corner_zyx_nm, level.voxel_size_zyx_nm, strict=True)
    return replace(level, offset_zyx_nm=to_triple_nm([c + s / 2 for c, s in halves]))
