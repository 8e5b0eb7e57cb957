"""How a patch is laid: mirrored, turned, stretched, sheared and bent, by one resampling, or none where none is needed.

The placement is drawn before anything is read, so that just the voxels around the patch are read that it will need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from connectomake.augment.orientation import Orientation, draw_orientation
from connectomake.augment.patch import Patch
from connectomake.augment.resample import NO_BENDING, Bending, resample_labels, resample_raw
from connectomake.config.settings.augment import AffineConfig, AugmentConfig, ElasticConfig
from connectomake.geometry import Triple, TripleNm, to_triple

Sides = tuple[Triple, Triple]  # voxels before and after a box

COARSEST = 8  # voxels between the points of a bending's grid


@dataclass(frozen=True)
class Placement:
    """From voxels of the result to those of the volume: bend, transform linearly about the middle, mirror and exchange.

    Parameters
    ----------
    orientation
        Mirrors and exchanged axes.
    patch_zyx
        Shape of the patch.
    before_zyx, after_zyx
        How much further the labels of the result reach.
    linear
        (3, 3) from voxels to voxels, acting before the orientation; None = nothing is resampled.
    bending
        Displacements in voxels of the result.
    most_zyx
        How many voxels around the patch may be read on each side.
    """

    orientation: Orientation
    patch_zyx: Triple
    before_zyx: Triple
    after_zyx: Triple
    linear: np.ndarray | None = None
    bending: Bending = NO_BENDING
    most_zyx: Triple = (0, 0, 0)

    @property
    def margin(self) -> Sides:
        """Voxels of raw, and of labels, that are needed before and after the box of the patch in the volume."""
        return self._reach((0, 0, 0), (0, 0, 0))

    @property
    def label_margin(self) -> Sides:
        """Voxels of labels that are needed before and after the box of the patch: at least the `margin`."""
        if self.linear is None:
            return self.orientation.context_in_source(self.before_zyx, self.after_zyx)
        pairs = zip(self.margin, self._reach(self.before_zyx, self.after_zyx), strict=True)
        before, after = (to_triple(np.maximum(raw, labels).tolist()) for raw, labels in pairs)
        return before, after

    def apply(self, patch: Patch) -> Patch:
        """Lay a patch.

        Parameters
        ----------
        patch
            Raw with the `margin` around the patch's box, labels with the `label_margin`; neither is changed.

        Returns
        -------
        Patch
            Raw of the patch's shape, labels of `before_zyx` and `after_zyx` more: views where nothing is resampled.
        """
        if self.linear is None:
            raw, labels = self.orientation.apply(patch.raw), self.orientation.apply(patch.labels)
        else:
            matrix, offset = self._to_source
            start = [-b for b in self.before_zyx]
            around = [b + n + a for b, n, a in zip(self.before_zyx, self.patch_zyx, self.after_zyx, strict=True)]
            in_raw, in_labels = (offset + np.array(before) for before, _ in (self.margin, self.label_margin))
            raw = resample_raw(patch.raw, matrix, in_raw, self.patch_zyx, bending=self.bending)
            labels = resample_labels(patch.labels, matrix, in_labels, around, start, self.bending)
        return replace(patch, raw=raw, labels=labels, before_zyx=self.before_zyx)

    @cached_property
    def _to_source(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and offset from voxels of the result to those of the patch's box in the volume."""
        turn = np.zeros((3, 3))
        for axis, (source, mirrored) in enumerate(zip(self.orientation.order, self.orientation.mirrored, strict=True)):
            turn[source, axis] = -1 if mirrored else 1
        matrix = turn @ (np.eye(3) if self.linear is None else self.linear)
        middle = (np.array(self.patch_zyx) - 1) / 2
        return matrix, middle - matrix @ middle

    def _reach(self, before: Triple, after: Triple) -> Sides:
        """Return how far a box around the result reaches beyond the patch's box in the volume: `most_zyx` at most."""
        if self.linear is None:
            return (0, 0, 0), (0, 0, 0)
        matrix, offset = self._to_source
        bend = np.abs(self.bending.moves).max((0, 1, 2)) if self.bending.moves.size else np.zeros(3)
        low = -np.array(before) - bend
        high = np.array(self.patch_zyx) - 1 + after + bend
        corners = np.array(list(product(*zip(low, high, strict=True)))) @ matrix.T + offset
        below, above = -np.floor(corners.min(0)), np.ceil(corners.max(0)) - (np.array(self.patch_zyx) - 1)
        first, last = (to_triple(np.clip(side, 0, self.most_zyx).astype(int).tolist()) for side in (below, above))
        return first, last


