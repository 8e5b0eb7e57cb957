"""The jobs of a prediction: whatever is divided, begun again or averaged, the store holds the same."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
import zarr
from by_hand import run_by_hand
from small_prediction import (
    CFG,
    NAMES,
    SHAPE,
    blocks_of,
    change,
    draw_raw,
    plan,
    predict,
    read,
    read_files,
    run_jobs,
    write_checkpoint,
    write_volume,
)

from connectomake.errors import MissingDataError, MissingPackageError
from connectomake.ledger import Ledger
from connectomake.models.checkpoint import load_checkpoint
from connectomake.predict.block_work import BlockWork
from connectomake.predict.finish import finish_prediction
from connectomake.volumes.store import read_attributes


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_volume(tmp_path_factory.mktemp("ingest"), draw_raw())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return [write_checkpoint(tmp_path_factory.mktemp("train") / "model.ckpt")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, volume, trained):
    """The prediction by one job, in one block."""
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    predict(volume, trained, store, change(block_zyx_vx=(64, 64, 64)))
    return read(store)


def count_blocks(monkeypatch):
    computed = []
    real = BlockWork.compute
    monkeypatch.setattr(BlockWork, "compute", lambda self, s, raw: computed.append(s.block) or real(self, s, raw))
    return computed


def test_a_finished_store_says_what_it_is(tmp_path, volume, trained, whole):
    store = tmp_path / "affinities.zarr"
    markers = predict(volume, trained, store)
    with pytest.raises(MissingDataError):
        read_attributes(store)
    finish_prediction(markers, store)
    attributes = read_attributes(store)
    expected = {
        "edge_convention": "source",
        "activation": "sigmoid",
        "checkpoint_hash": load_checkpoint(trained[0])[1].hash,
        "voxel_size_zyx_nm": [20, 9, 9],
        "channels": list(NAMES),
        "window_zyx_vx": [8, 16, 16],
        "blending": "gaussian",
        "overlap": 0.5,
    }
    assert {key: attributes[key] for key in expected} == expected
    array = zarr.open_array(store / "s0", mode="r")
    assert (array.shape, array.dtype, array.shards) == ((4, *SHAPE), np.uint8, (4, 16, 16, 16))
    np.testing.assert_array_equal(array[:], whole)
    assert np.ptp(whole) > 50
    marker = json.loads(markers[0].read_text())
    assert (marker["job"], marker["jobs"], marker["blocks"], marker["computed"]) == (0, 1, 18, 18)
    assert 0 < marker["network_seconds"] <= marker["seconds"]
    assert (marker["device"], marker["dtype"]) == ("cpu", "torch.float32")
    assert marker["mvoxel_per_s"] == pytest.approx(np.prod(SHAPE) / 1e6 / marker["seconds"], rel=0.05)


@pytest.mark.parametrize(
    ("block", "jobs", "order"),
    [((16, 16, 16), 3, (2, 0, 1)), ((8, 24, 40), 2, (1, 0)), ((8, 16, 16), 1, None), ((64, 64, 64), 4, None)],
)
def test_blocks_jobs_and_order_do_not_change_a_bit(tmp_path, volume, trained, whole, block, jobs, order):
    store = tmp_path / "a.zarr"
    finish_prediction(predict(volume, trained, store, change(block_zyx_vx=block), jobs, order), store)
    np.testing.assert_array_equal(read(store), whole)


def test_windows_between_blocks_in_z_are_computed_once(tmp_path, volume, trained):
    def count(block, jobs):
        store = tmp_path / f"{block[0]}-{jobs}.zarr"
        markers = predict(volume, trained, store, change(block_zyx_vx=block), jobs)
        return sum(json.loads(marker.read_text())["windows"] for marker in markers)

    assert count((24, 40, 40), 1) == count((8, 40, 40), 1) == 4 * 4 * 4
    assert 4 * 4 * 4 < count((8, 40, 40), 2) < 2 * 4 * 4 * 4


def test_only_the_channels_asked_for_are_stored(tmp_path, volume, trained, whole):
    for name, channels, kept in (("first", 3, [0, 1, 2]), ("listed", [3, 0], [3, 0])):
        store = tmp_path / f"{name}.zarr"
        finish_prediction(predict(volume, trained, store, change(channels=channels)), store)
        np.testing.assert_array_equal(read(store), whole[kept])
        assert read_attributes(store)["channels"] == [NAMES[c] for c in kept]


@pytest.mark.parametrize("shape", [(3, 40, 9), (1, 1, 1)])
def test_a_volume_smaller_than_the_window(tmp_path, trained, shape):
    volume = write_volume(tmp_path, draw_raw()[tuple(slice(n) for n in shape)])
    predict(volume, trained, tmp_path / "a.zarr")
    predict(volume, trained, tmp_path / "b.zarr", change(block_zyx_vx=(8, 8, 8)))
    assert read(tmp_path / "a.zarr").shape == (4, *shape)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


def test_margins_change_what_is_near_the_faces_and_nothing_else(tmp_path, trained):
    """With a margin of a stride there are windows besides those of none, all of which reach out of the volume."""
    volume = write_volume(tmp_path, draw_raw((24, 40, 40)))
    cfg = change(blending="constant")
    stores = tmp_path / "a.zarr", tmp_path / "b.zarr", tmp_path / "c.zarr"
    predict(volume, trained, stores[0], cfg)
    predict(volume, trained, stores[1], change(cfg, margin_zyx_vx=(4, 8, 8)))
    predict(volume, trained, stores[2], change(cfg, margin_zyx_vx=(4, 8, 8), block_zyx_vx=(8, 8, 24)), jobs=2)
    without, found, other = map(read, stores)
    np.testing.assert_array_equal(found, other)
    inner = np.s_[:, 4:-4, 8:-8, 8:-8]
    np.testing.assert_array_equal(found[inner], without[inner])
    assert (found != without).mean() > 0.3


def test_float16_holds_the_values_that_bytes_are_rounded_from(tmp_path, volume, trained, whole):
    store = tmp_path / "a.zarr"
    finish_prediction(predict(volume, trained, store, change(dtype="float16"), jobs=2), store)
    found = read(store)
    assert found.dtype == np.float16
    assert np.abs(found.astype(float) * 255 - whole).max() <= 0.5 + 255 / 2**11
    assert len(np.unique(found)) > 1000


def test_an_ensemble_is_the_mean_in_whatever_order(tmp_path, volume, trained, whole):
    others = [write_checkpoint(tmp_path / f"{seed}.ckpt", seed) for seed in (1, 2)]
    alone = [whole.astype(float)]
    for path in others:
        predict(volume, [path], tmp_path / f"{path.stem}.zarr")
        alone.append(read(tmp_path / f"{path.stem}.zarr").astype(float))
    predict(volume, trained + others, tmp_path / "a.zarr")
    predict(volume, others[::-1] + trained, tmp_path / "b.zarr", change(block_zyx_vx=(8, 24, 40)), jobs=2)
    found = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found, read(tmp_path / "b.zarr"))
    assert np.abs(found - np.mean(alone, 0)).max() <= 1.001
    assert np.abs(found - whole.astype(float)).mean() > 1


def test_augmented_predictions_do_not_depend_on_blocks_or_on_what_is_stored(tmp_path, volume, trained, whole):
    tta = change(tta={"flip": ["z", "x"], "permute": ["yx"]})
    predict(volume, trained, tmp_path / "a.zarr", tta)
    predict(volume, trained, tmp_path / "b.zarr", change(tta, block_zyx_vx=(8, 24, 40), channels=[2]), jobs=2)
    found = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(tmp_path / "b.zarr"), found[2:3])
    assert np.abs(found - whole.astype(float)).mean() > 1


def test_a_part_is_the_whole_where_it_is_wanted(tmp_path, volume, trained, whole):
    crops = [[[1, 2, 3], [9, 20, 30]], [[12, 30, 20], [19, 39, 36]]]
    part = change(regions={"small": {"box_zyx_vx": [[1, 2, 3], [19, 39, 36]], "crops_zyx_vx": crops}})
    markers = predict(volume, trained, tmp_path / "a.zarr", part, jobs=3)
    finish_prediction(markers, tmp_path / "a.zarr")
    wanted = np.zeros(SHAPE, bool)
    for start, stop in crops:
        wanted[tuple(map(slice, start, stop))] = True
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), (whole * wanted)[:, 1:19, 2:39, 3:36])
    done = [json.loads(marker.read_text()) for marker in markers]
    assert sum(one["computed"] for one in done) < sum(one["blocks"] for one in done) == 2 * 3 * 3
    assert read_attributes(tmp_path / "a.zarr")["offset_zyx_nm"] == [25, 24, 34]


def test_a_second_run_computes_nothing(tmp_path, volume, trained, monkeypatch, caplog):
    store = tmp_path / "a.zarr"
    predict(volume, trained, store)
    computed = count_blocks(monkeypatch)
    with caplog.at_level(logging.INFO):
        markers = predict(volume, trained, store, jobs=3)
    assert computed == []
    assert "nothing is left to do" in caplog.text
    finish_prediction(markers, store)


def test_another_number_of_jobs_goes_on_where_the_first_stopped(tmp_path, volume, trained, monkeypatch, whole):
    store = tmp_path / "a.zarr"
    predict(volume, trained, store, jobs=2, order=[1])
    computed = count_blocks(monkeypatch)
    finish_prediction(predict(volume, trained, store, jobs=3), store)
    assert sorted(computed) == sorted(blocks_of(0, 2))
    np.testing.assert_array_equal(read(store), whole)


def test_how_the_work_is_spread_is_no_setting(tmp_path, volume, trained):
    predict(volume, trained, tmp_path / "a.zarr", jobs=9, order=[0])
    predict(volume, trained, tmp_path / "a.zarr", change(jobs=4, batch=3, device="auto"), jobs=4)


def test_the_log_says_how_much_of_the_time_was_the_network(tmp_path, volume, trained, caplog):
    with caplog.at_level(logging.INFO, "connectomake.predict"):
        predict(volume, trained, tmp_path / "a.zarr", change(block_zyx_vx=(64, 64, 64)))
    assert "64 windows in" in caplog.text
    assert "% of the time was the networks'" in caplog.text


def test_the_scripts_run_by_hand(tmp_path, volume, trained, whole, monkeypatch):
    store, marker = tmp_path / "affinities.zarr", tmp_path / "0-of-1.json"
    planned = plan(volume, trained, store)
    given = {"--plan": planned, "--volume": volume, "--checkpoints": trained[0], "--marker": marker, "--store": store}
    given |= {"--jobs": 1, "--threads": 1, "--set": "device=cpu"}
    flags = [word for pair in given.items() for word in pair]
    assert run_by_hand(monkeypatch, "predict_affinities", flags) == 0
    assert run_by_hand(monkeypatch, "finish_prediction", ["--markers", marker, "--done", store / "zarr.json"]) == 0
    np.testing.assert_array_equal(read(store), whole)


def test_codecs_of_another_package_read_and_write_the_same(tmp_path, volume, trained):
    pytest.importorskip("zarrs")
    for name in ("zarr", "zarrs"):
        predict(volume, trained, tmp_path / name / "a.zarr", change(codec_pipeline=name))
    assert read_files(tmp_path / "zarr/a.zarr") == read_files(tmp_path / "zarrs/a.zarr")
    assert "zarrs" not in zarr.config.get("codec_pipeline.path")


def test_codecs_that_are_not_installed_are_said(tmp_path, volume, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarrs", None)
    planned = plan(volume, trained, tmp_path / "a.zarr")
    with pytest.raises(MissingPackageError, match="pip install zarrs"):
        run_jobs(planned, volume, trained, tmp_path / "a.zarr", change(codec_pipeline="zarrs"))


def test_the_ledger_holds_the_plan(tmp_path, volume, trained):
    planned = plan(volume, trained, tmp_path / "a.zarr")
    run_jobs(planned, volume, trained, tmp_path / "a.zarr", jobs=9, order=[0])
    assert Ledger.open(tmp_path / "a.zarr/ledger").settings == json.loads(planned.read_text())["settings"]
    assert CFG.overlap == 0.5
