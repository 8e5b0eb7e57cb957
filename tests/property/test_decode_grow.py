"""Growing objects against its definition, round by round and voxel by voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.filling.grow import grow_objects
from connectomake.errors import DataError

DIRECTIONS = [(axis, sign) for axis in range(3) for sign in (-1, 1)]


def grow_slowly(labels, levels, edge_offset, lowest, rounds):
    """Compute it as the docstring says."""
    for turn in range(1, rounds + 1):
        before = labels.copy()
        for p in np.argwhere(before == 0):
            best = -1
            for axis, sign in DIRECTIONS:
                q = p + sign * (np.arange(3) == axis)
                if not 0 <= q[axis] < labels.shape[axis] or before[tuple(q)] == 0:
                    continue
                first, second = (p, q) if sign > 0 else (q, p)
                level = int(levels[(axis, *(second if edge_offset else first))])
                carries = level >= lowest and (255 - level) * rounds <= (255 - lowest) * turn
                if carries and level > best:
                    best, labels[tuple(p)] = level, before[tuple(q)]
    return labels


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.sampled_from([np.uint8, np.float32, bool]),
    st.integers(0, 1),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    st.integers(1, 7),
    st.sampled_from([np.uint32, np.uint64]),
)
def test_growing_is_that_of_its_definition(seed, shape_zyx, dtype, edge_offset, floor, rounds, label_dtype):
    rng = np.random.default_rng(seed)
    levels = rng.choice([0, 40, 120, 200, 255], (3, *shape_zyx)).astype(np.uint8)
    affinities = levels if dtype == np.uint8 else (levels / 255).astype(dtype)
    if dtype is bool:
        levels = 255 * affinities.astype(np.uint8)
    labels = (rng.integers(1, 5, shape_zyx) * (rng.random(shape_zyx) < 0.25)).astype(label_dtype)
    lowest = np.count_nonzero(np.arange(256) / 255 < floor)
    expected = grow_slowly(labels.copy(), levels, edge_offset, lowest, rounds)
    grown = grow_objects(labels, affinities, edge_offset=edge_offset, floor=floor, rounds=rounds)
    assert grown is labels
    np.testing.assert_array_equal(labels, expected)


def grown(values, seeds, **kwargs):
    affinities = np.zeros((3, 1, 1, len(values)), np.uint8)
    affinities[2, 0, 0] = values
    labels = np.zeros((1, 1, len(values)), np.uint32)
    labels[0, 0, list(seeds)] = list(seeds.values())
    return grow_objects(labels, affinities, **kwargs)[0, 0].tolist()


def test_fronts_that_move_at_one_pace_meet_in_the_middle_and_the_stronger_edge_wins():
    values = [255, 255, 255, 254, 255, 255, 255, 255, 0]
    assert grown(values, {0: 1, 8: 2}, rounds=255) == [1, 1, 1, 1, 2, 2, 2, 2, 2]


def test_weak_edges_open_late():
    values = [255, 51, 255, 255, 204, 255, 0]  # of 5 rounds: 51 carries from the 4th on, 204 from the 1st
    assert grown(values, {0: 1, 6: 2}, rounds=5) == [1, 1, 2, 2, 2, 2, 2]
    assert grown(values, {0: 1}, rounds=5) == [1, 1, 1, 1, 0, 0, 0]
    assert grown(values, {0: 1}, rounds=5, floor=0.3) == [1, 1, 0, 0, 0, 0, 0]


def test_a_preset_can_grow():
    affinities = np.array([0.9, 0.9, 0.2, 0.1, 0.9, 0.05, 0.9, 0.9, 0], np.float32) * np.ones((3, 1, 1, 1), np.float32)
    cfg = DecodeConfig(min_size_vx=3, fill="grow", fill_distance_vx=1)
    assert decode(affinities, cfg)[0, 0].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("rounds", [0, -1, 2**16])
def test_rounds_that_make_no_sense_are_refused(rounds):
    with pytest.raises(DataError, match=r"rounds|cannot fill"):
        grow_objects(np.zeros((2, 2, 2), np.uint32), np.zeros((3, 2, 2, 2), np.uint8), rounds=rounds)
