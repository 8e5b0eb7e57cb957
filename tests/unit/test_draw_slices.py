"""The figures of a volume: true proportions, true scale bars, no layer that must be there but raw."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from array_volume import ArrayVolume
from scipy import ndimage

from connectomake.draw.figure import (
    add_axes_in,
    add_scale_bar,
    format_length,
    new_figure,
    save_figure,
    scale_bar_nm,
    show_image,
)
from connectomake.draw.volume.overview import draw_overview, summarise
from connectomake.draw.volume.slices import Layers, draw_slices, paint, read_rows, stretch_contrast
from connectomake.errors import DataError
from connectomake.volumes.affinities import Shown, name_shown, nearest_channels
from connectomake.volumes.prediction import Prediction

VOXEL_NM = (30.0, 6.0, 6.0)


in_memory = partial(ArrayVolume, voxel_size_zyx_nm=VOXEL_NM)


@pytest.fixture(scope="module")
def layers() -> Layers:
    """A small volume that looks like tissue: cells around random seeds, dark walls, affinities that see the walls."""
    random = np.random.default_rng(0)
    seeds = np.zeros((16, 64, 48), np.int32)
    for k, place in enumerate(random.integers(0, seeds.shape, (25, 3)), 1):
        seeds[tuple(place)] = k
    nearest = ndimage.distance_transform_edt(seeds == 0, sampling=VOXEL_NM, return_distances=False, return_indices=True)
    truth = seeds[tuple(nearest)]
    walls = ndimage.maximum_filter(truth, 3) != ndimage.minimum_filter(truth, 3)
    raw = np.clip(160 - 90 * walls + random.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
    labels = np.where(walls, 0, truth).astype(np.uint64) * 11
    affinities = np.stack([np.where(walls, 20, 240)] * 4).astype(np.uint8)
    return Layers(in_memory(raw), in_memory(affinities), in_memory(labels), in_memory(truth))


@pytest.mark.parametrize(("width_nm", "length_nm"), [(1000, 200), (1600, 500), (3000, 1000), (64, 20), (15.1, 5)])
def test_scale_bar_is_a_round_third(width_nm, length_nm):
    assert scale_bar_nm(width_nm) == pytest.approx(length_nm)


@pytest.mark.parametrize(
    ("length_nm", "text"), [(5, "5 nm"), (500, "500 nm"), (1000, "1 µm"), (12345, "12.3 µm"), (2e6, "2 mm")]
)
def test_lengths_have_a_unit(length_nm, text):
    assert format_length(length_nm) == text


def test_scale_bar_has_its_length_on_the_picture():
    figure = new_figure(4, 3)
    axes = add_axes_in(figure, 0, 0, 3, 2)
    show_image(axes, np.zeros((20, 30), np.uint8), (20 * 8.0, 30 * 8.0))
    bar = add_scale_bar(axes)
    figure.canvas.draw()
    assert bar.get_width() == 50  # nm; a third of 240 is 80
    assert axes.texts[0].get_text() == "50 nm"
    assert bar.get_window_extent().width == pytest.approx(axes.bbox.width * 50 / 240, abs=1)


def test_anisotropic_planes_have_their_true_proportions(layers):
    figure = draw_slices(layers, "tissue", slices=2)
    figure.canvas.draw()
    z, y, x = (n * size for n, size in zip((16, 64, 48), VOXEL_NM, strict=True))
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 4 * 4
    for row, ratio in enumerate([y / x, y / x, z / x, z / y]):
        for box in boxes[4 * row : 4 * row + 4]:
            assert box.height / box.width == pytest.approx(ratio, rel=1e-3)
    for axes in figure.axes:
        assert axes.get_aspect() == 1  # axes measure nm, and one nm is as long down as across


def test_titles_name_planes_and_layers(layers):
    figure = draw_slices(layers, "tissue default@threshold=0.7")
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "tissue default@threshold=0.7"
    for expected in ("raw", "affinities", "labels", "truth (vivid where labels differ)", "xy", "z 8", "y 32", "x 24"):
        assert expected in texts


def test_only_raw_must_be_there(layers):
    assert len(draw_slices(Layers(layers.raw), "raw").axes) == 3
    assert len(draw_slices(Layers(layers.raw, labels=layers.labels), "no truth").axes) == 6
    assert list(paint(read_rows(Layers(layers.raw, truth=layers.truth))[0])) == ["raw", "truth"]


def test_right_labels_leave_truth_pale_and_wrong_ones_make_it_vivid(layers):
    right = paint(read_rows(layers)[0])["truth (vivid where labels differ)"]
    merged = np.where(layers.labels.array > 0, 11, 0)
    wrong = paint(read_rows(Layers(layers.raw, labels=in_memory(merged), truth=layers.truth))[0])
    wrong = wrong["truth (vivid where labels differ)"]
    saturation = [np.ptp(image.astype(int), axis=2).mean() for image in (right, wrong)]
    assert saturation[1] > 2 * saturation[0]


def test_an_object_without_any_label_is_an_error(layers):
    truth = layers.truth.array
    lost = np.bincount(truth[8].ravel()).argmax()
    labels = np.where(truth == lost, 0, layers.labels.array)
    row = read_rows(Layers(layers.raw, labels=in_memory(labels), truth=layers.truth))[0]
    image = paint(row)["truth (vivid where labels differ)"].astype(int)
    here = truth[8] == lost
    assert np.ptp(image, axis=2)[here].mean() > 2 * np.ptp(image, axis=2)[~here].mean()


def test_affinities_along_x_y_z_are_red_green_blue(layers):
    values = np.zeros((5, 16, 64, 48), np.uint8)
    values[1], values[2], values[4] = 10, 20, 30  # x, z, y
    offsets = [[0, 0, -9], [0, 0, -1], [-1, 0, 0], [3, 3, 3], [0, 1, 0]]
    channels = nearest_channels(offsets)
    assert channels == (2, 4, 1)
    row = read_rows(Layers(layers.raw, in_memory(values), shown=Shown(channels=channels)))[0]
    assert (row.affinities == [10, 30, 20]).all()


def test_other_affinities_become_gray(layers):
    values = np.stack([np.full((16, 64, 48), v, np.uint8) for v in (10, 30)])
    assert nearest_channels([[0, 0, 5], [0, 5, 0]]) == (0, 1)
    row = read_rows(Layers(layers.raw, in_memory(values), shown=Shown(channels=(0, 1))))[0]
    assert row.affinities.shape == (64, 48)
    assert (row.affinities == 20).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_look_as_their_bytes(layers, dtype):
    """A store of float16 holds -1 to 1 after tanh, 0 to 1 else; what lies outside is as bright as the limit."""
    told = {"offsets_zyx_vx": [None] * 3, "channels": list("abc"), "edge_convention": "source"}
    told["activations"] = ["sigmoid", "tanh", "identity"]
    values = np.stack([np.full((16, 64, 48), v, dtype) for v in (0.25, -0.5, 1.5)])
    row = read_rows(
        Layers(layers.raw, in_memory(values), shown=Shown.of_prediction(Prediction.of_plain(told, "a.zarr")))
    )[0]
    assert (row.affinities == [255, 63, 63]).all()


def test_maps_that_are_no_affinities_are_named():
    names = ["binary", "contour", "distance", "flow z"]
    assert nearest_channels([None] * 4) == (0, 1, 2)
    assert name_shown(names, [None] * 4) == "binary, contour, distance"
    mixed = [None, (0, 1, 0), (0, 0, 1), (1, 0, 0)]
    assert nearest_channels(mixed) == (3, 1, 2)
    assert name_shown(names, mixed) == "affinities"


def test_nodes_are_dotted_where_they_lie(layers):
    offset = (300.0, 60.0, 0.0)
    raw = in_memory(layers.raw.array, offset_zyx_nm=offset)
    voxels = np.array([[8, 10, 20], [2, 10, 20], [8, 0, 0]])
    figure = draw_slices(Layers(raw), "nodes", skeleton_pos_nm=voxels * VOXEL_NM + offset)
    dots = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(dots, [[20.5 * 6, 10.5 * 6], [3, 3]])


def test_contrast_is_stretched_over_all_images():
    low, high = stretch_contrast([np.full((4, 4), 1000.0), np.full((4, 4), 3000.0)])
    assert (low == 0).all()
    assert (high == 255).all()
    assert not stretch_contrast([np.full((4, 4), 7.0)])[0].any()


def test_pictures_are_light_repeatable_and_not_blank(layers, tmp_path):
    random = np.random.default_rng(1)
    noise = in_memory(random.integers(0, 255, (8, 700, 700), dtype=np.uint8), voxel_size_zyx_nm=(8.0, 8.0, 8.0))
    for name, limit in (("a", 400_000), ("b", 400_000)):
        save_figure(draw_slices(Layers(noise), "noise"), tmp_path / f"{name}.png", limit)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert len(data) <= 400_000
    assert pixels_of(tmp_path / "a.png").std() > 10


def test_small_pictures_keep_every_colour_and_their_size(layers, tmp_path):
    path = tmp_path / "new" / "folder" / "slices.png"
    figure = draw_slices(layers, "tissue")
    save_figure(figure, path)
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    inches = figure.get_size_inches()
    assert (width, height) == pytest.approx(tuple(inches * 150), abs=1)
    assert len(np.unique(pixels_of(path) @ [1, 256, 65536])) > 500


def test_overview_shows_every_layer_and_the_numbers(layers, tmp_path):
    numbers = {"nerl": 0.913, "erl": 12345.0, "voi_split": None, "voi_merge": float("nan"), "per_volume": {}}
    figure = draw_overview(layers, "tissue", numbers, objects=5)
    assert len(figure.axes) == 5
    texts = [text.get_text() for text in figure.texts]
    assert "0.91" in texts
    assert "12.3 µm" in texts
    assert "VOI split" not in texts
    save_figure(figure, tmp_path / "overview.png")
    assert pixels_of(tmp_path / "overview.png").std() > 10


def test_overview_works_without_truth_affinities_and_numbers(layers):
    figure = draw_overview(Layers(layers.raw, labels=layers.labels), "tissue", {})
    assert len(figure.axes) == 3
    with pytest.raises(DataError, match="needs labels"):
        draw_overview(Layers(layers.raw), "tissue", {})


def test_summary_keeps_the_order_and_skips_what_is_missing():
    assert summarise({"n_splits": 3, "nerl": 1.0}) == [("1.00", "NERL"), ("3", "splits")]
    assert summarise({}) == []


def pixels_of(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
