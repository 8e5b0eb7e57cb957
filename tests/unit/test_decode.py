"""Decoding: what counts as an edge, what is refused, what is written."""

import re
from itertools import product

import numpy as np
import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.decode import affinity_cc3d, decode, fill_by_watershed, get_decoder, list_decoders, register_decoder
from connectomake.decode.blocks.label import label_blocks
from connectomake.decode.components.components import find_components
from connectomake.decode.postprocess import smallest_label_type
from connectomake.decode.whole import choose_maps, decode_store
from connectomake.errors import ConfigError, DataError
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.store import read_attributes, write_store
from connectomake.volumes.volume import open_volume

UNITS = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def line(*values, dtype=np.float32):
    """Return the affinities of a row of voxels along x."""
    affinities = np.zeros((3, 1, 1, len(values)), dtype)
    affinities[2, 0, 0] = values
    return affinities


def decoded(affinities, *args, **kwargs):
    return affinity_cc3d(affinities, *args, **kwargs)[0, 0].tolist()


def test_an_edge_stands_at_its_first_voxel_or_at_its_second():
    assert decoded(line(1, 0, 0, 1, 0)) == [1, 1, 0, 2, 2]
    assert decoded(line(0, 1, 0, 0, 1), edge_offset=1) == [1, 1, 0, 2, 2]


def test_an_edge_out_of_the_volume_makes_no_object():
    assert decoded(line(0, 0, 1)) == [0, 0, 0]
    assert decoded(line(1, 0, 0), edge_offset=1) == [0, 0, 0]


@pytest.mark.parametrize("edge_offset", [0, 1])
def test_a_volume_of_one_voxel_has_no_object(edge_offset):
    assert affinity_cc3d(np.ones((3, 1, 1, 1), bool), edge_offset=edge_offset).tolist() == [[[0]]]


@pytest.mark.parametrize("shape_zyx", [(5, 6, 7), (3, 4, 128), (1, 1, 65)])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_or_nothing(shape_zyx, threads):
    for value in (0, 255):
        labels = affinity_cc3d(np.full((3, *shape_zyx), value, np.uint8), threads=threads)
        np.testing.assert_array_equal(labels, value // 255)


def test_uint8_is_compared_as_its_fraction_of_255():
    for value, threshold in product(range(256), (0.0, 0.2, 0.5, 0.6, 0.998, 1.0)):
        found = decoded(line(value, 0, dtype=np.uint8), threshold)
        assert found == [int(value / 255 > threshold)] * 2, (value, threshold)


def test_uint8_has_no_value_at_one_half():
    assert decoded(line(127, 0, dtype=np.uint8), 0.5) == [0, 0]
    assert decoded(line(128, 0, dtype=np.uint8), 0.5) == [1, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_compared_strictly_in_their_own_precision(dtype):
    for threshold in (0.0, 0.3, 0.5):
        rounded = dtype(threshold)
        assert decoded(line(rounded, 0, dtype=dtype), threshold) == [0, 0]
        assert decoded(line(np.nextafter(rounded, dtype(1)), 0, dtype=dtype), threshold) == [1, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nan_and_negative_values_are_no_edges(dtype):
    assert decoded(line(np.nan, 0, -1.0, 0, -0.0, 0, np.inf, 0, dtype=dtype), 0.0) == [0, 0, 0, 0, 0, 0, 1, 1]


def test_a_view_decodes_as_its_copy():
    values = np.random.default_rng(0).random((9, 8, 7, 6)).astype(np.float32)
    view = values.transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(affinity_cc3d(view), affinity_cc3d(view.copy()))


def test_small_objects_vanish_or_join_or_stay():
    affinities = line(1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0)
    assert decoded(affinities) == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]
    assert decoded(affinities, 0.5, 3) == [0, 0, 1, 1, 1, 0, 0, 2, 2, 2, 2]
    assert decoded(affinities, 0.5, 3, remove_small_mode="neighbor") == [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert decoded(affinities, 0.5, 3, remove_small_mode="none") == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]
    assert decoded(affinities, 0.5, 9, remove_small_mode="neighbor") == [0] * 11


def test_labels_are_resized_to_the_nearest_voxel():
    affinities = line(1, 0, 1, 0)
    assert affinity_cc3d(affinities, scale_factors=(2, 1, 2)).tolist() == [[[1, 1, 1, 1, 2, 2, 2, 2]]] * 2
    assert decoded(affinities, scale_factors=(1, 1, 0.5)) == [1, 2]


def test_sizes_count_voxels_of_runs_longer_than_a_word():
    components = find_components(np.ones((3, 2, 1, 200), bool), 0.5)
    assert components.sizes_vx().tolist() == [0, 400]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"affinities": np.zeros((3, 4, 4))}, "shape"),
        ({"affinities": np.zeros((2, 4, 4, 4), np.float32)}, "C >= 3"),
        ({"affinities": np.zeros((3, 4, 4, 4), np.uint16)}, "uint16"),
        ({"affinities": np.zeros((3, 4, 4, 4), ">f4")}, ">f4"),
        ({"threshold": 127}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"edge_offset": 2}, "edge_offset"),
        ({"remove_small_mode": "background_2d"}, "background_2d"),
        ({"scale_factors": (1, 0, 1)}, "scale"),
    ],
)
def test_what_cannot_be_decoded_is_refused(changes, problem):
    with pytest.raises(DataError, match=problem):
        affinity_cc3d(**{"affinities": np.zeros((3, 4, 4, 4), np.float32), **changes})


