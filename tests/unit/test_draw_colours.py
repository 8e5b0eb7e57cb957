"""Colours stay the same, tell ids apart, and make errors stand out."""

from __future__ import annotations

import numpy as np

from connectomake.draw.colours import (
    NO_PARTNER,
    adopt_ids,
    colour_ids,
    colour_labels,
    find_borders,
    hash_ids,
    match_truth,
    overlay,
)


def test_colours_never_change():
    expected = [[61, 180, 186], [54, 221, 255], [232, 149, 77]]
    np.testing.assert_array_equal(colour_ids(np.array([1, 2, 2**40])), expected)


def test_hash_is_splitmix64():
    # the first output of the reference generator for seed 0 (Vigna, splitmix64.c)
    assert int(hash_ids(np.array([0]))[0]) == 0xE220A8397B1DCDAF


def test_ids_are_told_apart():
    colours = colour_ids(np.arange(1, 200)).astype(int)
    assert len(np.unique(colours, axis=0)) > 190
    steps = np.abs(np.diff(colours, axis=0)).max(1)
    assert np.median(steps) > 80  # neighbouring ids look different


def test_colours_are_strong_on_black_and_on_gray():
    colours = colour_ids(np.arange(1, 1000)).astype(int)
    assert colours.max(1).min() > 150
    assert np.ptp(colours, axis=1).min() > 60


def test_background_and_unknown_are_black_in_any_type():
    for kind in (np.int8, np.int64, np.uint16, np.uint64):
        assert not colour_ids(np.zeros(2, kind)).any()
    assert not colour_ids(np.array([-1])).any()
    np.testing.assert_array_equal(colour_ids(np.array([7], np.uint8)), colour_ids(np.array([7], np.uint64)))


def test_labels_are_coloured_by_their_id_alone():
    labels = np.array([[5, 5, 0], [9, 5, 9]])
    np.testing.assert_array_equal(colour_labels(labels), colour_ids(labels))


def test_perfect_labels_match_whatever_their_ids():
    truth = np.repeat([[1, 2, 3]], 4, axis=0)
    labels = truth * 100
    partners = match_truth(labels, truth)
    assert partners == {1: 100, 2: 200, 3: 300}
    np.testing.assert_array_equal(adopt_ids(truth, partners), labels)


def test_a_merged_object_finds_no_partner():
    truth = np.array([1] * 6 + [2] * 3 + [3])
    labels = np.array([7] * 9 + [8])
    assert match_truth(labels, truth) == {1: 7, 3: 8}
    adopted = adopt_ids(truth[None], {1: 7, 3: 8})[0]
    assert adopted[0] == 7
    assert (adopted[6:9] >= NO_PARTNER).all()


def test_a_split_object_matches_its_largest_part():
    truth = np.full(10, 4)
    labels = np.array([1] * 3 + [2] * 7)
    assert match_truth(labels, truth) == {4: 2}


def test_background_takes_no_part_in_matches():
    assert match_truth(np.array([0, 0, 1]), np.array([2, 2, 0])) == {}
    kept = adopt_ids(np.array([[0, -1]]), {})
    np.testing.assert_array_equal(kept, [[0, -1]])


def test_borders_lie_between_labels():
    labels = np.array([[1, 1, 2], [1, 1, 2]])
    np.testing.assert_array_equal(find_borders(labels), [[False, True, False]] * 2)


def test_overlay_leaves_background_and_darkens_borders():
    gray = np.full((3, 6), 100, np.uint8)
    labels = np.array([[0, 0, 1, 1, 2, 2]] * 3)
    image = overlay(gray, labels, 0.5)
    assert (image[:, :2] == 100).all()
    assert (image[:, 3] < image[:, 2]).all()
    expected = (100 + colour_ids(np.array(1)).astype(float)) / 2
    np.testing.assert_allclose(image[0, 2], expected, atol=1)
    np.testing.assert_array_equal(overlay(gray, labels, np.zeros((3, 6)))[:, 2], np.full((3, 3), 100))
