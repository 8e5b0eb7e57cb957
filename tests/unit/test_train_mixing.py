"""Mixing sources: the chances are exactly those asked for, whatever the sizes; each sample follows from its number."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import DataError
from connectomake.targets.registry import Targets
from connectomake.train.mixing import WeightedConcatDataset, draw, mix_boxes, to_chances
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.volumes import LabelledBox

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(lambda weights: sum(weights) > 0)


def make_box(value, shape=(8, 8, 8), weight=1.0, source="", share=None):
    """Return a box in which every grey value is `value`."""
    raw = np.full((1, *shape), value, np.uint8)
    return LabelledBox(f"v{value}", raw, np.ones(shape, np.uint8), 1, shape, (8.0, 8.0, 8.0), weight, source, share)


def mixed():
    """Three parts real to one synthetic; the real volumes are much smaller."""
    return [
        make_box(1, source="real", share=3.0),
        make_box(2, (8, 8, 24), source="real", share=3.0),
        make_box(3, (40, 40, 40), source="synthetic", share=1.0),
        make_box(4, source="never", share=0.0),
    ]


def assert_frequencies(drawn, chances):
    """Compare counts with chances: within 4.5 standard deviations of the binomial, so 1 in 100,000 fails by chance."""
    for index, chance in enumerate(chances):
        bound = 4.5 * np.sqrt(len(drawn) * chance * (1 - chance))
        assert abs(drawn.count(index) - len(drawn) * chance) <= bound


@settings(deadline=None)
@given(WEIGHTS)
def test_chances_are_the_weights_over_their_sum(weights):
    total = sum(map(Fraction, weights))
    for chance, weight in zip(to_chances(weights), weights, strict=True):
        assert abs(Fraction(float(chance)) - Fraction(weight) / total) <= Fraction(2, 2**53)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [float("inf")]])
def test_weights_without_a_positive_sum_are_refused(weights):
    with pytest.raises(DataError, match="positive sum"):
        to_chances(weights)


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 2**32))
def test_what_has_no_weight_is_never_drawn(weights, seed):
    rng = np.random.default_rng(seed)
    assert all(weights[draw(rng, to_chances(weights))] > 0 for _ in range(20))


class Highest(np.random.Generator):
    """The largest number below 1, always."""

    def random(self, *args):
        return 1 - 2**-53


@settings(deadline=None)
@given(WEIGHTS)
def test_not_even_the_highest_number_draws_what_has_no_weight(weights):
    assert weights[draw(Highest(np.random.PCG64(0)), to_chances([*weights, 0.0]))] > 0


def test_a_source_has_its_share_whatever_its_size():
    mixture = mix_boxes(mixed())
    assert mixture.shares.tolist() == [0.75, 0.25, 0.0]
    assert mixture.chances.tolist() == [0.75 / 4, 0.75 * 3 / 4, 0.25, 0.0]
    rng = np.random.default_rng(0)
    assert_frequencies([mixture.draw(rng) for _ in range(20_000)], mixture.chances)


def test_without_a_mix_voxels_count_alike():
    boxes = [make_box(1, source="real"), make_box(2, (8, 8, 24), source="real"), make_box(3, weight=4.0, source="x")]
    mixture = mix_boxes(boxes)
    assert mixture.shares.tolist() == [1.0]
    assert mixture.chances.tolist() == [1 / 8, 3 / 8, 4 / 8]


def test_training_patches_come_from_their_sources():
    targets = {"affinity": {"offsets_zyx_vx": [[1, 0, 0]]}}
    cfg = TrainConfig.model_validate({"patch_zyx_vx": [16, 16, 32], "seed": 1, "targets": targets})
    sizes = {1: (16, 16, 32), 2: (16, 16, 96), 3: (40, 40, 40), 4: (16, 16, 32)}
    boxes = [
        make_box(value, sizes[value], source=box.source, share=box.share) for value, box in enumerate(mixed(), start=1)
    ]
    patches = TrainingPatches(boxes, cfg, AugmentConfig(), Targets(cfg.targets, (8, 8, 8)), Normalisation(0, 1))
    drawn = [int(patches[i]["raw"][0, 0, 0, 0]) - 1 for i in range(600)]
    assert_frequencies(drawn, [3 / 16, 9 / 16, 1 / 4, 0])
    again = [int(patches[i]["raw"][0, 0, 0, 0]) - 1 for i in reversed(range(600))]
    assert again[::-1] == drawn


def test_concatenated_data_sets_are_mixed_by_weight():
    data = [[(k, i) for i in range(n)] for k, n in enumerate((10, 1000, 30, 0))]
    mixed = WeightedConcatDataset(data, [2, 1, 1, 0], length=4000, seed=7)
    assert mixed.chances.tolist() == [0.5, 0.25, 0.25, 0.0]
    samples = [mixed[i] for i in range(len(mixed))]
    assert_frequencies([k for k, _ in samples], mixed.chances)
    assert {i for k, i in samples if k == 0} == set(range(10))
    assert samples == list(WeightedConcatDataset(data, [20, 10, 10, 0], length=4000, seed=7))
    assert samples != list(WeightedConcatDataset(data, [2, 1, 1, 0], length=4000, seed=8))
    assert len(WeightedConcatDataset(data, [2, 1, 1, 0])) == 10


@pytest.mark.parametrize(("workers", "batch"), [(0, 3), (2, 3), (2, 8)])
def test_samples_do_not_depend_on_workers_or_batch(workers, batch):
    mixed = WeightedConcatDataset([range(100), range(100, 200)], [1, 3], length=24)
    loader = DataLoader(mixed, batch_size=batch, num_workers=workers)
    assert [int(value) for batch in loader for value in batch] == [mixed[i] for i in range(24)]


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(DataError, match="2 weights"):
        WeightedConcatDataset(["a", "b"], [1])
    with pytest.raises(DataError, match="positive sum"):
        WeightedConcatDataset(["a", "b"], [0, 0])
    with pytest.raises(DataError, match="empty"):
        WeightedConcatDataset(["a", ""], [1, 1])
    with pytest.raises(IndexError):
        WeightedConcatDataset(["a", "b"], [1, 1])[1]