def test_a_plateau_is_shared_by_distance():
    labels = np.array([[[7, 0, 0, 0, 0, 0, 9]]], np.uint32)
    assert fill_by_watershed(labels, line(*[0] * 7, dtype=np.uint8))[0, 0].tolist() == [7, 7, 7, 7, 9, 9, 9]


def test_the_strongest_path_wins_over_the_shortest():
    labels = np.array([[[7, 0, 0, 0, 0, 9]]], np.uint32)
    assert fill_by_watershed(labels, line(90, 90, 90, 90, 80, 0, dtype=np.uint8))[0, 0].tolist() == [7, 7, 7, 7, 7, 9]


def test_filling_stops_at_weak_edges_and_at_a_distance():
    labels = np.array([[[7, 0, 0, 0, 0]]], np.uint32)
    affinities = line(0.9, 0.9, 0.2, 0.9, 0)
    assert fill_by_watershed(labels.copy(), affinities, floor=0.5)[0, 0].tolist() == [7, 7, 7, 0, 0]
    assert fill_by_watershed(labels.copy(), affinities, distance_vx=1)[0, 0].tolist() == [7, 7, 0, 0, 0]


@pytest.mark.parametrize("value", [0, 5])
def test_nothing_to_fill_with_and_nothing_to_fill(value):
    labels = np.full((3, 4, 5), value, np.uint32)
    fill_by_watershed(labels, np.ones((3, 3, 4, 5), np.float32))
    np.testing.assert_array_equal(labels, value)


@pytest.mark.parametrize(
    ("labels", "kwargs", "problem"),
    [
        (np.zeros((2, 2, 3), np.uint32), {}, "fit"),
        (np.zeros((2, 2, 2), np.int32), {}, "int32"),
        (np.zeros((2, 2, 2), np.uint32).T[::-1], {}, "contiguous"),
        (np.full((2, 2, 2), 2**30, np.uint32), {}, "too large"),
        (np.zeros((2, 2, 2), np.uint32), {"distance_vx": 2**16}, "distance_vx"),
        (np.zeros((2, 2, 2), np.uint32), {"floor": 1.5}, "floor"),
    ],
)
def test_labels_that_cannot_be_filled_are_refused(labels, kwargs, problem):
    with pytest.raises(DataError, match=problem):
        fill_by_watershed(labels, np.zeros((3, 2, 2, 2), np.uint8), **kwargs)


def test_the_decoder_drops_crumbs_and_fills_the_gaps():
    affinities = line(0.9, 0.9, 0.2, 0.1, 0.9, 0.05, 0.9, 0.9, 0)
    assert decode(affinities, DecodeConfig())[0, 0].tolist() == [1, 1, 1, 0, 2, 2, 3, 3, 3]
    cfg = DecodeConfig(min_size_vx=3, fill="watershed")
    assert decode(affinities, cfg, threads=2)[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2]


def test_every_decoder_of_the_settings_is_registered_and_no_other():
    assert list_decoders() == sorted(DecodeConfig.model_fields["decoder"].annotation.__args__)
    for name in list_decoders():
        assert get_decoder(name).__module__ == f"connectomake.decode.decoders.{name}" == DECODERS.module_of(name)


