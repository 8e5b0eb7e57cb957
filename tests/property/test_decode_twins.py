"""The compiled decoder against plain Python twins and against cc3d, on small random volumes."""

import heapq

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.decode import affinity_cc3d, fill_by_watershed
from connectomake.decode.channels import to_destination
from connectomake.decode.components.small_objects import merge_into_neighbors
from connectomake.targets.affinity import affinities_of_labels

UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
DIRECTIONS = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
LEVELS = (0.0, 0.1, 0.3, 0.5, 0.502, 0.6, 1.0)

# Rows are cut into 64-bit words: widths on both sides of a word's end matter.
widths = st.sampled_from([1, 2, 3, 5, 63, 64, 65, 129])
wide_shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), widths)
small_shapes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=60)


def random_affinities(seed, shape_zyx, dtype, channels=3):
    values = np.random.default_rng(seed).choice(
        LEVELS, (channels, *shape_zyx), p=[0.35, 0.05, 0.05, 0.1, 0.05, 0.1, 0.3]
    )
    if dtype == np.uint8:
        return np.rint(255 * values).astype(np.uint8)
    return (values > 0.5) if dtype is bool else values.astype(dtype)


def strong_edges(affinities, threshold, edge_offset):
    """Return {voxel: voxels} of the edges inside the volume, by the definition, one by one."""
    strong = affinities / 255 > threshold if affinities.dtype == np.uint8 else affinities > threshold
    joined = {}
    for axis in range(3):
        for p in np.ndindex(*affinities.shape[1:]):
            q = tuple(c + (a == axis) for a, c in enumerate(p))
            if q[axis] < affinities.shape[1 + axis] and strong[(axis, *(q if edge_offset else p))]:
                joined.setdefault(p, []).append(q)
                joined.setdefault(q, []).append(p)
    return joined


def flood_fill(affinities, threshold, edge_offset):
    joined = strong_edges(affinities, threshold, edge_offset)
    labels = np.zeros(affinities.shape[1:], np.uint32)
    count = 0
    for seed in np.ndindex(*labels.shape):
        if labels[seed] or seed not in joined:
            continue
        count += 1
        labels[seed] = count
        stack = [seed]
        while stack:
            for q in joined[stack.pop()]:
                if not labels[q]:
                    labels[q] = count
                    stack.append(q)
    return labels


def neighbors(p, shape):
    for axis, sign in DIRECTIONS:
        q = tuple(c + sign * (a == axis) for a, c in enumerate(p))
        if 0 <= q[axis] < shape[axis]:
            yield axis, sign, q


def heap_watershed(labels, levels, edge_offset, lowest, distance_vx):
    """Fill with one heap, ordered by level and then by time, every edge queued."""
    labels = labels.copy()
    heap = []

    def queue(p, label, axis, q, sign, steps):
        first = p if sign > 0 else q
        level = int(levels[(axis, *(c + edge_offset * (a == axis) for a, c in enumerate(first)))])
        if level >= lowest:
            heapq.heappush(heap, (-level, queue.time, steps, label, p))
            queue.time += 1

    queue.time = 0
    for p in np.ndindex(*labels.shape):
        if labels[p] == 0:
            for axis, sign, q in neighbors(p, labels.shape):
                if labels[q]:
                    queue(p, labels[q], axis, q, sign, 1)
    while heap:
        _, _, steps, label, p = heapq.heappop(heap)
        if labels[p]:
            continue
        labels[p] = label
        if steps == distance_vx:
            continue
        for axis, sign, q in neighbors(p, labels.shape):
            if labels[q] == 0:
                queue(q, label, axis, p, -sign, steps + 1)
    return labels


@quick
@given(
    seeds,
    wide_shapes,
    st.sampled_from([np.uint8, bool, np.float16, np.float32, np.float64]),
    st.sampled_from(LEVELS),
    st.sampled_from([0, 1]),
)
def test_components_are_those_of_a_flood_fill_for_any_number_of_threads(seed, shape_zyx, dtype, threshold, edge_offset):
    affinities = random_affinities(seed, shape_zyx, dtype, channels=4)
    expected = flood_fill(affinities, threshold, edge_offset)
    for threads in (1, 2, 3):
        labels = affinity_cc3d(affinities, threshold, edge_offset=edge_offset, threads=threads)
        assert labels.dtype == np.uint32
        np.testing.assert_array_equal(labels, expected)


