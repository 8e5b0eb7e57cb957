"""Batches of one shape each: every sample as often as it should, whoever takes it."""

from collections import Counter

import pytest

from connectomake.synth.buckets import Buckets

SMALL, LARGE = (4, 4, 4), (4, 8, 8)
SHAPES = [SMALL, LARGE, SMALL, SMALL, LARGE, SMALL, SMALL]
BATCHES = {SMALL: 2, LARGE: 1}


@pytest.fixture
def buckets() -> Buckets:
    return Buckets(SHAPES, BATCHES, seed=3)


def test_each_batch_is_of_one_shape_and_of_its_size(buckets):
    for step in range(40):
        shapes = [SHAPES[number] for number in buckets.numbers_of(step)]
        assert shapes == [shapes[0]] * BATCHES[shapes[0]]


def test_every_sample_of_a_shape_is_shown_equally_often(buckets):
    seen = Counter(number for step in range(5 * 5) for number in buckets.numbers_of(step))
    assert [seen[number] for number in range(7)] == [6, 5, 6, 6, 5, 6, 6]  # 5 rounds: 15 batches of 2, 10 of 1


def test_rounds_differ_and_so_do_seeds(buckets):
    def taken(of: Buckets, steps: range) -> list[list[int]]:
        return [of.numbers_of(step) for step in steps]

    assert taken(buckets, range(5)) != taken(buckets, range(5, 10))
    assert taken(buckets, range(20)) != taken(Buckets(SHAPES, BATCHES, seed=4), range(20))
    assert taken(buckets, range(20)) == taken(Buckets(SHAPES, BATCHES, seed=3), range(20))


def test_processes_take_the_same_shape_and_other_samples(buckets):
    for step in range(12):
        first, second = (buckets.numbers_of(step, rank, 2) for rank in range(2))
        assert SHAPES[first[0]] == SHAPES[second[0]]
        assert len(first) == len(second)
    seen = Counter(n for step in range(3 * 10) for rank in range(2) for n in buckets.numbers_of(step, rank, 2))
    assert max(seen[n] for n in (0, 2, 3, 5, 6)) - min(seen[n] for n in (0, 2, 3, 5, 6)) <= 1
    assert seen[1] == seen[4]


def test_a_shape_with_fewer_samples_than_its_batch_repeats_them():
    buckets = Buckets([SMALL] * 3, {SMALL: 8}, seed=0)
    for step in range(3):
        assert set(Counter(buckets.numbers_of(step)).values()) <= {2, 3, 4}
    assert Counter(n for step in range(3) for n in buckets.numbers_of(step)) == {0: 8, 1: 8, 2: 8}
