"""Which crops and classes of a submission are shown, and where: the plane through the middle of what is wrong.

An object of the truth is right where it carries the label that matches it: the two are each other's largest overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.draw.colours import adopt_ids, match_truth
from connectomake.draw.planes import Layer, Plane, plane_at
from connectomake.draw.submission.score import PairScore, Score
from connectomake.draw.submission.sources import SubmittedCrop
from connectomake.draw.volume.slices import read_gray, stretch_contrast
from connectomake.geometry import Box, to_triple, to_triple_nm

FIELD_VX = 384
"""Side of a picture, in voxels of the finest axis."""
MOST_SAMPLED = 2**22
"""Voxels, evenly spaced, at which a crop is searched for the place to show."""
BLUR_VX = 24
"""Errors so near to each other count as one; in voxels of the finest axis."""


@dataclass(frozen=True)
class Example:
    """One class of one crop that is shown, and why: ``worst 1``, ``best 2``."""

    name: str
    pair: PairScore


@dataclass(frozen=True)
class View:
    """What is shown of an example.

    Parameters
    ----------
    example, crop
        Which class of which crop.
    plane
        In voxels of the crop.
    gray
        (H, W) uint8.
    truth, labels
        (H, W) int64; truth has the ids of the labels that match it, and -1 where it is unknown; labels are 0 there.
    """

    example: Example
    crop: SubmittedCrop
    plane: Plane
    gray: np.ndarray
    truth: np.ndarray
    labels: np.ndarray

    @property
    def size_nm(self) -> tuple[float, float]:
        """Height and width of the picture."""
        return self.plane.size_nm(self.crop.grid.voxel_size_zyx_nm)


def choose_examples(score: Score, crops: Mapping[str, SubmittedCrop], worst: int = 6, best: int = 2) -> list[Example]:
    """Choose classes of crops to show: one crop of each class, then more where there are not enough classes.

    Parameters
    ----------
    score
        The numbers.
    crops
        The crops that can be shown.
    worst, best
        How many; of few, no more than half are the best. Skipped ones are worst of all; those of which nothing was
        predicted come after all others, for there is little to see. Nothing is best that was not found at all, nor
        worst that is perfect.
    """
    there = [p for p in score.pairs if p.crop in crops and crops[p.crop].has_truth(p.label)]
    good = sorted((p for p in there if p.tp > 0), key=lambda p: (-(p.score or 0), -p.tp))
    good = _one_of_each_class(good)[: min(best, len(there) // 2)]
    bad = [p for p in there if p not in good and (p.is_skipped or p.fp + p.fn > 0)]
    bad.sort(key=lambda p: (not p.is_skipped and p.tp + p.fp == 0, -1 if p.score is None else p.score, -p.fp - p.fn))
    named = [Example(f"worst {k}", pair) for k, pair in enumerate(_one_of_each_class(bad)[:worst], 1)]
    return named + [Example(f"best {k}", pair) for k, pair in enumerate(good, 1)]


def _one_of_each_class(pairs: Iterable[PairScore]) -> list[PairScore]:
    """Bring the first of each class to the front."""
    seen: set[str] = set()
    first: list[PairScore] = []
    others: list[PairScore] = []
    for pair in pairs:
        (others if pair.label in seen else first).append(pair)
        seen.add(pair.label)
    return first + others


def read_views(examples: Sequence[Example], crops: Mapping[str, SubmittedCrop]) -> list[View]:
    """Read the plane of each example, and bring all images to the contrast of their own picture.

    A crop is searched at no more than 4 million voxels, evenly spaced, and read block by block: memory does not grow
    with it.
    """
    return [_read_view(example, crops[example.pair.crop]) for example in examples]


def _read_view(example: Example, crop: SubmittedCrop) -> View:
    seen, step = sample_grid(crop.grid)
    truth, labels = _read_ids(example.pair, crop, seen)
    partners = _match(example.pair, labels, truth)
    is_best = example.name.startswith("best")
    there = truth > 0 if is_best else find_wrong(adopt_ids(truth, partners), labels)
    place = find_middle(there, crop.grid, step)
    voxel = [p * s + s // 2 for p, s in zip(place, step, strict=True)]
    region = _around(voxel, crop.grid)
    planes = [plane_at(region, axis, voxel[axis]) for axis in range(3)]
    found = [_read_plane(example.pair, crop, plane) for plane in planes]
    shown = [np.count_nonzero(a > 0 if is_best else find_wrong(adopt_ids(a, partners), b)) for a, b in found]
    best = int(np.argmax(shown))
    own, submitted = found[best]
    partners = _match(example.pair, np.append(labels, submitted), np.append(truth, own))
    gray = read_gray(Layer(crop.images, (0, 0, 0)), planes[best])
    return View(example, crop, planes[best], stretch_contrast([gray])[0], adopt_ids(own, partners), submitted)


def _match(pair: PairScore, labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    return match_truth(labels, truth) if pair.is_instance else {1: 1}


def find_wrong(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mark voxels where truth, with the ids of the labels that match it, and labels differ, and truth is known."""
    return (truth != labels) & (truth >= 0)


