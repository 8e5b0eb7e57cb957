"""Traced in blocks of any size, a label has the same connected parts as it has by itself, and no loops."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from connectomake.config.settings.data import SkeletonConfig
from connectomake.geometry import Box
from connectomake.ingest.skeletons import skeletonize_labels
from connectomake.ingest.skeletons.grid import plan_trace
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SIZE_ZYX_NM = (30.0, 8.0, 10.0)


def noise(shape: tuple[int, ...], seed: int, labels: int, sigma: float) -> np.ndarray:
    """Blobs, sheets, islands and holes of several labels: each voxel takes the strongest of smooth random fields."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(labels + 1)]
    return np.argmax(fields, axis=0).astype(np.uint32)


def write(folder: str, array: np.ndarray) -> Volume:
    write_store(Path(folder) / "a.zarr", array, voxel_size_zyx_nm=SIZE_ZYX_NM, chunk_zyx=(8, 8, 8))
    return open_volume(Path(folder) / "a.zarr")


def trees_of(found: Skeletons) -> np.ndarray:
    """Return the tree of each node; fails where one has a loop."""
    nodes = len(found.node_skeleton_id)
    graph = coo_array((np.ones(len(found.edges), bool), found.edges.T), shape=(nodes, nodes))
    count, tree = connected_components(graph, directed=False)
    assert len(found.edges) == nodes - count
    return tree


shapes = st.tuples(*[st.integers(6, 44)] * 3)
sides = st.tuples(*[st.integers(16, 40)] * 3)


@settings(max_examples=40, deadline=None)
@given(
    shapes, sides, st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.6, 1.2, 2.5]), st.sampled_from([0, 30])
)
def test_every_part_of_a_label_gets_one_tree_inside_it(
    shape: tuple, side: tuple, seed: int, labels: int, sigma: float, dust_vx: int
) -> None:
    array = noise(shape, seed, labels, sigma)
    cfg = SkeletonConfig(const_nm=30, dust_vx=dust_vx, block_zyx_vx=side)
    with tempfile.TemporaryDirectory() as folder:
        found = skeletonize_labels(write(folder, array), cfg)
    voxel = np.rint(found.node_pos_nm / SIZE_ZYX_NM).astype(int)
    assert np.array_equal(array[tuple(voxel.T)], found.node_skeleton_id)
    assert len(np.unique(voxel, axis=0)) == len(voxel)
    names, sizes = np.unique(array, return_counts=True)
    kept = np.where(np.isin(array, names[sizes >= dust_vx]), array, 0)
    parts = cc3d.connected_components(kept, connectivity=26)
    traced = np.flatnonzero(np.bincount(parts.ravel())[1:] > 1) + 1
    tree, part = trees_of(found), parts[tuple(voxel.T)]
    assert np.array_equal(np.unique(part), traced)
    assert len(np.unique(np.stack([tree, part]), axis=1).T) == len(traced) == len(np.unique(tree))


@pytest.mark.slow("traces fifteen somata")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(6, 8), (18, 30), (60, 80)]))
def test_somata_of_any_size_stay_whole(seed: int, soma_nm: tuple) -> None:
    array = noise((40, 44, 36), seed, 2, 3.0)
    detection, acceptance = soma_nm
    cfg = SkeletonConfig(
        const_nm=20, dust_vx=0, block_zyx_vx=(16, 24, 20), soma_detection_nm=detection, soma_acceptance_nm=acceptance
    )
    with tempfile.TemporaryDirectory() as folder:
        found = skeletonize_labels(write(folder, array), cfg)
    voxel = np.rint(found.node_pos_nm / SIZE_ZYX_NM).astype(int)
    assert np.array_equal(array[tuple(voxel.T)], found.node_skeleton_id)
    part = cc3d.connected_components(array, connectivity=26)[tuple(voxel.T)]
    pairs = np.unique(np.stack([trees_of(found), part]), axis=1).T
    assert len(pairs) == len(np.unique(part))


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 60)] * 3), sides)
def test_blocks_hold_every_step_once_and_share_planes(shape: tuple, side: tuple) -> None:
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, np.zeros(shape, np.uint8))
    grid = plan_trace(volume, SkeletonConfig(block_zyx_vx=side))
    held = np.zeros(shape, int)
    for i in range(len(grid)):
        box = grid[i]
        assert Box.of_shape(shape).contains(box)
        assert all(n <= most + 1 for n, most in zip(box.shape_zyx, side, strict=True))
        assert all(n >= min(2, whole) for n, whole in zip(box.shape_zyx, shape, strict=True))
        held[box.slices] += 1
    assert held.min() == 1
    voxel = np.stack(np.nonzero(np.ones(shape)), axis=1)
    assert np.array_equal(grid.is_shared(voxel), held[tuple(voxel.T)] > 1)
