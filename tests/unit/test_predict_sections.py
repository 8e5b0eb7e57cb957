"""Sums over sections are exact however a volume is cut; bad sections and drift are told from noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.geometry import Box
from connectomake.predict.check.profiles import Profile
from connectomake.predict.check.sections import find_jumps, fit_drift


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_sums_do_not_depend_on_how_a_volume_is_cut(seed, is_float, is_masked):
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, (2, 5, 6, 7)).astype(np.uint8)
    values = (values / 255).astype(np.float16) if is_float else values
    wanted = random.random(values.shape[1:]) < 0.6 if is_masked else None
    cuts = [sorted({0, n, *random.integers(0, n, 2).tolist()}) for n in values.shape[1:]]
    boxes = [
        Box((z, y, x), (z2, y2, x2))
        for z, z2 in zip(cuts[0], cuts[0][1:], strict=False)
        for y, y2 in zip(cuts[1], cuts[1][1:], strict=False)
        for x, x2 in zip(cuts[2], cuts[2][1:], strict=False)
    ]
    random.shuffle(boxes)
    whole, parts = (Profile.empty(2, 5, values.dtype) for _ in range(2))
    whole.add(Box.of_shape(values.shape[1:]), values, wanted)
    for box in (Box(*map(tuple, corners)) for corners in [(b.start_zyx, b.stop_zyx) for b in boxes]):
        parts.add(box, values[:, *box.slices].copy(), None if wanted is None else wanted[box.slices])
    for key in ("sums", "saturated", "counts", "patterns"):
        np.testing.assert_array_equal(getattr(whole, key), getattr(parts, key))
    known = np.ones(values.shape[1:], bool) if wanted is None else wanted
    np.testing.assert_array_equal(whole.sums, np.where(known, values.astype(float), 0).sum((2, 3)))
    np.testing.assert_array_equal(whole.counts, known.sum((1, 2)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 59), st.sampled_from([-0.3, 0.3]), st.integers(0, 1000))
def test_a_jump_is_found_wherever_it_is_and_nowhere_else(z, size, seed):
    means = 0.7 + np.linspace(0, 0.2, 60) + np.random.default_rng(seed).normal(0, 0.005, 60)
    assert find_jumps(means, 1.0) == []
    means[z] += size
    [jump] = find_jumps(means, 1.0)
    assert (jump.first, jump.last, jump.worst) == (z, z, z)
    assert jump.mean == means[z]


def test_few_or_unknown_sections_say_nothing():
    assert find_jumps(np.array([0.1, 0.9, 0.1]), 1.0) == []
    assert fit_drift(np.array([0.1, 0.9, 0.1]), 1.0) is None
    means = np.full(30, 0.5)
    means[10:14] = np.nan
    means[9] = 0.1
    assert [(jump.first, jump.last) for jump in find_jumps(means, 1.0)] == [(9, 9)]


def test_a_few_bad_sections_do_not_turn_the_line():
    means = np.full(40, 0.5)
    means[-4:] = 0.0
    drift = fit_drift(means, 1.0)
    assert not drift.is_large
    assert drift.percent == pytest.approx(0, abs=1)
