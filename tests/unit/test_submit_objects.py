"""Objects of a mask: against scipy, cut at necks as a slow count of peaks says, in nm whatever the voxels."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectomake.config.settings.submit import ObjectsConfig
from connectomake.submit.flood import flood_from_peaks
from connectomake.submit.objects import HIGHEST, LEVELS_PER_VOXEL, estimate_mb, find_objects, measure_depth

AROUND = np.ones((3, 3, 3))
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
SIZES = st.tuples(*[st.sampled_from([1.74, 2.0, 4.0, 10.0])] * 3)


def draw_mask(shape: tuple, seed: int, share: float) -> np.ndarray:
    smooth = ndimage.uniform_filter(np.random.default_rng(seed).random(shape), 2, mode="nearest")
    return smooth < np.quantile(smooth, share)


def label_slowly(mask: np.ndarray, size: tuple, smallest_nm3: float, fill: bool) -> np.ndarray:
    """Label with scipy, then drop and number object by object."""
    if fill:
        # Sides of the crop are open: what is not enclosed is what is left out when filling.
        mask = ndimage.binary_fill_holes(mask)
    labels, count = ndimage.label(mask, AROUND)
    found = np.zeros(mask.shape, int)
    kept = [own for own in range(1, count + 1) if (labels == own).sum() * prod(size) >= smallest_nm3]
    kept.sort(key=lambda own: np.flatnonzero(labels == own)[0])
    for number, own in enumerate(kept, 1):
        found[labels == own] = number
    return found


@settings(max_examples=60, deadline=None)
@given(SHAPES, SIZES, st.integers(0, 99), st.floats(0, 1), st.sampled_from([0.0, 8.0, 50.0, 400.0]), st.booleans())
def test_objects_that_are_not_cut_are_those_of_scipy(shape, size, seed, share, smallest_nm3, fill) -> None:
    mask = draw_mask(shape, seed, share)
    expected = label_slowly(mask, size, smallest_nm3, fill)
    found, count = find_objects(mask.copy(), size, ObjectsConfig(smallest_nm3=smallest_nm3, fill_holes=fill))
    np.testing.assert_array_equal(found, expected)
    assert (count, found.dtype) == (expected.max(initial=0), np.uint32)


def test_a_size_that_is_just_reached_is_kept() -> None:
    mask = np.zeros((3, 3, 9), np.uint8)
    mask[1, 1, 1:4] = mask[1, 1, 6:8] = 1
    assert find_objects(mask, (1.74, 2.0, 2.0), ObjectsConfig(smallest_nm3=3 * 1.74 * 4))[1] == 1
    assert find_objects(mask, (1.74, 2.0, 2.0), ObjectsConfig(smallest_nm3=2 * 1.74 * 4))[1] == 2
    assert find_objects(mask, (1.74, 2.0, 2.0), ObjectsConfig(smallest_nm3=3.01 * 1.74 * 4))[1] == 0


def test_an_object_within_a_hole_is_filled_in_and_a_hole_at_the_side_is_not() -> None:
    mask = np.ones((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = False
    mask[4, 4, 4] = True
    mask[0, 1, 1] = False
    found, count = find_objects(mask, (1.0, 1.0, 1.0), ObjectsConfig(fill_holes=True))
    assert count == 1
    assert (found == 0).sum() == 1


def count_peaks_slowly(levels: np.ndarray, rise: float) -> int:
    """Follow the components of all that is at a level or above: of two that become one, a low one is forgotten."""
    peaks: list[tuple[int, tuple]] = []  # those that are told apart: level and place
    lost: set[tuple] = set()
    for level in sorted(set(levels[levels > 0].tolist()), reverse=True):
        labels, count = ndimage.label(levels >= level, AROUND)
        for own in range(1, count + 1):
            inside = [peak for peak in peaks if labels[peak[1]] == own and peak[1] not in lost]
            if not inside:
                peaks.append((level, tuple(np.argwhere(labels == own)[0])))
            for low, place in sorted(inside, key=lambda peak: -peak[0])[1:]:
                if low - level <= rise and _meet_first_at(levels, place, inside, level):
                    lost.add(place)
    return len(peaks) - len(lost)


def _meet_first_at(levels: np.ndarray, place: tuple, inside: list, level: int) -> bool:
    """Return whether one level up a peak was the highest, or the only one, of its component."""
    above = ndimage.label(levels > level, AROUND)[0]
    return not any(
        above[other] == above[place] > 0
        for peak, other in inside
        if other != place and (peak, other) > (levels[place], place)
    )


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 999), st.integers(2, 9), st.floats(0, 1), st.sampled_from([0, 0.5, 1, 2, 5, HIGHEST]))
def test_a_peak_is_kept_where_it_rises_by_more_than_asked(shape, seed, highest, share, rise) -> None:
    rng = np.random.default_rng(seed)
    levels = (rng.integers(1, highest, shape) * (rng.random(shape) < share)).astype(np.uint16)
    basins, objects = flood_from_peaks(levels, rise)
    found = objects[basins]
    np.testing.assert_array_equal(found > 0, levels > 0)
    assert len(np.unique(found[found > 0])) == count_peaks_slowly(levels, rise)
    for own in np.unique(found[found > 0]):
        assert ndimage.label(found == own, AROUND)[1] == 1, "an object is one piece, as the scorer counts"
        assert levels[found == own].max() == levels[basins == own].max()


def draw_dumbbell(size_zyx_nm: tuple, *, neck_nm: float = 15.0) -> np.ndarray:
    """Two balls of radius 40 nm, 120 nm apart along x, and a rod between them."""
    place = [(np.arange(round(e / s)) + 0.5) * s for e, s in zip((100, 100, 240), size_zyx_nm, strict=True)]
    z, y, x = np.meshgrid(*place, indexing="ij")
    across = (z - 50) ** 2 + (y - 50) ** 2
    balls = (across + (x - 60) ** 2 <= 40**2) | (across + (x - 180) ** 2 <= 40**2)
    return balls | ((across <= neck_nm**2) & (np.abs(x - 120) <= 60))


@pytest.mark.parametrize("size", [(4.0, 4.0, 4.0), (10.0, 4.0, 4.0), (4.0, 4.0, 2.5)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0)])
def test_objects_are_cut_in_the_middle_of_their_neck(size: tuple, axes: tuple) -> None:
    mask = np.ascontiguousarray(draw_dumbbell(size).transpose(axes))
    turned = tuple(size[axis] for axis in axes)
    found, count = find_objects(mask, turned, ObjectsConfig(split_nm=15.0))
    assert count == 2
    # The neck is 15 nm deep, the balls are 40: they rise by 25.
    assert find_objects(mask, turned, ObjectsConfig(split_nm=32.0))[1] == 1
    assert find_objects(mask, turned, ObjectsConfig())[1] == 1
    across = np.moveaxis(found, axes.index(2), -1)
    middle = across.shape[-1] // 2
    assert set(np.unique(across[..., : middle - 2])) == {0, 1}
    assert set(np.unique(across[..., middle + 2 :])) == {0, 2}


def test_sides_of_the_crop_are_no_border_of_an_object() -> None:
    """The half of a ball is as deep as the whole: cut through the middle it is still one object of full depth."""
    mask = draw_dumbbell((4.0, 4.0, 4.0))[:, :12]
    whole = measure_depth(np.ascontiguousarray(mask).view(np.uint8), (4.0, 4.0, 4.0))
    expected = ndimage.distance_transform_edt(mask, sampling=4.0) / 4.0 * LEVELS_PER_VOXEL
    np.testing.assert_allclose(whole, expected, atol=0.51)
    assert whole[:, -1].max() > 8 * LEVELS_PER_VOXEL
    assert find_objects(np.ascontiguousarray(mask), (4.0, 4.0, 4.0), ObjectsConfig(split_nm=15.0))[1] == 2


@pytest.mark.parametrize("split_nm", [None, 5.0])
@pytest.mark.parametrize("value", [0, 1])
def test_nothing_and_everything_are_none_and_one(split_nm: float | None, value: int) -> None:
    mask = np.full((5, 6, 7), value, np.uint8)
    found, count = find_objects(mask, (2.0, 2.0, 2.0), ObjectsConfig(split_nm=split_nm, fill_holes=True))
    assert count == value
    assert (found == value).all()


def test_pieces_that_are_too_small_are_left_out_after_the_cut() -> None:
    mask = draw_dumbbell((4.0, 4.0, 4.0))
    mask[..., 50:] = False
    pieces, count = find_objects(mask.copy(), (4.0, 4.0, 4.0), ObjectsConfig(split_nm=8.0))
    assert count == 2
    sizes = np.bincount(pieces.ravel())[1:] * 64.0
    assert sizes[1] < sizes[0]
    kept, count = find_objects(mask.copy(), (4.0, 4.0, 4.0), ObjectsConfig(split_nm=8.0, smallest_nm3=sizes[1] + 1))
    assert count == 1
    np.testing.assert_array_equal(kept, pieces == 1)


def test_labels_do_not_depend_on_threads() -> None:
    mask = draw_mask((40, 40, 40), 3, 0.2)
    cfg = ObjectsConfig(split_nm=0.3, fill_holes=True)
    one, two = (find_objects(mask.copy(), (1.0, 1.0, 1.0), cfg, threads=n)[0] for n in (1, 2))
    assert one.max() > 5
    np.testing.assert_array_equal(one, two)


def test_the_largest_crop_fits_into_twelve_gigabytes() -> None:
    assert estimate_mb((1000, 1000, 1000)) <= 12_000
    assert estimate_mb((10, 10, 10)) < estimate_mb((600, 600, 600)) < estimate_mb((800, 800, 800))
