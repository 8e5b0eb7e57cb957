"""Which places in a box are worth learning from: patches without labels, or without objects, are drawn again.

Rejection sampling as in PyTorch Connectomics (`reject_sampling`: size threshold and probability), for volumes that are
known, or hold objects, in few places only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, gcd, prod

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.train import SamplingConfig
from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple
from connectomake.train.volumes import LabelledBox, reach

log = logging.getLogger(__name__)

SCANNED_ZYX = (128, 128, 128)


def draw_place(
    rng: np.random.Generator,
    box: LabelledBox,
    patch_zyx: Triple,
    margin: tuple[Triple, Triple],
    cfg: SamplingConfig,
    cell: Box | None = None,
) -> tuple[Box, np.ndarray]:
    """Draw the place of a patch, again and again until there is enough in it, or the attempts are used up.

    Parameters
    ----------
    rng
        Draws the places, all equally likely, and whether a poor one is taken nevertheless.
    box
        Where from.
    patch_zyx
        Shape of the patch, in voxels.
    margin
        Voxels before and after the patch whose labels are read along.
    cfg
        What is enough, of the part of the patch that lies in the box.
    cell
        What the patch shall contain, in voxels of the box and no larger than a patch; None = anything.

    Returns
    -------
    tuple of Box and ndarray
        The place, and the labels in it and the margin, (Z, Y, X) signed integers.
    """
    for _ in range(cfg.attempts):
        place = draw_box(rng, box.shape_zyx, patch_zyx, cell)
        around = reach(place, *margin)
        labels = box.read_labels(around)
        if is_worthwhile(labels[place.intersect(Box.of_shape(box.shape_zyx)).within(around).slices], cfg, rng):
            break
    return place, labels


def draw_box(
    rng: np.random.Generator, shape_zyx: Sequence[int], patch_zyx: Sequence[int], cell: Box | None = None
) -> Box:
    """Draw a place for a patch, all equally likely: inside a volume or, along an axis where that is shorter, around it.

    Parameters
    ----------
    rng
        Moves on by three numbers.
    shape_zyx, patch_zyx
        Of the volume and of the patch.
    cell
        A box in the volume, no larger than the patch, which shall contain it; None = anything.
    """
    spans = [(min(0, side - patch), max(0, side - patch)) for side, patch in zip(shape_zyx, patch_zyx, strict=True)]
    if cell is not None:
        sides = zip(spans, cell.start_zyx, cell.stop_zyx, patch_zyx, strict=True)
        spans = [(max(low, stop - patch), min(high, start)) for (low, high), start, stop, patch in sides]
    return Box.of_shape(patch_zyx).shift([int(rng.integers(low, high + 1)) for low, high in spans])


def is_worthwhile(labels: np.ndarray, cfg: SamplingConfig, rng: np.random.Generator) -> bool:
    """Return whether a patch is kept, by its labels (Z, Y, X)."""
    least_known, least_foreground = (ceil(share * labels.size) for share in (cfg.least_known, cfg.least_foreground))
    known, foreground, objects = count_labels(labels, least_known, least_foreground, cfg.least_objects)
    if known < least_known:
        return False
    is_rich = foreground >= least_foreground and objects >= cfg.least_objects
    return is_rich or rng.random() >= cfg.reject_probability


@njit(cache=True, nogil=True)
def count_labels(labels: np.ndarray, known: int, foreground: int, objects: int) -> tuple[int, int, int]:
    """Count known voxels, those in objects, and objects, until there are as many as asked for of each.

    Parameters
    ----------
    labels
        (Z, Y, X) signed integers, 0 = background, -1 = unknown.
    known, foreground, objects
        How many suffice. No objects are counted beyond that number; of the voxels there may be more.

    Returns
    -------
    tuple of int
        The three numbers, as far as was counted.
    """
    seen = np.empty(objects, np.int64)
    n_known, n_foreground, n_objects = 0, 0, 0
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            if n_known >= known and n_foreground >= foreground and n_objects >= objects:
                return n_known, n_foreground, n_objects
            last = 0
            for x in range(labels.shape[2]):
                label = labels[z, y, x]
                n_known += label != UNKNOWN
                n_foreground += label > 0
                if label > 0 and label != last and n_objects < objects:
                    last = label
                    is_new = True
                    for i in range(n_objects):
                        is_new &= seen[i] != label
                    if is_new:
                        seen[n_objects] = label
                        n_objects += 1
    return n_known, n_foreground, n_objects


def keep_labelled(boxes: Sequence[LabelledBox], cfg: SamplingConfig) -> list[LabelledBox]:
    """Leave out boxes that can give nothing to learn from.

    Of a volume that is no crop this is taken for a mistake; in a crop it may be that no class to learn is annotated.

    A box is looked at in blocks that jump about in it, until one is labelled: cheap for all but those in question, of
    which every voxel is read.

    Parameters
    ----------
    boxes
        What is trained on.
    cfg
        Whether objects are asked for, or only known voxels.

    Raises
    ------
    DataError
        All boxes of a volume, or of all crops, are of that kind; names it, and its source.
    """
    needs_objects = cfg.least_foreground > 0 or cfg.least_objects > 0
    kept = [box for box in boxes if _has_labels(box, needs_objects)]
    names = {box.name for box in kept}
    for box in boxes:
        if box.name not in names and (box.combinations is None or not kept):
            where = f" (source {box.source})" if box.source else ""
            raise DataError(
                f"the training volume {box.name}{where} has nothing to learn from in any patch",
                expected="objects, as train.sampling asks for" if needs_objects else "voxels with known labels",
                got="no label above 0" if needs_objects else "unknown (-1) everywhere",
                hint="check its labels and box_zyx_vx, give it another role, or its source the weight 0 in mix",
            )
    if len(kept) < len(boxes):
        log.warning("%d of %d training boxes have no labels and are left out", len(boxes) - len(kept), len(boxes))
    return kept


def find_values(boxes: Iterable[LabelledBox], groups: Iterable[Iterable[int]]) -> set[int]:
    """Collect the values of labels, until one of each group was seen; else all there are.

    Parameters
    ----------
    boxes
        Where to look, one after the other.
    groups
        Of values, such as those of each class.

    Returns
    -------
    set of int
        The values that were seen. A group that has none of them has none in any box.
    """
    missing = [group for group in map(set, groups) if group]
    found: set[int] = set()
    for box in boxes:
        for labels in _scan(box):
            if not missing:
                return found
            found |= set(np.unique(labels).tolist())
            missing = [group for group in missing if not group & found]
    return found


def _has_labels(box: LabelledBox, needs_objects: bool) -> bool:
    known, foreground = (0, 1) if needs_objects else (1, 0)
    counts = (count_labels(labels, known, foreground, 0) for labels in _scan(box))
    return any(count[int(needs_objects)] > 0 for count in counts)


def _scan(box: LabelledBox) -> Iterator[np.ndarray]:
    """Return all labels of a box, in blocks that jump about by the golden ratio, far from those before."""
    grid = BlockGrid(box.shape_zyx, SCANNED_ZYX)
    count = prod(grid.counts_zyx)
    step = next(s for s in range(max(1, round(0.618 * count)), 2 * count + 1) if gcd(s, count) == 1)
    return (box.read_labels(grid[index * step % count]) for index in range(count))
