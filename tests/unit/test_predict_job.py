import errno
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import connectomake
from connectomake.blocks import Ledger
from connectomake.config.architectures import BasicUnetConfig
from connectomake.config.predict import PredictConfig
from connectomake.errors import (
    ConfigError,
    ConnectomakeError,
    DataError,
    MissingDataError,
    ModelError,
    ResumeMismatchError,
)
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_checkpoint, save_checkpoint
from connectomake.models.registry import build_model
from connectomake.predict import job as job_module
from connectomake.predict.finish import finish_prediction
from connectomake.predict.job import BlockWork, predict_blocks
from connectomake.volumes.store import read_attributes, write_store

SHAPE = (20, 40, 36)
NAMES = ("z1", "y1", "x1", "z9")
CFG = PredictConfig(block_zyx_vx=(16, 16, 16), chunk_zyx_vx=(8, 8, 8), precision="float32", device="cpu")


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.InstanceNorm3d(3), nn.GELU(), nn.Conv3d(3, 4, 1)).eval()


class TakesMultiplesOf4:
    stem_factor = 1

    def check_patch(self, patch_zyx):
        if any(side % 4 for side in patch_zyx):
            raise ValueError(f"{list(patch_zyx)} must be multiples of [4, 4, 4]")


def make_meta(**options):
    offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-9, 0, 0)]
    names = zip(NAMES, offsets, strict=True)
    given = {
        "channels": [{"name": n, "offset_zyx_vx": list(o), "activation": "sigmoid"} for n, o in names],
        "normalisation": {"mean": 120.0, "std": 60.0},
        "voxel_size_zyx_nm": (20.0, 9.0, 9.0),
        "window_zyx": (12, 16, 16),
        "divisor_zyx": (4, 4, 4),
        "edge_convention": "source",
        "in_channels": 1,
        "model": TakesMultiplesOf4(),
        "hash": "0123abcd",
    }
    return SimpleNamespace(**{**given, **options})


def write_volume(folder, raw):
    write_store(folder / "raw.zarr", raw, voxel_size_zyx_nm=(20, 9, 9), offset_zyx_nm=(5, 6, 7), chunk_zyx=(16, 16, 16))
    entry = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], list(raw.shape)], "dtype": "uint8"}
    description = {
        "name": "small",
        "voxel_size_zyx_nm": [20, 9, 9],
        "offset_zyx_nm": [5, 6, 7],
        "shape_zyx": list(raw.shape),
        "raw": entry,
        "labels": None,
    }
    (folder / "volume.json").write_text(json.dumps(description))
    return folder / "volume.json"


@pytest.fixture
def raw():
    return np.random.default_rng(2).integers(0, 255, SHAPE).astype(np.uint8)


@pytest.fixture
def volume(tmp_path, raw):
    (tmp_path / "ingest").mkdir()
    return write_volume(tmp_path / "ingest", raw)


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """What load_checkpoint gives, to be changed by a test."""
    given = SimpleNamespace(network=make_network(), meta=make_meta())
    monkeypatch.setattr(job_module, "load_checkpoint", lambda path, device: (given.network, given.meta))
    threads = torch.get_num_threads()
    yield given
    torch.set_num_threads(threads)


def predict(volume, store, cfg=CFG, jobs=1, order=None):
    markers = [store.parent / f"{store.stem}-{k}-of-{jobs}.json" for k in range(jobs)]
    for k in order or range(jobs):
        predict_blocks(volume, Path("model.ckpt"), store, cfg, job=k, jobs=jobs, marker=markers[k])
    return markers


def read(store):
    return zarr.open_array(store / "s0", mode="r")[:]


def change(cfg, **values):
    return PredictConfig.model_validate({**cfg.model_dump(), **values})


def count_calls(monkeypatch):
    computed = []
    real = BlockWork.compute
    monkeypatch.setattr(BlockWork, "compute", lambda self, b, raw: computed.append(b) or real(self, b, raw))
    return computed


