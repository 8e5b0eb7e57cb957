"""Validation gets its share of every class, and no class is without where that can be helped."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectomake.cellmap.manifest import group_by_crop, read_manifest
from connectomake.split import by_class
from connectomake.split.by_class import MISSING, choose_validation, may_validate

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap" / "train_crop_manifest.csv"
VOXELS = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.sampled_from([0, 0, 1, 3, 10, 500])
)


def cost_of(present, validates, fraction):
    """Add up by hand what is wrong with a choice: deviations of the shares, and classes that lack a side."""
    cost = 0.0
    for column in present.T:
        holders = [unit for unit, n in enumerate(column) if n > 0]
        if len(holders) > 1:
            kept = [unit for unit in holders if validates[unit]]
            cost += (sum(column[unit] for unit in kept) / sum(column) - fraction) ** 2
            cost += MISSING * (len(kept) in (0, len(holders)))
    return cost


def all_choices(present):
    """Return every choice in which units that must be trained on are."""
    allowed = may_validate(present)
    return [choice for choice in product([False, True], repeat=len(present)) if not np.any(~allowed & choice)]


def draw_at_random(present, fraction, n):
    rng = np.random.default_rng(0)
    return [may_validate(present) & (rng.random(len(present)) < fraction) for _ in range(n)]


def make_solvable(n_units, n_classes, seed):
    """Make rare classes, each of which two to four units have, at least one on each side of a hidden division."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_units) < 0.3 * n_units
    present = np.zeros((n_units, n_classes))
    for k in range(n_classes):
        sides = [rng.choice(np.flatnonzero(side)), rng.choice(np.flatnonzero(~side))]
        units = np.unique([*sides, *rng.choice(n_units, rng.integers(3))])
        present[units, k] = rng.lognormal(8, 2, len(units))
    return present[rng.permutation(n_units)]


@settings(max_examples=150, deadline=None)
@given(VOXELS, st.sampled_from([0.1, 0.15, 0.5]), st.integers(0, 3))
def test_of_few_units_the_choice_is_the_best(present, fraction, seed):
    validates = choose_validation(present, fraction, seed)
    least = min(cost_of(present, choice, fraction) for choice in all_choices(present))
    assert cost_of(present, validates, fraction) == pytest.approx(least, abs=1e-9)
    assert not np.any(validates & ~may_validate(present))


@settings(max_examples=100, deadline=None)
@given(VOXELS)
def test_units_that_alone_have_a_class_are_trained_on(present):
    for unit, row in enumerate(present):
        alone = any(row[k] > 0 and (present[:, k] > 0).sum() == 1 for k in range(present.shape[1]))
        assert may_validate(present)[unit] == (row.any() and not alone)


@pytest.mark.parametrize(("n_units", "n_classes"), [(16, 8), (22, 30), (40, 48), (120, 48)])
@pytest.mark.parametrize("seed", range(3))
def test_no_class_lacks_anything_that_it_can_have(n_units, n_classes, seed):
    present = make_solvable(n_units, n_classes, seed)
    cost = cost_of(present, choose_validation(present, 0.15, seed), 0.15)
    assert cost < MISSING
    assert cost < min(cost_of(present, choice, 0.15) for choice in draw_at_random(present, 0.15, 100))


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_what_trying_all_finds(monkeypatch, seed):
    present = np.random.default_rng(seed).lognormal(5, 2, (10, 5)) * (np.random.default_rng(seed).random((10, 5)) < 0.5)
    best = cost_of(present, choose_validation(present, 0.2, 0), 0.2)
    monkeypatch.setattr(by_class, "MOST_TRIED", 0)
    found = cost_of(present, choose_validation(present, 0.2, 0), 0.2)
    assert best <= found + 1e-9
    assert found == pytest.approx(best, abs=0.02)


def test_shares_are_near_where_units_are_small():
    present = np.random.default_rng(0).lognormal(5, 1, (200, 20))
    validates = choose_validation(present, 0.15, 0)
    np.testing.assert_allclose(present[validates].sum(0) / present.sum(0), 0.15, atol=0.02)


def test_the_seed_decides():
    present = np.random.default_rng(0).lognormal(5, 1, (30, 5))
    first, again = (choose_validation(present, 0.15, 3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert any((choose_validation(present, 0.15, seed) != first).any() for seed in range(4, 8))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 2)])
def test_where_nothing_can_be_chosen_nothing_validates(shape):
    assert not choose_validation(np.ones(shape), 0.15, 0).any()


@pytest.mark.skipif(not MANIFEST.is_file(), reason="../shared/data/cellmap is not there")
def test_the_crops_of_the_challenge_are_divided_well():
    rows = read_manifest(MANIFEST)
    crops, classes = list(group_by_crop(rows)), sorted({row.label for row in rows})
    rng = np.random.default_rng(0)
    common = dict(zip(classes, rng.beta(0.6, 1.2, len(classes)), strict=True))
    present = np.zeros((len(crops), len(classes)))
    for row in rows:  # which classes are annotated is the challenge's; how much there is of them is made up
        if rng.random() < common[row.label]:
            size = np.prod(row.grid.shape_zyx) * rng.lognormal(-5, 1)
            present[crops.index(row.crop), classes.index(row.label)] = size
    cost = cost_of(present, choose_validation(present, 0.15, 0), 0.15)
    assert cost < 0.1
    assert cost < min(cost_of(present, choice, 0.15) for choice in draw_at_random(present, 0.15, 200)) / 2