def test_a_decoder_has_one_name_and_a_name_one_decoder():
    decoder = get_decoder("affinity_cc")
    register_decoder("affinity_cc", "connectomake.decode.decoders.affinity_cc:DECODER")
    assert get_decoder("affinity_cc") is decoder
    for name in list_decoders():
        with pytest.raises(ConfigError, match="already"):
            register_decoder(name, "elsewhere:DECODER")
        assert get_decoder(name).__module__ == f"connectomake.decode.decoders.{name}"
    with pytest.raises(ConfigError, match="affinity_cc"):
        get_decoder("affinity_c")


@pytest.mark.parametrize(
    ("threshold", "problem"), [(0.05, "every edge .* is above .* between 0.0784 and 0.784"), (0.8, "no edge")]
)
def test_a_threshold_outside_the_data_is_told(tmp_path, caplog, threshold, problem):
    values = np.random.default_rng(1).integers(20, 201, (3, 4, 10, 11), dtype=np.uint8)
    values[0, 0, 0, :2] = 20, 200
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": "source"}
    write_store(tmp_path / "affinities.zarr", values, attributes=attributes, voxel_size_zyx_nm=(8, 8, 8))
    decode_store(tmp_path / "affinities.zarr", tmp_path / "labels.zarr", DecodeConfig(threshold=threshold))
    assert re.search(problem, caplog.text)
    caplog.clear()
    decode_store(tmp_path / "affinities.zarr", tmp_path / "labels.zarr", DecodeConfig(threshold=0.4))
    assert "above the threshold" not in caplog.text


@pytest.mark.parametrize("block", [None, (4, 4, 4)])
def test_a_store_of_a_type_that_is_no_affinity_is_refused(tmp_path, block):
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": "source"}
    values = np.zeros((3, 4, 5, 6), np.uint16)
    write_store(tmp_path / "affinities.zarr", values, attributes=attributes, voxel_size_zyx_nm=(8, 8, 8))
    cfg = DecodeConfig(block_zyx_vx=block, chunk_zyx_vx=(4, 4, 4))
    work = label_blocks if block else decode_store
    with pytest.raises(DataError, match="expected bool, uint8 or a float; got uint16"):
        work(tmp_path / "affinities.zarr", tmp_path / "labels.zarr", cfg)


@pytest.mark.parametrize(("share", "problem"), [(0.1, "NaN; no edge"), (1.0, "360 affinities of .* are NaN")])
def test_affinities_that_are_not_numbers_are_told_and_no_edges(tmp_path, caplog, share, problem):
    rng = np.random.default_rng(1)
    values = rng.random((3, 4, 5, 6), dtype=np.float32)
    values[rng.random(values.shape) < share] = np.nan
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": "source"}
    write_store(tmp_path / "affinities.zarr", values, attributes=attributes, voxel_size_zyx_nm=(8, 8, 8))
    decode_store(tmp_path / "affinities.zarr", tmp_path / "labels.zarr", DecodeConfig())
    assert re.search(problem, caplog.text)
    expected = affinity_cc3d(np.nan_to_num(values))
    np.testing.assert_array_equal(open_volume(tmp_path / "labels.zarr").read(), expected)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"jobs": 2}, "set block_zyx_vx"),
        ({"block_zyx_vx": (64, 64, 64), "block_halo_vx": 8}, "leave out block_halo_vx"),
        ({"block_zyx_vx": (64, 64, 64), "decoder": "waterz"}, "set block_halo_vx"),
        ({"block_zyx_vx": (64, 64, 64), "decoder": "semantic", "block_halo_vx": 8}, "whole volume"),
        ({"block_zyx_vx": (100, 64, 64)}, "multiples of chunk_zyx_vx"),
        ({"block_zyx_vx": (2048, 2048, 2048)}, "more than"),
        ({"block_zyx_vx": (64, 64, 64), "fill": "watershed"}, "fill: grow"),
        ({"fill": "grow"}, "fill_distance_vx"),
    ],
)
def test_blocks_that_would_change_the_labels_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        DecodeConfig(**settings)