def test_a_finished_store_says_what_it_is(tmp_path, volume):
    store = tmp_path / "affinities.zarr"
    markers = predict(volume, store)
    with pytest.raises(MissingDataError):
        read_attributes(store)
    finish_prediction(markers, store)
    attributes = read_attributes(store)
    assert attributes["offsets_zyx_vx"] == [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-9, 0, 0]]
    expected = {
        "edge_convention": "source",
        "activation": "sigmoid",
        "checkpoint_hash": "0123abcd",
        "voxel_size_zyx_nm": [20, 9, 9],
        "channels": list(NAMES),
        "window_zyx_vx": [12, 16, 16],
        "blending": "gaussian",
        "overlap": 0.5,
    }
    assert {key: attributes[key] for key in expected} == expected
    array = zarr.open_array(store / "s0", mode="r")
    assert (array.shape, array.dtype, array.shards, array.chunks) == (
        (4, *SHAPE),
        np.uint8,
        (4, 16, 16, 16),
        (4, 8, 8, 8),
    )
    assert np.ptp(array[:]) > 20
    marker = json.loads(markers[0].read_text())
    assert (marker["job"], marker["jobs"], marker["blocks"], marker["computed"]) == (0, 1, 18, 18)


@pytest.mark.parametrize(
    ("block", "jobs", "order"),
    [((16, 16, 16), 3, (2, 0, 1)), ((8, 24, 40), 2, (1, 0)), ((64, 64, 64), 1, None), ((64, 64, 64), 4, None)],
)
def test_blocks_jobs_and_order_do_not_change_a_bit(tmp_path, volume, block, jobs, order):
    predict(volume, tmp_path / "a.zarr")
    markers = predict(volume, tmp_path / "b.zarr", change(CFG, block_zyx_vx=block), jobs, order)
    finish_prediction(markers, tmp_path / "b.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


def test_only_the_channels_asked_for_are_stored(tmp_path, volume):
    predict(volume, tmp_path / "all.zarr")
    for name, channels, kept in (("first", 3, [0, 1, 2]), ("listed", [3, 0], [3, 0])):
        store = tmp_path / f"{name}.zarr"
        finish_prediction(predict(volume, store, change(CFG, channels=channels)), store)
        np.testing.assert_array_equal(read(store), read(tmp_path / "all.zarr")[kept])
        assert read_attributes(store)["channels"] == [NAMES[c] for c in kept]


@pytest.mark.parametrize("shape", [(3, 40, 9), (1, 1, 1)])
def test_a_volume_smaller_than_the_window(tmp_path, raw, shape):
    volume = write_volume(tmp_path, raw[tuple(slice(n) for n in shape)])
    predict(volume, tmp_path / "a.zarr")
    predict(volume, tmp_path / "b.zarr", change(CFG, block_zyx_vx=(8, 8, 8)))
    assert read(tmp_path / "a.zarr").shape == (4, *shape)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


def test_a_second_run_computes_nothing(tmp_path, volume, monkeypatch, caplog):
    store = tmp_path / "a.zarr"
    predict(volume, store)
    computed = count_calls(monkeypatch)
    with caplog.at_level(logging.INFO):
        markers = predict(volume, store, jobs=3)
    assert computed == []
    assert "nothing is left to do" in caplog.text
    finish_prediction(markers, store)


def test_another_number_of_jobs_goes_on_where_the_first_stopped(tmp_path, volume, monkeypatch):
    store = tmp_path / "a.zarr"
    predict(volume, store, jobs=2, order=[1])
    computed = count_calls(monkeypatch)
    finish_prediction(predict(volume, store, jobs=3), store)
    assert sorted(computed) == list(range(0, 18, 2))


def test_a_moved_volume_is_the_same_and_a_remade_one_is_not(tmp_path, volume, raw):
    store = tmp_path / "a.zarr"
    predict(volume, store, jobs=2, order=[0])
    predict((tmp_path / "ingest").rename(tmp_path / "moved") / "volume.json", store, jobs=2, order=[1])
    write_volume(tmp_path / "moved", raw[::-1])
    with pytest.raises(ResumeMismatchError, match=r"volume\.fingerprint was"):
        predict(tmp_path / "moved" / "volume.json", store)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap", 0.25),
        ("blending", "constant"),
        ("activation", "scaled_sigmoid"),
        ("channels", 3),
        ("precision", "bfloat16"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, volume, key, value):
    predict(volume, tmp_path / "a.zarr", jobs=9, order=[0])
    with pytest.raises(ResumeMismatchError, match=rf"{key}.* was .*, is now .*snakemake purge"):
        predict(volume, tmp_path / "a.zarr", change(CFG, **{key: value}))


def test_another_checkpoint_is_refused_by_name(tmp_path, volume, loaded):
    predict(volume, tmp_path / "a.zarr", jobs=9, order=[0])
    loaded.meta = make_meta(hash="4567")
    with pytest.raises(ResumeMismatchError, match="checkpoint_hash was 0123abcd, is now 4567"):
        predict(volume, tmp_path / "a.zarr")


def test_how_the_work_is_spread_is_no_setting(tmp_path, volume):
    predict(volume, tmp_path / "a.zarr", jobs=9, order=[0])
    predict(volume, tmp_path / "a.zarr", change(CFG, jobs=4, batch=3, device="auto"), jobs=4)


def test_unfinished_predictions_are_not_finished(tmp_path, volume):
    store = tmp_path / "a.zarr"
    with pytest.raises(MissingDataError, match="nothing was begun"):
        finish_prediction([], store)
    markers = predict(volume, store, jobs=3, order=[0, 2])
    with pytest.raises(MissingDataError, match="1-of-3"):
        finish_prediction(markers, store)
    markers[1].write_text(markers[0].read_text())
    with pytest.raises(DataError, match=r"lacks 6 of 18 blocks \(1, 4, 7, 10, 13, 16\).* with 3 jobs, 1"):
        finish_prediction(markers, store)
    markers[1].write_text('{"settings_hash": "other"}')
    with pytest.raises(ResumeMismatchError, match="other settings"):
        finish_prediction(markers, store)
    assert not (store / "zarr.json").exists()


def test_nan_names_block_and_checkpoint_and_keeps_what_was_done(tmp_path, volume, loaded):
    class Failing(nn.Module):
        """Fails from the 31st window on."""

        calls = 0

        def forward(self, x):
            self.calls += 1
            return make_network()(x) * (1.0 if self.calls <= 30 else float("nan"))

    loaded.network = Failing()
    with pytest.raises(ModelError, match=r"model\.ckpt, block \d+ \(from .* of .*raw\.zarr.*NaN"):
        predict(volume, tmp_path / "a.zarr")
    done = Ledger.open(tmp_path / "a.zarr" / "ledger").done()
    assert done
    assert done == set(range(len(done)))
    loaded.network = make_network()
    predict(volume, tmp_path / "a.zarr")
    predict(volume, tmp_path / "b.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


def test_zeros_where_raw_is_not_constant_are_told(tmp_path, volume, loaded, caplog):
    loaded.network[3].bias.data.fill_(-1e4)
    predict(volume, tmp_path / "a.zarr")
    assert "nothing but zeros" in caplog.text
    caplog.clear()
    (tmp_path / "flat").mkdir()
    predict(write_volume(tmp_path / "flat", np.full(SHAPE, 7, np.uint8)), tmp_path / "b.zarr")
    assert "nothing but zeros" not in caplog.text


def test_a_full_disk_leaves_the_block_unmarked(tmp_path, volume, monkeypatch):
    class FullArray:
        """Takes two blocks."""

        def __init__(self, array):
            self.array, self.left = array, 2

        def __setitem__(self, key, value):
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= 1
            self.array[key] = value

    store = tmp_path / "a.zarr"
    create = job_module.create_store
    monkeypatch.setattr(job_module, "create_store", lambda *args, **options: FullArray(create(*args, **options)))
    with pytest.raises(DataError, match=r"no room left to write .*a\.zarr.* free"):
        predict(volume, store)
    assert Ledger.open(store / "ledger").done() == {0, 1}
    monkeypatch.setattr(job_module, "create_store", create)
    finish_prediction(predict(volume, store), store)


def test_too_small_a_gpu_is_said(tmp_path, volume, loaded):
    class Large(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("no room")

    loaded.network = Large()
    with pytest.raises(ConnectomakeError, match=r"block 0 .*use a smaller predict\.block_zyx_vx"):
        predict(volume, tmp_path / "a.zarr")


def test_a_window_that_does_not_suit_the_network_is_refused(tmp_path, volume, caplog):
    with pytest.raises(ConfigError, match=r"\[12, 18, 16\] must be multiples of \[4, 4, 4\].*training, \(12, 16, 16\)"):
        predict(volume, tmp_path / "a.zarr", change(CFG, window_zyx_vx=(12, 18, 16)))
    predict(volume, tmp_path / "a.zarr", change(CFG, window_zyx_vx=(12, 20, 16)))
    assert "trained with (12, 16, 16)" in caplog.text


def test_a_channel_that_the_network_lacks_is_refused(tmp_path, volume):
    with pytest.raises(ConfigError, match="some of 0 z1, 1 y1, 2 x1, 3 z9; got 5"):
        predict(volume, tmp_path / "a.zarr", change(CFG, channels=5))


def test_voxels_of_another_size_are_told(tmp_path, volume, loaded, caplog):
    predict(volume, tmp_path / "a.zarr")
    assert caplog.records == []
    loaded.meta = make_meta(voxel_size_zyx_nm=(20.0, 18.0, 18.0))
    predict(volume, tmp_path / "b.zarr")
    assert "expect a worse prediction" in caplog.text


def test_the_log_says_what_the_blocks_cost(tmp_path, volume, caplog):
    with caplog.at_level(logging.INFO, "connectomake.predict"):
        predict(volume, tmp_path / "a.zarr", change(CFG, block_zyx_vx=(64, 64, 64)))
        predict(volume, tmp_path / "b.zarr")
    costs = [r.getMessage() for r in caplog.records if "times the work" in r.getMessage()]
    assert "1.00 times the work" in costs[0]
    assert "48 windows" in costs[1]
    assert "1.00 times" not in costs[1]
    assert "GB of memory" in caplog.text


@pytest.mark.parametrize(
    "values",
    [
        {"channels": []},
        {"channels": [1, 1]},
        {"channels": 0},
        {"channels": [-1]},
        {"overlap": 1.0},
        {"block_zyx_vx": [64, 64, 65], "chunk_zyx_vx": [64, 64, 64]},
        {"batch": 0},
        {"blending": "bump"},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        PredictConfig.model_validate(values)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A real checkpoint of a small network, and the real way to load it."""
    monkeypatch.setattr(job_module, "load_checkpoint", load_checkpoint)
    settings = BasicUnetConfig(filters=(4, 4, 4, 8, 8, 4))
    channels = make_meta().channels
    meta = CheckpointMeta(
        architecture=describe_architecture(settings),
        in_channels=1,
        channels=channels,
        normalisation={"mean": 120.0, "std": 60.0},
        voxel_size_zyx_nm=(20.0, 9.0, 9.0),
        window_zyx=(16, 32, 32),
        divisor_zyx=(16, 16, 16),
    )
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "model.ckpt", build_model(settings, 1, len(channels)), meta)
    return tmp_path / "model.ckpt"


def test_the_scripts_run_by_hand(tmp_path, volume, trained):
    scripts = Path(connectomake.__file__).parents[1]
    store, marker = tmp_path / "affinities.zarr", tmp_path / "0-of-1.json"
    given = {"--volume": volume, "--checkpoint": trained, "--marker": marker, "--store": store}
    given |= {"--jobs": 1, "--threads": 1, "--set": "device=cpu"}
    flags = [str(word) for pair in given.items() for word in pair]
    subprocess.run([sys.executable, str(scripts / "predict_affinities.py"), *flags], check=True, capture_output=True)
    flags = ["--markers", str(marker), "--done", str(store / "zarr.json")]
    subprocess.run([sys.executable, str(scripts / "finish_prediction.py"), *flags], check=True, capture_output=True)
    assert read(store).shape == (4, *SHAPE)
    assert np.ptp(read(store)) > 5
    assert len(read_attributes(store)["checkpoint_hash"]) == 64


@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_a_broken_checkpoint_is_said_before_anything_is_made(tmp_path, volume, trained, damage):
    if damage == "cut":
        trained.write_bytes(trained.read_bytes()[:2000])
    elif damage == "text":
        trained.write_text("hello")
    else:
        trained.unlink()
    with pytest.raises(ConnectomakeError, match=r"model\.ckpt.*(train a model first|give the model\.ckpt)"):
        predict_blocks(volume, trained, tmp_path / "a.zarr", CFG)
    assert not (tmp_path / "a.zarr").exists()


def test_a_checkpoint_of_another_architecture_is_said(tmp_path, volume, trained):
    content = torch.load(trained, weights_only=True)
    content["meta"]["architecture"]["config"]["filters"] = [8, 8, 8, 8, 8, 8]
    torch.save(content, trained)
    with pytest.raises(ModelError, match=r"the weights in .*model\.ckpt are not those of its architecture"):
        predict_blocks(volume, trained, tmp_path / "a.zarr", CFG)
    content["meta"]["architecture"]["name"] = "unheard_of"
    torch.save(content, trained)
    with pytest.raises(ModelError, match="unheard_of"):
        predict_blocks(volume, trained, tmp_path / "a.zarr", CFG)


def test_a_volume_of_other_channels_is_refused(tmp_path, volume, loaded):
    loaded.meta = make_meta(in_channels=2)
    with pytest.raises(DataError, match=r"raw\.zarr.* expected 2 channels; got 1"):
        predict(volume, tmp_path / "a.zarr")


CHILD = """
    import sys, time
    from pathlib import Path
    from unittest import mock
    import test_predict_job as tests
    from connectomake.predict import job

    network = tests.make_network()
    slow = network.register_forward_hook(lambda *_: time.sleep(0.02))
    with mock.patch.object(job, "load_checkpoint", lambda path, device: (network, tests.make_meta())):
        tests.predict(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_and_restarted_gives_the_same_store_and_computes_nothing_twice(tmp_path, volume, monkeypatch):
    store = tmp_path / "a.zarr"
    paths = os.pathsep.join([str(Path(connectomake.__file__).parents[1]), str(Path(__file__).parent)])
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(volume), str(store)], env={**os.environ, "PYTHONPATH": paths}
    )
    ledger_file = store / "ledger" / "0-of-1.json"
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if ledger_file.exists() and len(json.loads(ledger_file.read_text())["blocks"]) >= 3:
            break
        time.sleep(0.01)
    assert child.poll() is None, "the child ended by itself"
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = Ledger.open(store / "ledger").done()
    assert 3 <= len(done) < 18
    computed = count_calls(monkeypatch)
    finish_prediction(predict(volume, store), store)
    assert sorted(computed) == sorted(set(range(18)) - done)
    predict(volume, tmp_path / "b.zarr")
    np.testing.assert_array_equal(read(store), read(tmp_path / "b.zarr"))
