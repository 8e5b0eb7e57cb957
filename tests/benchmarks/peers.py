"""Affinities to measure on, and the ways that others label them."""

import cc3d
import numpy as np
from numba import njit
from processes import peak_above
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.measure import label

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode

THRESHOLD = 0.5


def make_affinities(side, dtype=np.uint8, *, clean=False):
    """Return (3, side, side, side) affinities, made of one tile, blurred and with noise unless clean.

    They are those of warped, flattened cells about 30 voxels wide with membranes between them. Blurred and noisy, they
    hold broken runs and crumbs as predictions do.
    """
    rng = np.random.default_rng(0)
    tile = min(side, 128)
    squeeze = np.array([0.4, 1, 1])
    grid = np.stack(np.meshgrid(*[np.arange(tile)] * 3, indexing="ij"), -1)
    warp = np.stack([gaussian_filter(rng.standard_normal([tile] * 3), 6) for _ in range(3)], -1)
    seeds = rng.random((tile**3 // 12000 + 2, 3)) * tile
    distance, nearest = cKDTree(seeds * squeeze).query((grid + warp * 8 / warp.std()) * squeeze, k=2)
    labels = np.where(distance[..., 1] - distance[..., 0] < 1, 0, nearest[..., 0] + 1)
    values = np.zeros((3, tile, tile, tile), np.float32)
    for axis in range(3):
        here, there = np.swapaxes(labels, 0, axis)[:-1], np.swapaxes(labels, 0, axis)[1:]
        np.swapaxes(values[axis], 0, axis)[:-1] = (here == there) & (here > 0)
        values[axis] = values[axis] if clean else gaussian_filter(values[axis], 0.7)
    if not clean:
        values = np.clip(values + rng.normal(0, 0.08, values.shape), 0, 1)
    values = np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)
    return np.tile(values, (1, *[side // tile] * 3))


@njit
def flood_fill(strong):
    """Label as BANIS does: depth first from every voxel with an edge of its own, edges read at their first voxel."""
    shape = strong.shape[1:]
    visited = np.zeros(shape, np.uint8)
    labels = np.zeros(shape, np.uint32)
    count = 1
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                if visited[i, j, k] or not (strong[0, i, j, k] or strong[1, i, j, k] or strong[2, i, j, k]):
                    continue
                stack = [(i, j, k)]
                visited[i, j, k] = 1
                while stack:
                    x, y, z = stack.pop()
                    labels[x, y, z] = count
                    if x + 1 < shape[0] and strong[0, x, y, z] and not visited[x + 1, y, z]:
                        stack.append((x + 1, y, z))
                        visited[x + 1, y, z] = 1
                    if y + 1 < shape[1] and strong[1, x, y, z] and not visited[x, y + 1, z]:
                        stack.append((x, y + 1, z))
                        visited[x, y + 1, z] = 1
                    if z + 1 < shape[2] and strong[2, x, y, z] and not visited[x, y, z + 1]:
                        stack.append((x, y, z + 1))
                        visited[x, y, z + 1] = 1
                    if x > 0 and strong[0, x - 1, y, z] and not visited[x - 1, y, z]:
                        stack.append((x - 1, y, z))
                        visited[x - 1, y, z] = 1
                    if y > 0 and strong[1, x, y - 1, z] and not visited[x, y - 1, z]:
                        stack.append((x, y - 1, z))
                        visited[x, y - 1, z] = 1
                    if z > 0 and strong[2, x, y, z - 1] and not visited[x, y, z - 1]:
                        stack.append((x, y, z - 1))
                        visited[x, y, z - 1] = 1
                count += 1
    return labels


def make_graph(affinities):
    """Return the bits that cc3d reads: +x, -x, +y, -y, +z, -z, indexed x, y, z."""
    graph = np.zeros(affinities.shape[1:], np.uint8)
    for axis, bit in ((2, 0), (1, 2), (0, 4)):
        low, high = (tuple(s if a == axis else slice(None) for a in range(3)) for s in (slice(0, -1), slice(1, None)))
        edge = (affinities[axis][low] > THRESHOLD * 255).astype(np.uint8)
        graph[low] |= edge << bit
        graph[high] |= edge << (bit + 1)
    return graph.T


def label_by_flood_fill(affinities):
    """Label as BANIS does, thresholding included."""
    return flood_fill(affinities > THRESHOLD * 255)


def label_by_cc3d(affinities):
    """Label by cc3d's graph of voxels, making the graph included."""
    return cc3d.color_connectivity_graph(make_graph(affinities), connectivity=6)


def label_by_scikit_image(affinities):
    """Label the voxels with an edge, whatever the edges say: objects that touch merge. PyTC's way without numba."""
    return label((affinities > THRESHOLD * 255).any(0), connectivity=1)


def peak_beyond(work, side, clean=False, dtype=np.uint8):
    """Return the bytes that work(affinities) adds to what this process holds."""
    affinities = make_affinities(side, dtype, clean=clean)
    work(affinities[:, :4].copy())  # compiles
    return peak_above(lambda: work(affinities))


def decode_as(settings, affinities):
    """Decode with these settings, on two threads."""
    return decode(affinities, DecodeConfig(**settings), threads=2)
