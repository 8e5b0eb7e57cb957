"""Which axis of a file's array is which, and how large and where its voxels are, from the file and from the config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from connectomake.errors import DataError
from connectomake.geometry import TripleNm, to_triple_nm
from connectomake.volumes.formats.array import SPATIAL, FileArray, PerAxis

TOLERANCE = 1e-3


def resolve_axes(array: FileArray, configured: str | None, *, may_lack_channels: bool = False) -> str:
    """Return one letter per axis of the file's array.

    Parameters
    ----------
    array
        The array, with what its file says.
    configured
        What the config says.
    may_lack_channels
        Drop the ``c`` in `configured` where it is one axis too many: one key serves raw data with channels and labels.

    Raises
    ------
    DataError
        File and config disagree, or the rank is not that of a volume.
    """
    rank, stated = len(array.shape), array.metadata.axes
    if stated is not None and len(stated) != rank:
        stated = None
    if may_lack_channels and configured is not None and len(configured) == rank + 1:
        configured = configured.replace("c", "")
    if configured is not None and stated is not None and configured != stated:
        raise DataError(
            f"the config and the file disagree about the axes of {array.source}",
            expected=f"{stated} as the {array.kind} file says",
            got=f"axes: {configured}",
            hint="remove the key axes, or correct the file",
        )
    axes = configured or stated or array.usual_axes or {3: "zyx", 4: "czyx"}.get(rank)
    if axes is None or len(axes) != rank or not set(SPATIAL) <= set(axes):
        raise DataError(
            f"{array.source} does not have the axes of a volume",
            expected=f"{len(axes)} axes ({axes})" if axes else "three axes (z, y, x), or four with channels",
            got=f"shape {array.shape}",
            hint="set the key axes of this volume, one letter per axis of the array, as in tczyx, or correct the path",
        )
    for letter, length in zip(axes, array.shape, strict=True):
        if letter not in "czyx" and length != 1:
            raise DataError(
                f"{array.source} has {length} entries along its axis {letter}",
                expected="1, since a volume is one image",
                got=f"shape {array.shape} with axes {axes}",
                hint="save the one to use by itself, or set the key axes if that axis is z or c",
            )
    return axes


def resolve_voxel_size(array: FileArray, axes: str, configured: Sequence[float] | None) -> TripleNm:
    """Return the voxel size in nm, z, y, x.

    Raises
    ------
    DataError
        Neither file nor config say, or they differ by more than one in a thousand.
    """
    stated = to_zyx(array, axes, array.metadata.voxel_size_nm)
    if stated is not None and not all(math.isfinite(s) and s > 0 for s in stated):
        stated = None
    if stated is None and configured is None:
        raise DataError(
            f"the voxel size of {array.source} is not known",
            expected=f"it in the {array.kind} file or in the config",
            got="neither",
            hint="set voxel_size_zyx_nm: [z, y, x] (in nm) for this volume in its file in config/data/",
        )
    if stated is None or configured is None:
        return to_triple_nm(configured if stated is None else stated)  # type: ignore[arg-type]
    if not same_size(stated, configured):
        raise DataError(
            f"the config and the file disagree about the voxel size of {array.source}",
            expected=f"{list(stated)} nm (z, y, x) as the {array.kind} file says",
            got=f"voxel_size_zyx_nm: {list(configured)}",
            hint="remove the key voxel_size_zyx_nm if the file is right, or correct the file",
        )
    return to_triple_nm(configured)


def resolve_offset(array: FileArray, axes: str, size_zyx_nm: TripleNm, configured: Sequence[float] | None) -> TripleNm:
    """Return the position of the centre of the first voxel in nm, z, y, x; 0, 0, 0 where nobody says.

    Raises
    ------
    DataError
        File and config differ by more than a thousandth of a voxel.
    """
    stated = to_zyx(array, axes, array.metadata.offset_nm)
    in_voxels = to_zyx(array, axes, array.metadata.offset_vx)
    if stated is None and in_voxels is not None:
        stated = to_triple_nm([v * s for v, s in zip(in_voxels, size_zyx_nm, strict=True)])
    if stated is None or configured is None:
        return to_triple_nm(stated or configured or (0.0, 0.0, 0.0))
    if not same_place(stated, configured, size_zyx_nm):
        raise DataError(
            f"the config and the file disagree about the position of {array.source}",
            expected=f"{list(stated)} nm (z, y, x) as the {array.kind} file says",
            got=f"offset_zyx_nm: {list(configured)}",
            hint="remove the key offset_zyx_nm if the file is right, or correct the file",
        )
    return to_triple_nm(configured)


def same_size(a_zyx_nm: Sequence[float], b_zyx_nm: Sequence[float]) -> bool:
    """Return whether two voxel sizes agree to one in a thousand."""
    return all(abs(a - b) <= TOLERANCE * b for a, b in zip(a_zyx_nm, b_zyx_nm, strict=True))


def same_place(a_zyx_nm: Sequence[float], b_zyx_nm: Sequence[float], voxel_size_zyx_nm: Sequence[float]) -> bool:
    """Return whether two positions agree to a thousandth of a voxel, or to what float32 keeps of a large position."""
    return all(
        abs(a - b) <= max(TOLERANCE * s, 1e-6 * abs(b))
        for a, b, s in zip(a_zyx_nm, b_zyx_nm, voxel_size_zyx_nm, strict=True)
    )


def to_zyx(array: FileArray, axes: str, values: PerAxis | None) -> TripleNm | None:
    """Order a file's numbers as z, y, x."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        return to_triple_nm([values[a] for a in SPATIAL])
    order = [a for a in axes if a in SPATIAL] if len(values) == 3 else list(axes)
    if len(values) != len(order):
        raise DataError(f"{array.source} tells sizes for {len(values)} axes", expected="3", got=list(values))
    by_letter = dict(zip(order, values, strict=True))
    return to_triple_nm([by_letter[a] for a in SPATIAL])
