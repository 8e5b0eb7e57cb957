"""Crops to score, and the way that the challenge's own scorer goes about it.

`score_by_distance_maps` follows the recipe of the toolbox at 6b9ad68, written anew: components by cc3d, one assignment
for the whole crop, and for each truth object two distance maps over its box and that of its partner, grown by the
largest distance that counts, which for most objects is nearly all of the crop; objects on threads.
"""

from concurrent.futures import ThreadPoolExecutor
from math import ceil

import cc3d
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.optimize import linear_sum_assignment

STEPS = 1_000_000


def make_objects(side, seed=0, spacing=22, radius=(4, 9)):
    """Return truth and submitted labels of a cube: ellipsoids, about (side / spacing)^3, and others in their place.

    Those are moved by a voxel and of another size; some are lost, some invented.
    """
    rng = np.random.default_rng(seed)
    truth, submitted = np.zeros((side,) * 3, np.uint32), np.zeros((side,) * 3, np.uint32)
    centres = np.stack(np.meshgrid(*[np.arange(spacing // 2, side, spacing)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for i, centre in enumerate(rng.permutation(centres + rng.integers(-2, 3, centres.shape)), 1):
        radii = rng.uniform(*radius, 3)
        chance = rng.random()
        if chance < 0.95:
            _draw(truth, centre, radii, i)
        if chance > 0.06:
            _draw(submitted, centre + rng.integers(-1, 2, 3), radii * rng.uniform(0.8, 1.15), i)
    return truth, submitted


def _draw(labels, centre, radii, label):
    low = np.maximum(np.floor(centre - radii).astype(int), 0)
    high = np.minimum(np.ceil(centre + radii).astype(int) + 1, labels.shape)
    grid = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
    labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = label


def score_by_distance_maps(truth, submitted, voxel_size, normalise, threads=1):
    """Return tp, fp, fn and the sum of the scores of distances."""
    components, n_components = cc3d.connected_components(submitted, return_N=True)
    pairs = _pair(truth, components, n_components)
    stands_for = np.arange(n_components + 1)
    stands_for[list(pairs)] = list(pairs.values())
    labels = stands_for[components]
    most = min(n * size for n, size in zip(truth.shape, voxel_size, strict=True)) / 2
    ids = np.unique(truth[truth > 0])
    with ThreadPoolExecutor(threads) as pool:
        distances = list(pool.map(lambda i: _hausdorff(truth, labels, i, voxel_size, most), ids))
    distances += [most] * (n_components - len(pairs))
    score = normalise(np.array(distances, np.float32), voxel_size).sum()
    return len(pairs), n_components - len(pairs), len(ids) - len(pairs), score


def _pair(truth, components, n_components):
    n_truth = int(truth.max())
    both = (truth > 0) & (components > 0)
    key, count = np.unique(truth[both].astype(np.int64) * (n_components + 1) + components[both], return_counts=True)
    t, s = key // (n_components + 1), key % (n_components + 1)
    union = np.bincount(truth.ravel())[t] + np.bincount(components.ravel())[s] - count
    cost = np.full((n_truth + 1, n_components + 1 + n_truth + 1), STEPS * 1e6)
    cost[:, n_components + 1 :] = STEPS + 1
    cost[t, s] = np.trunc((1 - (count / union).astype(np.float32).astype(float)) * STEPS)
    row, column = linear_sum_assignment(cost)
    return {int(b): int(a) for a, b in zip(row, column, strict=True) if a > 0 and 0 < b <= n_components}


def _hausdorff(truth, labels, i, voxel_size, most):
    is_truth, is_submitted = truth == i, labels == i
    if not is_submitted.any():
        return most
    places = np.argwhere(is_truth | is_submitted)
    pad = [ceil(most / size) + 2 for size in voxel_size]
    box = tuple(slice(max(0, a - p), b + p + 1) for a, b, p in zip(places.min(0), places.max(0), pad, strict=True))
    a, b = is_truth[box], is_submitted[box]
    to_b, to_a = (distance_transform_edt(~of, sampling=voxel_size) for of in (b, a))
    return min(most, max(to_b[a].max(), to_a[b].max()))