@quick
@given(seeds, wide_shapes)
def test_components_are_those_of_cc3d(seed, shape_zyx):
    affinities = random_affinities(seed, shape_zyx, np.float32)
    strong = affinities > 0.5
    graph = np.zeros(shape_zyx, np.uint32)  # cc3d: bits +x, -x, +y, -y, +z, -z, of arrays indexed x, y, z
    for axis, bit in ((2, 0), (1, 2), (0, 4)):
        low, high = (tuple(s if a == axis else slice(None) for a in range(3)) for s in (slice(0, -1), slice(1, None)))
        edge = strong[axis][low].astype(np.uint32)
        graph[low] |= edge << bit
        graph[high] |= edge << (bit + 1)
    theirs = cc3d.color_connectivity_graph(np.asfortranarray(graph.T), connectivity=6).T
    ours = affinity_cc3d(affinities, 0.5)
    np.testing.assert_array_equal(ours == 0, graph == 0)
    inside = ours > 0
    pairs = np.unique(np.stack([ours[inside], theirs[inside]]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@quick
@given(seeds, small_shapes, st.integers(0, 4), st.sampled_from(["source", "destination"]))
def test_perfect_affinities_decode_to_the_labels(seed, shape_zyx, ids, convention):
    """VOI 0 and more, the same ids: those of the 6-connected parts; a part of one voxel has no edge and becomes 0."""
    labels = np.random.default_rng(seed).integers(0, ids + 1, shape_zyx)
    affinities, _ = affinities_of_labels(labels, UNITS)
    if convention == "destination":
        affinities = to_destination(affinities, UNITS)
    parts = np.zeros(shape_zyx, np.uint32)
    for p in np.ndindex(*shape_zyx):
        if labels[p] and not parts[p]:
            mask = cc3d.connected_components((labels == labels[p]).astype(np.uint8), connectivity=6)
            part = np.atleast_3d(mask).reshape(shape_zyx) == mask.reshape(shape_zyx)[p]
            parts[part] = parts.max() + 1 if part.sum() > 1 else 0
    decoded = affinity_cc3d(affinities.astype(np.float32), 0.5, edge_offset=int(convention == "destination"))
    np.testing.assert_array_equal(decoded, parts)


@settings(deadline=None, max_examples=150)
@given(
    seeds,
    small_shapes,
    st.sampled_from([np.uint8, np.float16, np.float32]),
    st.sampled_from([0, 1]),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([np.uint32, np.uint64]),
)
def test_watershed_is_that_of_a_heap(seed, shape_zyx, dtype, edge_offset, floor, distance_vx, label_dtype):
    rng = np.random.default_rng(seed)
    affinities = random_affinities(seed, shape_zyx, dtype)
    labels = (rng.integers(1, 2**20, shape_zyx) * (rng.random(shape_zyx) < 0.15)).astype(label_dtype)
    levels = affinities if dtype == np.uint8 else np.rint(255 * affinities.astype(np.float32))
    lowest = np.count_nonzero(np.arange(256) / 255 < floor)
    expected = heap_watershed(labels, levels, edge_offset, lowest, distance_vx)
    filled = fill_by_watershed(labels, affinities, edge_offset=edge_offset, floor=floor, distance_vx=distance_vx)
    assert filled is labels
    np.testing.assert_array_equal(labels, expected)


@quick
@given(seeds, small_shapes)
def test_watershed_maximises_the_weakest_edge(seed, shape_zyx):
    """Against the definition, not the algorithm: no path to another object has a stronger weakest edge."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (3, *shape_zyx), dtype=np.uint8)
    objects = (np.arange(1, np.prod(shape_zyx) + 1).reshape(shape_zyx) * (rng.random(shape_zyx) < 0.2)).astype(
        np.uint32
    )
    filled = fill_by_watershed(objects.copy(), levels)
    reach = {label: weakest_edges(objects == label, objects, levels) for label in np.unique(objects[objects > 0])}
    best = np.max(list(reach.values()), axis=0) if reach else np.zeros(shape_zyx)
    for p in np.argwhere(objects == 0):
        if reach:
            assert reach[filled[tuple(p)]][tuple(p)] == best[tuple(p)]


def weakest_edges(start, objects, levels):
    """Return for each voxel the weakest edge of the best path from `start` through voxels of no object (-1: none)."""
    reach = np.where(start, 256, -1)
    changed = True
    while changed:
        changed = False
        for p in np.ndindex(*reach.shape):
            if objects[p] and not start[p]:
                continue
            for axis, sign, q in neighbors(p, reach.shape):
                value = min(reach[p], int(levels[(axis, *(p if sign > 0 else q))]))
                if not objects[q] and value > reach[q]:
                    reach[q], changed = value, True
    return reach


@quick
@given(seeds, small_shapes, st.integers(2, 6))
def test_small_objects_join_the_neighbor_of_largest_contact(seed, shape_zyx, min_size_vx):
    labels = flood_fill(random_affinities(seed, shape_zyx, np.float32), 0.5, 0)
    sizes = np.bincount(labels.ravel())
    target = {0: 0}
    for small in range(1, len(sizes)):
        contact = np.zeros(len(sizes), int)
        for p in np.argwhere(labels == small):
            for _, _, q in neighbors(tuple(p), shape_zyx):
                contact[labels[q]] += sizes[labels[q]] >= min_size_vx
        contact[0] = 0
        target[small] = small if sizes[small] >= min_size_vx else int(contact.argmax())
    merged = np.vectorize(target.get, otypes=[np.int64])(labels)
    order = {label: i for i, label in enumerate(dict.fromkeys(merged[merged > 0].tolist()), 1)}
    expected = np.vectorize(lambda label: order.get(label, 0), otypes=[np.uint32])(merged)
    np.testing.assert_array_equal(merge_into_neighbors(labels, sizes >= min_size_vx)[labels], expected)


@pytest.mark.parametrize("mode", ["background", "neighbor", "none"])
@given(seed=seeds, shape_zyx=small_shapes, min_size_vx=st.integers(0, 6), threads=st.integers(1, 3))
@quick
def test_ids_are_in_scan_order_whatever_is_removed(mode, seed, shape_zyx, min_size_vx, threads):
    affinities = random_affinities(seed, shape_zyx, np.uint8)
    labels = affinity_cc3d(affinities, 0.5, min_size_vx, remove_small_mode=mode, threads=threads)
    found = list(dict.fromkeys(labels[labels > 0].tolist()))
    assert found == list(range(1, len(found) + 1))
    sizes = np.bincount(labels.ravel())[1:]
    assert mode == "none" or (sizes >= min_size_vx).all()
