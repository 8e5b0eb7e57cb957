"""Labels from a distance map: what the map was of comes back, and what is small does not."""

import numpy as np
import pytest

from connectomake.config.settings.synth import SynthLabelsConfig
from connectomake.synth.distance import distance_map
from connectomake.synth.generated_labels import label_map

SIZE = (20.0, 10.0, 10.0)
WHOLE = {
    "seed_binary": 0.5,
    "foreground_binary": 0.5,
    "seed_contour": 1.0,
    "foreground_distance": -0.5,
    "seed_distance": 0.3,
}


def config(method="binary_contour_distance", min_size_vx=0, **changes):
    decoder = {**WHOLE, "method": method, "min_seed_vx": 1} | changes
    if method != "binary_contour_distance":
        del decoder["foreground_distance"], decoder["seed_distance"]
    if method == "binary":
        del decoder["seed_contour"]
    return SynthLabelsConfig(kind="joint", distance_nm=40.0, min_size_vx=min_size_vx, decoder=decoder)


@pytest.fixture(scope="module")
def truth():
    """Three boxes, two of which touch, and a small one."""
    labels = np.zeros((12, 24, 30), np.uint32)
    labels[:, 2:12, 3:13], labels[:, 2:12, 13:24], labels[:, 14:23, 3:20] = 1, 2, 3
    labels[4:9, 15:20, 24:29] = 4
    return labels


def test_labels_come_back_from_their_map(truth):
    found = label_map(distance_map(truth, SIZE, 40.0), config())
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, truth)


def test_objects_that_are_small_are_dropped(truth):
    found = label_map(distance_map(truth, SIZE, 40.0), config(min_size_vx=200))
    np.testing.assert_array_equal(found, np.where(truth == 4, 0, truth))


def test_seeds_keep_off_the_border_of_objects_in_the_methods_that_read_contours(truth):
    distances = distance_map(truth, SIZE, 40.0)
    found = label_map(distances, config("binary_contour", seed_contour=0.5))
    assert len(np.unique(found[truth == 1])) == 1
    assert not set(np.unique(found[truth == 1])) & set(np.unique(found[truth == 3]))
    merged = label_map(distances, config("binary"))
    assert merged[5, 5, 5] == merged[5, 5, 20] != merged[5, 18, 10], "what touches is one object to a foreground alone"


def test_values_beyond_the_range_are_the_nearest(truth):
    distances = distance_map(truth, SIZE, 40.0)
    np.testing.assert_array_equal(label_map(1.2 * distances, config()), label_map(distances, config()))


def test_a_map_without_objects_gives_none():
    assert not label_map(np.full((4, 4, 4), -1, np.float32), config()).any()