def draw_placement(
    rng: np.random.Generator,
    cfg: AugmentConfig,
    voxel_size_zyx_nm: TripleNm,
    patch_zyx: Triple,
    before_zyx: Triple = (0, 0, 0),
    after_zyx: Triple = (0, 0, 0),
) -> Placement:
    """Draw how a patch shall lie.

    Parameters
    ----------
    rng
        The same state gives the same placement.
    cfg
        ``flip``, ``rotate``, ``affine`` and ``elastic`` say what is allowed, and how often.
    voxel_size_zyx_nm
        Angles and distances are those of the tissue, not of voxels.
    patch_zyx
        Shape of the patch.
    before_zyx, after_zyx
        How much further its labels shall reach.
    """
    orientation = draw_orientation(rng, cfg.flip, cfg.rotate, voxel_size_zyx_nm, patch_zyx)
    linear, bending = None, NO_BENDING
    if cfg.affine is not None and rng.random() < cfg.affine.probability:
        size = np.array(voxel_size_zyx_nm)
        linear = draw_matrix(rng, cfg.affine) * size / size[:, None]
    if cfg.elastic is not None and rng.random() < cfg.elastic.probability:
        bending = draw_bending(rng, cfg.elastic, voxel_size_zyx_nm, patch_zyx, before_zyx, after_zyx)
        linear = np.eye(3) if linear is None else linear
    most = to_triple([round(cfg.read_beyond * n) for n in patch_zyx])
    return Placement(orientation, patch_zyx, before_zyx, after_zyx, linear, bending, most)


def draw_matrix(rng: np.random.Generator, cfg: AffineConfig) -> np.ndarray:
    """Draw a (3, 3) matrix: rotation, times shear, times scale, each as MONAI's RandAffine composes them (z, y, x)."""
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * cfg.rotate_deg)
    shears, scales = rng.uniform(-cfg.shear, cfg.shear, 6), rng.uniform(1 - cfg.scale, 1 + cfg.scale, 3)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        b, c = (a for a in range(3) if a != axis)
        sign = -1 if axis == 1 else 1
        turn[[b, b, c, c], [b, c, b, c]] = np.cos(angle), -sign * np.sin(angle), sign * np.sin(angle), np.cos(angle)
        matrix = matrix @ turn
    sheared = np.eye(3)
    for (row, column), shear in zip([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)], shears, strict=True):
        one = np.eye(3)
        one[row, column] = shear
        sheared = one @ sheared
    return matrix @ sheared * scales


def draw_bending(
    rng: np.random.Generator,
    cfg: ElasticConfig,
    voxel_size_zyx_nm: Sequence[float],
    patch_zyx: Sequence[int],
    before_zyx: Sequence[int],
    after_zyx: Sequence[int],
) -> Bending:
    """Draw displacements of points `cfg.spacing_nm` apart, and lay a smooth surface (cubic spline) through them."""
    from scipy import ndimage

    size, before = np.array(voxel_size_zyx_nm), np.array(before_zyx)
    around = before + patch_zyx + after_zyx
    spacing = np.maximum(cfg.spacing_nm / size, 1)  # of the points, in voxels
    points = np.ceil(around / spacing).astype(int) + 4
    fine = np.minimum(spacing, COARSEST)  # of the grid between whose points it is linear
    counts = np.ceil(around / fine).astype(int) + 1
    moves = rng.standard_normal((3, *points)) * (cfg.distance_nm / size)[:, None, None, None]
    shift = 1.5  # points beyond the border, which the spline needs
    smooth = [ndimage.affine_transform(m, fine / spacing, np.full(3, shift), tuple(counts), order=3) for m in moves]
    return Bending(np.stack(smooth, -1), -before.astype(float), fine)
