"""CREMI's distances between the synaptic clefts of a segmentation and those of the truth, in volumes of any size.

Which block holds clefts, and in which box, is found in one reading. Each cleft voxel then looks for the nearest one of
the other side in the surfaces of the blocks around it, the nearest block first, until what is left lies farther away
than what was found: exact, as a distance transform of the whole volume, which would have to be in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.measure import MeasureConfig
from connectomake.geometry import Box, to_triple
from connectomake.log import progress
from connectomake.measure.cleft_surfaces import CleftSurfaces, surface_of
from connectomake.measure.contingency import fitting, require_comparable
from connectomake.volumes.label_volumes import reading_grid
from connectomake.volumes.volume import Readable

ReadMasks = Callable[[Box], tuple[np.ndarray, np.ndarray]]
QUERY_VX = 1 << 17  # voxels that look for their nearest at a time


def cleft_distances(
    truth: Readable, segmentation: Readable, cfg: MeasureConfig, *, threads: int = 1
) -> dict[str, float | int | None]:
    """Measure how far segmented clefts lie from true ones, and true ones from segmented ones.

    A cleft is where a label is above 0, whatever its id. Voxels whose truth is unknown (-1) or in `cfg.ignore_labels`
    belong to no cleft of either side. CREMI's files mark background by the largest uint64: make it 0 first. Memory is
    two blocks of `cfg.block_vx` for each thread, and `cfg.block_vx` / 4 surface voxels of clefts (60 bytes each) or one
    block's; time grows with the cleft voxels that the other side lacks.

    Parameters
    ----------
    truth, segmentation
        (Z, Y, X) integers or bool, of one shape and voxel size.
    cfg
        What is ignored, the threshold of false voxels, the voxels of a block. Blocks and threads do not change the
        result.
    threads
        Blocks worked on at the same time.

    Returns
    -------
    dict
        `cleft_adgt_nm`, `cleft_adgt_std_nm`, `cleft_adgt_max_nm`: mean, standard deviation and maximum over segmented
        cleft voxels of the distance between their centre and that of the nearest true one (0 where both are cleft);
        `cleft_adf_nm`, `cleft_adf_std_nm`, `cleft_adf_max_nm`: the same over true cleft voxels, to the nearest
        segmented one; `cleft_score_nm`: the mean of cleft_adgt_nm and cleft_adf_nm, by which CREMI ranks.
        `cleft_false_positives`, `cleft_false_negatives`: segmented (true) cleft voxels farther than
        `cfg.cleft_threshold_nm` from the other side's; all of them where the other side has none.
        `cleft_truth_voxels`, `cleft_segmented_voxels`: cleft voxels of each side.
        A distance is None where one side has no cleft. Definitions are those of cremi.org and its evaluation script
        (Funke et al. 2016).

    Raises
    ------
    DataError
        When the shapes differ, or a volume has channels or is not of integers.
    """
    require_comparable(truth, segmentation)
    read = partial(_read_masks, truth, segmentation, cfg.ignore_labels)
    grid = reading_grid([truth, segmentation], cfg.block_vx)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        boxes = list(progress(pool.map(partial(_tight_boxes, read), grid), total=len(grid), what="blocks"))
        found = []
        for side in (0, 1):
            other = CleftSurfaces(
                partial(_read_surface, read, 1 - side),
                [pair[1 - side] for pair in boxes if pair[1 - side].size],
                truth.voxel_size_zyx_nm,
                max_points=cfg.block_vx // 4,
            )
            queried = [pair[side] for pair in boxes if pair[side].size]
            parts = pool.map(partial(_distances_in, read, side, other, cfg.cleft_threshold_nm), queried)
            found.append(_Distances.merge(progress(parts, total=len(queried), what="blocks with clefts")))
    return _numbers(*found)


@dataclass(frozen=True)
class _Distances:
    """Some distances in nm, summed up: their number, mean, sum of squared deviations, maximum, how many are far."""

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    largest: float = 0.0
    n_far: int = 0

    @classmethod
    def of(cls, distance_nm: np.ndarray, threshold_nm: float) -> _Distances:
        if not len(distance_nm):
            return cls()
        mean = float(distance_nm.mean())
        far = int(np.count_nonzero(distance_nm > threshold_nm))
        return cls(len(distance_nm), mean, float(((distance_nm - mean) ** 2).sum()), float(distance_nm.max()), far)

    @classmethod
    def merge(cls, parts: Iterable[_Distances]) -> _Distances:
        """Add up (Chan et al. 1979), without the cancellation that sums of squares suffer."""
        every = [part for part in parts if part.n]
        if not every:
            return cls()
        n = np.array([part.n for part in every])
        means = np.array([part.mean for part in every])
        mean = float(n @ means / n.sum())
        deviation = sum(part.deviation for part in every) + float(n @ (means - mean) ** 2)
        return cls(int(n.sum()), mean, deviation, max(p.largest for p in every), sum(p.n_far for p in every))


def _numbers(of_truth: _Distances, of_segmented: _Distances) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    on_both_sides = of_truth.n > 0 and of_segmented.n > 0
    for name, found in (("adgt", of_segmented), ("adf", of_truth)):
        values = (found.mean, (found.deviation / max(1, found.n)) ** 0.5, found.largest)
        for suffix, value in zip(("", "_std", "_max"), values, strict=True):
            numbers[f"cleft_{name}{suffix}_nm"] = value if on_both_sides else None
    return numbers | {
        "cleft_score_nm": (of_truth.mean + of_segmented.mean) / 2 if on_both_sides else None,
        "cleft_false_positives": of_segmented.n_far,
        "cleft_false_negatives": of_truth.n_far,
        "cleft_truth_voxels": of_truth.n,
        "cleft_segmented_voxels": of_segmented.n,
    }


def _read_masks(
    truth: Readable, segmentation: Readable, ignore_labels: Iterable[int], box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the clefts of the truth, and those of the segmentation, are in a box."""
    labels, segmented = truth.read(box), segmentation.read(box) > 0
    never = np.isin(labels, fitting((UNKNOWN, *ignore_labels), labels.dtype))
    return (labels > 0) & ~never, segmented & ~never