def test_settings_that_tuning_chose_are_laid_over_the_preset(tmp_path):
    best = tmp_path / "best.yaml"
    best.write_text("threshold: 0.8\n")
    cfg = DecodeConfig(min_size_vx=7, tune={})
    assert cfg.with_best(best) == DecodeConfig(min_size_vx=7, threshold=0.8)
    assert cfg.with_best(None) is cfg
    best.write_text("treshold: 0.8\n")
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        cfg.with_best(best)


def test_ids_widen_where_32_bits_do_not_hold_them():
    assert smallest_label_type(2**32 - 1) == np.uint32
    assert smallest_label_type(2**32) == np.uint64


@pytest.mark.parametrize(
    "key", [{"threshold": 1.0}, {"min_size_vx": -1}, {"fill": "dilate"}, {"fill_distance_vx": 2**16}]
)
def test_settings_out_of_range_are_refused(key):
    with pytest.raises(ValueError, match=next(iter(key))):
        DecodeConfig(**key)


@pytest.mark.parametrize(
    ("offsets", "convention", "channels", "edge_offset"),
    [
        (UNITS, "source", (0, 1, 2), 0),
        (UNITS, "destination", (0, 1, 2), 1),
        ([[9, 0, 0], [0, 0, 1], None, [0, 1, 0], [1, 0, 0]], "source", (4, 3, 1), 0),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, -1]], "source", (0, 1, 2), 1),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, -1]], "destination", (0, 1, 2), 0),
    ],
)
def test_nearest_channels_are_found_by_offset(offsets, convention, channels, edge_offset):
    attributes = {"offsets_zyx_vx": offsets, "edge_convention": convention}
    indices, chosen = choose_maps(Prediction.of_plain(attributes, "a.zarr"), DecodeConfig())
    assert indices == channels
    assert chosen.nearest() == ((0, 1, 2), edge_offset)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"edge_convention": "source"}, "offsets_zyx_vx"),
        ({"offsets_zyx_vx": UNITS}, "edge_convention"),
        ({"offsets_zyx_vx": UNITS, "edge_convention": "deepem"}, "deepem"),
        ({"offsets_zyx_vx": [*UNITS[:2], [0, 0, 10]], "edge_convention": "source"}, r"x\+10"),
        ({"offsets_zyx_vx": [*UNITS[:2], [0, 0, -1]], "edge_convention": "source"}, "x-1"),
    ],
)
def test_stores_without_nearest_affinities_are_refused(attributes, problem):
    with pytest.raises(DataError, match=problem):
        choose_maps(Prediction.of_plain(attributes, "a.zarr"), DecodeConfig())


@pytest.mark.parametrize(
    ("convention", "edge_offset", "order"),
    [("source", 0, [0, 1, 2]), ("destination", 1, [0, 1, 2]), ("source", 0, [3, 1, 0])],
)
def test_a_store_is_decoded_into_a_store(tmp_path, convention, edge_offset, order):
    nearest = np.random.default_rng(1).integers(0, 256, (3, 9, 10, 11), dtype=np.uint8)
    values = np.zeros((4, 9, 10, 11), np.uint8)
    values[order] = nearest
    offsets = [[5, 5, 5]] * 4
    for channel, offset in zip(order, UNITS, strict=True):
        offsets[channel] = offset
    place = {"voxel_size_zyx_nm": (40.0, 4.0, 4.0), "offset_zyx_nm": (80.0, 0.0, 12.0)}
    attributes = {"offsets_zyx_vx": offsets, "edge_convention": convention, "checkpoint_hash": "cafe"}
    write_store(tmp_path / "affinities.zarr", values, attributes=attributes, **place)
    cfg = DecodeConfig(threshold=0.6, min_size_vx=3)
    count = decode_store(tmp_path / "affinities.zarr", tmp_path / "labels.zarr", cfg)

    labels = open_volume(tmp_path / "labels.zarr")
    expected = affinity_cc3d(nearest, 0.6, 3, edge_offset=edge_offset)
    np.testing.assert_array_equal(labels.read(), expected)
    assert labels.dtype == np.uint32
    assert {"voxel_size_zyx_nm": labels.voxel_size_zyx_nm, "offset_zyx_nm": labels.offset_zyx_nm} == place
    assert read_attributes(tmp_path / "labels.zarr") == {
        "decoder": "affinity_cc",
        "threshold": 0.6,
        "n_objects": count,
        "settings": cfg.model_dump(mode="json", exclude=set(cfg.effort)),
        "checkpoint_hash": "cafe",
    }
    assert count == expected.max() > 1