def sample_grid(grid: CropGrid) -> tuple[CropGrid, tuple[int, int, int]]:
    """Lay a grid of every n-th voxel over a crop, of 4 million at most; a crop thinner than n keeps one layer.

    Gives the grid, and its step along each axis in voxels of the crop.
    """
    side = ceil((prod(grid.shape_zyx) / MOST_SAMPLED) ** (1 / 3))
    step = to_triple([min(max(side, 1), n) for n in grid.shape_zyx])
    axes = zip(grid.offset_zyx_nm, grid.voxel_size_zyx_nm, step, strict=True)
    coarse = CropGrid(
        to_triple([n // s for n, s in zip(grid.shape_zyx, step, strict=True)]),
        to_triple_nm([size * s for size, s in zip(grid.voxel_size_zyx_nm, step, strict=True)]),
        to_triple_nm([offset + size * (s // 2) for offset, size, s in axes]),
    )
    return coarse, step


def _read_ids(pair: PairScore, crop: SubmittedCrop, grid: CropGrid) -> tuple[np.ndarray, np.ndarray]:
    """Read truth and labels at the voxels of a grid; what is not told object by object is 0 or 1."""
    truth, labels = crop.read_truth(pair.label, grid), crop.read_submitted(pair.label, grid)
    if not pair.is_instance:
        truth, labels = np.minimum(truth, 1), (labels > 0).astype(np.int64)
    return truth, np.where(truth < 0, 0, labels)


def _read_plane(pair: PairScore, crop: SubmittedCrop, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    size = crop.grid.voxel_size_zyx_nm
    starts = zip(crop.grid.offset_zyx_nm, plane.box.start_zyx, size, strict=True)
    grid = CropGrid(plane.box.shape_zyx, size, to_triple_nm([o + a * s for o, a, s in starts]))
    truth, labels = _read_ids(pair, crop, grid)
    return truth.squeeze(plane.axis), labels.squeeze(plane.axis)


def find_middle(there: np.ndarray, grid: CropGrid, step: Sequence[int]) -> tuple[int, ...]:
    """Return the marked voxel around which most is marked; the middle where nothing is.

    Parameters
    ----------
    there
        (Z, Y, X) bool, at every `step`-th voxel of a crop.
    grid, step
        The crop, and the step along each axis.
    """
    from scipy.ndimage import gaussian_filter

    if not there.any():
        return tuple(n // 2 for n in there.shape)
    size = np.array(grid.voxel_size_zyx_nm)
    density = gaussian_filter(there.astype(np.float32), BLUR_VX * size.min() / (size * step), mode="constant")
    return tuple(int(i) for i in np.unravel_index(np.argmax(np.where(there, density, -1)), there.shape))


def _around(voxel: Sequence[int], grid: CropGrid) -> Box:
    """Return the part of a crop around a voxel, moved where it would leave the crop."""
    size, shape = np.array(grid.voxel_size_zyx_nm), np.array(grid.shape_zyx)
    sides = np.minimum(np.maximum(np.rint(FIELD_VX * size.min() / size).astype(int), 1), shape)
    start = np.clip(np.array(voxel) - sides // 2, 0, shape - sides)
    return Box(to_triple(start.tolist()), to_triple((start + sides).tolist()))