def _tight_boxes(read: ReadMasks, block: Box) -> tuple[Box, Box]:
    """Return the smallest box that holds the clefts of each side; an empty one where there are none."""
    first, second = (_tight_box(mask, block) for mask in read(block))
    return first, second


def _tight_box(mask: np.ndarray, block: Box) -> Box:
    start, stop = [], []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        start.append(int(used[0]) if len(used) else 0)
        stop.append(int(used[-1]) + 1 if len(used) else 0)
    return Box(to_triple(start), to_triple(stop)).shift(block.start_zyx)


def _read_surface(read: ReadMasks, side: int, box: Box) -> np.ndarray:
    return surface_of(read(box)[side]) + np.array(box.start_zyx)


def _distances_in(read: ReadMasks, side: int, other: CleftSurfaces, threshold_nm: float, box: Box) -> _Distances:
    """Measure the cleft voxels of one side in a box against the other side's clefts."""
    masks = read(box)
    if not len(other):
        lone = int(np.count_nonzero(masks[side]))
        return _Distances(n=lone, n_far=lone)
    shared = int(np.count_nonzero(masks[0] & masks[1]))
    parts = [_Distances(n=shared)]
    for voxel in _in_parts(masks[side] & ~masks[1 - side]):
        distance_nm = other.distances_from(voxel + np.array(box.start_zyx))
        parts.append(_Distances.of(distance_nm, threshold_nm))
    return _Distances.merge(parts)


def _in_parts(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Return the voxels of a mask, (N, 3) int64, some at a time."""
    flat = np.flatnonzero(mask)
    for at in range(0, len(flat), QUERY_VX):
        yield np.stack(np.unravel_index(flat[at : at + QUERY_VX], mask.shape), axis=1)
