"""From what the settings ask for, in voxels or nm, to the voxels that are predicted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from connectomake.config.settings.predict_regions import RegionConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, enclose, to_triple, to_triple_nm
from connectomake.regions.crop_table import BoxNm, read_crops
from connectomake.sources import locate
from connectomake.volumes.mask import Mask, open_mask
from connectomake.volumes.region import Region
from connectomake.volumes.volume import Readable, Volume

log = logging.getLogger(__name__)

ROUNDING_VX = 1e-6  # a centre that lies on an edge but for rounding lies on it


def choose_region(
    cfg: RegionConfig | None, given: Volume, working: Readable, *, name: str = "", folder: str = ""
) -> Region:
    """Find the voxels of the working volume that are wanted.

    Parameters
    ----------
    cfg
        What is asked for; None = the whole volume.
    given
        The volume as its data config gives it: boxes in voxels are in its voxels.
    working
        What the network is run over: the same, another level of its pyramid, or resampled. A box is carried over by
        position: it takes the voxels whose centres lie in it.
    name
        Of the volume, for messages.
    folder
        Where relative paths start.

    Raises
    ------
    MissingDataError
        The table of crops, or the mask, does not exist.
    DataError
        A box or a crop lies outside of the volume, or between the centres of its voxels; no crop lies in the box; the
        mask does not reach the region, or is 0 all over it.
    """
    if cfg is None:
        return _place(Box.of_shape(working.shape_zyx), (), None, working)
    key = f"predict.regions.{name}"
    boxes, crops = _boxes(cfg, given, key), _crops(cfg, given, key, folder)
    box = _cut(boxes[0], working) if boxes else Box.of_shape(working.shape_zyx)
    wanted = tuple(crop for crop in (_cut(crop, working).intersect(box) for crop in crops) if crop.size)
    if crops and not wanted:
        raise DataError(f"{key}: none of the {len(crops)} crops lies in the box", hint="correct one of them")
    if len(wanted) < len(crops):
        log.warning("%s: %d of %d crops lie outside of the box", key, len(crops) - len(wanted), len(crops))
    mask = None if cfg.mask is None else open_mask(locate(cfg.mask, folder), given)
    region = _place(enclose(wanted) if wanted else box, wanted, mask, working)
    if mask is not None:
        _check_mask(region, mask, f"{key}.mask")
    return region


def _place(box: Box, crops: tuple[Box, ...], mask: Mask | None, working: Readable) -> Region:
    """Make a region, which knows where it lies."""
    size = working.voxel_size_zyx_nm
    first = [o + a * s for o, a, s in zip(working.offset_zyx_nm, box.start_zyx, size, strict=True)]
    return Region(box, crops, mask, to_triple_nm(size), to_triple_nm(first))


def _boxes(cfg: RegionConfig, given: Readable, key: str) -> list[BoxNm]:
    """Return the box asked for, if there is one."""
    if cfg.box_zyx_vx is not None:
        return [_to_nm(cfg.box_zyx_vx, given, f"{key}.box_zyx_vx")]
    return [BoxNm(f"{key}.box_zyx_nm", *cfg.box_zyx_nm)] if cfg.box_zyx_nm is not None else []


def _crops(cfg: RegionConfig, given: Readable, key: str, folder: str) -> list[BoxNm]:
    """Return all crops asked for."""
    in_voxels = [_to_nm(c, given, f"{key}.crops_zyx_vx[{i}]") for i, c in enumerate(cfg.crops_zyx_vx)]
    in_nm = [BoxNm(f"{key}.crops_zyx_nm[{i}]", *c) for i, c in enumerate(cfg.crops_zyx_nm)]
    return in_voxels + in_nm + (read_crops(Path(locate(cfg.crops_file, folder))) if cfg.crops_file else [])


def _to_nm(corners: Sequence[Sequence[int]], given: Readable, where: str) -> BoxNm:
    """Return the faces of a box of voxels in nm."""
    start, stop = (_face(to_triple(corner), given) for corner in corners)
    return BoxNm(where, start, stop)


def _face(corner_zyx: Triple, volume: Readable) -> TripleNm:
    """Return where voxels begin in nm; a voxel reaches half its size to both sides of its centre."""
    axes = zip(volume.offset_zyx_nm, corner_zyx, volume.voxel_size_zyx_nm, strict=True)
    return to_triple_nm([offset + (corner - 0.5) * size for offset, corner, size in axes])


def _cut(wanted: BoxNm, working: Readable) -> Box:
    """Return the voxels of a volume whose centres lie in a box; warn of what lies outside, refuse what does wholly."""
    box = Box(_first_voxel(wanted.start_zyx_nm, working), _first_voxel(wanted.stop_zyx_nm, working))
    whole = Box.of_shape(working.shape_zyx)
    inside = box.intersect(whole)
    if not inside.size:
        raise DataError(
            f"{wanted.where} " + ("does not lie in the volume" if box.size else "holds no centre of a voxel"),
            expected=f"a part of {_describe(whole, working)}",
            got=f"{list(wanted.start_zyx_nm)} to {list(wanted.stop_zyx_nm)} nm",
            hint="boxes are z, y, x, in the volume's own coordinates",
        )
    if inside != box:
        log.warning("%s reaches out of the volume; it is cut to %s", wanted.where, _describe(inside, working))
    return inside


def _first_voxel(edge_zyx_nm: TripleNm, working: Readable) -> Triple:
    """Give, per axis, the first voxel whose centre does not lie before an edge."""
    axes = zip(edge_zyx_nm, working.offset_zyx_nm, working.voxel_size_zyx_nm, strict=True)
    return to_triple([ceil((edge - offset) / size - ROUNDING_VX) for edge, offset, size in axes])


def _describe(box: Box, working: Readable) -> str:
    """Name a box in voxels, and in nm from face to face."""
    start, stop = ([round(edge, 3) for edge in _face(c, working)] for c in (box.start_zyx, box.stop_zyx))
    return f"{list(box.start_zyx)} to {list(box.stop_zyx)} voxels, {start} to {stop} nm (z, y, x)"


def _check_mask(region: Region, mask: Mask, where: str) -> None:
    """Reject a mask that wants nothing of a region; whether a large one is 0 all over is not looked up."""
    corners = region.centres(region.box)
    if not mask.reaches(corners):
        raise DataError(
            f"{where} does not reach what is predicted",
            expected="a mask that has voxels in " + _span([(axis[0], axis[-1]) for axis in corners]),
            got=f"{mask.source}, with voxels in {_span(mask.extent_zyx_nm)}",
            hint="correct the position in the mask's file",
        )
    if mask.is_small and not region.touches(region.box):
        raise DataError(f"{where} is 0 in all that is predicted: {mask.source}", hint="correct the mask or the region")


def _span(extent_zyx_nm: Sequence[tuple[float, float]]) -> str:
    """Name from where to where something reaches."""
    return f"{[float(a) for a, _ in extent_zyx_nm]} to {[float(b) for _, b in extent_zyx_nm]} nm (z, y, x)"
