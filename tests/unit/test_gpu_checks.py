"""The checks of tests/gpu on a CPU: small networks and volumes, and no demand on how long anything takes."""

import json
import math
from types import SimpleNamespace

import gpu_generator as generator
import gpu_prediction as prediction
import gpu_training as training
import numpy as np
import pytest
import torch
from gpu_fitting import fit_to_device
from gpu_report import Report, describe_machine
from torch import nn

from connectomake.predict import evaluate
from connectomake.train import finite
from connectomake.train.patches import TrainingPatches

CPU = torch.device("cpu")
SMALL = {"architecture": "mednext", "size": "S", "filters": 4}
WINDOW = (32, 32, 32)


def banis(kind=training.TrainConfig, **changes):
    common = {"model": SMALL, "device": "cpu", "precision": "float32", "patch_zyx_vx": WINDOW, "batch": 1}
    return training.banis(kind, **common | {"max_steps": 3} | changes)


def predict_task(**changes):
    return prediction.Task(
        **{"model": banis().model, "device": CPU, "precision": "float32", "window_zyx": WINDOW} | changes
    )


def test_made_up_patches_are_affinities_that_can_be_learnt():
    cfg = banis()
    sample = training.CubePatches(cfg)[3]
    assert {name: (value.shape, value.dtype.name) for name, value in sample.items()} == {
        "raw": ((1, *WINDOW), "float32"),
        "values": ((6, *WINDOW), "uint8"),
        "mask": ((6, *WINDOW), "bool"),
    }
    assert sample["values"][0].mean(axis=(1, 2)).tolist() == [1.0] * 15 + [0.0] + [1.0] * 15 + [0.0]
    assert sample["mask"][0].all(axis=(1, 2)).tolist() == [True] * 31 + [False]
    np.testing.assert_array_equal(training.CubePatches(cfg)[3]["raw"], sample["raw"])
    labels = np.arange(4).reshape(1, 1, 4) // 2
    values, mask = training.compare_neighbours(labels, (0, 0, -1))
    assert (values.tolist(), mask.tolist()) == ([[[0, 1, 0, 1]]], [[[False, True, True, True]]])


def test_training_steps_of_two_precisions_are_compared(tmp_path):
    runs = []
    for precision in ("float32", "bfloat16"):
        cfg = banis(precision=precision, max_steps=16)
        runs.append(training.train(cfg, training.CubePatches(cfg), tmp_path, warmup=6))
    exact, half = runs
    assert len(half.losses) == 16
    assert half.losses != exact.losses
    assert training.differ(half, exact, slice(0, 1)) < 0.01
    assert training.differ(half, exact, slice(-4, None)) < 0.1
    assert np.mean(exact.losses[-4:]) < 0.95 * exact.losses[0]
    assert exact.skipped == 0
    assert training.Run([1.0], 0, 0, 0, training.FIRST_SCALE / 8).skipped == 3
    assert all(map(math.isfinite, exact.numbers.values()))
    assert exact.step_s > 0


def test_a_loader_is_compared_with_tensors_that_are_there(tmp_path):
    cfg = banis(workers=2, memory_gb=1)
    patches, kind = training.make_patches(cfg, "banis")
    assert isinstance(patches, TrainingPatches)
    assert kind == "augment: banis"
    found = training.compare_loader(cfg, patches, tmp_path, warmup=1)
    assert found["ratio"] == pytest.approx(found["loaded_step_s"] / found["cached_step_s"])
    one = training.OneBatch(cfg, patches[0])
    assert {name: value.shape for name, value in one.one.items()} == {
        name: (1, *value.shape) for name, value in patches[0].items()
    }


def test_without_numba_patches_are_made_by_numpy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "connectomake.train.patches", None)
    patches, kind = training.make_patches(banis(), "banis")
    assert type(patches) is training.CubePatches
    assert kind.startswith("patches by numpy alone: ")


def test_one_process_trains_in_a_group_as_it_does_alone(tmp_path):
    plain = banis()
    patches = training.CubePatches(plain)
    alone = training.train(plain, patches, tmp_path)
    with training.group_of_one(CPU, tmp_path):
        told = training.exchange(CPU)
        joined = training.train(training.banis(training.Joined, **plain.model_dump()), patches, tmp_path)
    assert told == training.EXCHANGED
    np.testing.assert_allclose(joined.losses, alone.losses, rtol=1e-5)


def test_the_watch_stops_a_training_a_step_later_where_a_gpu_is_played(tmp_path, monkeypatch):
    monkeypatch.setattr(finite, "tells_late", lambda device: True)
    error, changed = training.break_off(banis(max_steps=8), 4, tmp_path)
    assert "training diverged at step 5;" in error
    assert "the input (raw), in patches [4] of cubes" in error
    assert changed == [True, True, True, False]
    assert torch.load(next(tmp_path.glob("not_finite*")), weights_only=True)["step"] == 5


@pytest.mark.parametrize("busy", [True, False])
def test_a_watch_that_waits_is_found(monkeypatch, busy):
    """CUDA is played: work takes as many looks at it as it is told to."""
    asked = []
    event = SimpleNamespace(record=lambda: None, query=lambda: not busy)
    for name, played in (("Event", lambda: event), ("synchronize", lambda: None), ("_sleep", asked.append)):
        monkeypatch.setattr(torch.cuda, name, played)
    monkeypatch.setattr(finite, "tells_late", lambda device: True)
    assert training.looks_without_waiting(CPU) == busy
    assert asked == [1, training.BUSY_CYCLES]


@pytest.mark.parametrize("batch", [1, 2])
def test_blocks_are_compared_with_the_bare_network_and_monai(batch):
    task, raw = predict_task(batch=batch), prediction.make_raw(64)
    ensemble = task.ensemble()
    assert prediction.warm_up(task, ensemble) > 0
    whole = prediction.predict_in_blocks(task, ensemble, raw, 64)
    blocks = prediction.predict_in_blocks(task, ensemble, raw, 32)
    bare, monai = prediction.predict_bare(task, 64), prediction.predict_by_monai(task, raw)
    assert np.ptp(whole.values) > 0
    assert (whole.windows, bare.windows, monai.windows) == (27, 27, 27)
    assert blocks.windows == 2 * 2 * 2 * 2 * 3
    assert prediction.compare(blocks, whole)["largest_difference"] <= 1
    assert prediction.compare(whole, monai)["largest_difference"] <= 1
    assert prediction.compare(whole, monai)["share_differing"] < 0.01
    assert whole.rate == pytest.approx(64**3 / 1e6 / whole.seconds)
    assert whole.numbers.keys() == {"mvoxel_per_s", "seconds", "windows", "peak_gb"}


def test_differences_of_values_are_told():
    first = prediction.Predicted(np.array([[0, 255], [3, 3]], np.uint8), 1.0, 1, 0.0)
    second = prediction.Predicted(np.array([[2, 254], [3, 3]], np.uint8), 1.0, 1, 0.0)
    assert prediction.compare(first, second) == {"largest_difference": 2, "share_differing": 0.5}


def test_want_of_memory_halves_the_batch(caplog):
    found, expected, left = prediction.predict_with_too_many(predict_task(), prediction.make_raw(48), 8)
    assert left == 2
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
    assert prediction.compare(found, expected)["largest_difference"] <= 1


def test_a_preset_is_fitted_by_trials():
    found = fit_to_device(banis(batch=2), budget_s=30.0)
    assert (found.gpu, found.patch_zyx, found.batch) == ("CPU", WINDOW, 2)
    assert found.precision in ("float32", "bfloat16")
    assert found.step_s > 0
    assert found.goes_on
    assert found.numbers["chosen"] == f"2 x 32 x 32 x 32 in {found.precision}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # of torch's own compiler
def test_a_compiled_network_is_compared_with_the_eager_one(tmp_path, monkeypatch):
    """Its graph is taken, and run as it is: what generates code is tried on a GPU."""
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda network: plain(network, backend="eager"))
    monkeypatch.setattr(evaluate, "compile_network", lambda network, mode: torch.compile(network, backend="eager"))
    model = {"filters": [4, 4, 4, 4, 4, 4]}
    eager, compiled = (
        training.train(cfg, training.CubePatches(cfg), tmp_path)
        for cfg in (banis(model=model), banis(model=model, compile=True))
    )
    assert training.differ(compiled, eager, slice(None)) < 1e-3
    task, raw = predict_task(model=banis(model=model).model), prediction.make_raw(48)
    expected, found = (
        prediction.predict_in_blocks(task, task.ensemble(compile=mode), raw, 48) for mode in ("no", "default")
    )
    assert prediction.compare(found, expected)["largest_difference"] <= 1


TINY = {
    "examples": {"shapes_zyx_vx": [[16, 16, 16], [8, 16, 16]]},
    "autoencoder": {
        **{"ratio_zyx": [2, 2, 2], "patch_zyx_vx": [8, 8, 8], "hidden": 4, "groups": 2, "embedding": 2},
        **{"codes": 16, "heads": 1, "head_channels": 4},
    },
    "discriminator": {"channels": 4, "layers": 1, "padding": 1},
    "denoiser": {"subvolume": 2, "dim": 24, "mults": [1, 1, 2], "attention": [False] * 3, "heads": 4, "groups": 8},
}


@pytest.mark.parametrize("has_tensorboard", [True, False])
def test_a_small_generator_is_trained_and_makes_a_volume(tmp_path, monkeypatch, has_tensorboard):
    if not has_tensorboard:
        monkeypatch.setattr(generator, "find_spec", lambda name: None)
    cfg = generator.em_small("cpu", minutes=1.0, fit={"max_steps": 20, "batch": 2, "precision": "float32"}, **TINY)
    assert cfg.labels.kind == "conditional"
    made = generator.run_generator(cfg, tmp_path)
    assert generator.find_faults(made, cfg) == []
    assert list(made.numbers) == ["stage1", "stage2", "latents", "diffusion", "generate"]
    assert made.numbers["diffusion"]["steps"] == 20
    assert made.volume.shape == (1, 16, 16, 16)
    assert (tmp_path / "stage1/run/tensorboard").exists() == has_tensorboard


def test_faults_of_a_generator_are_named():
    cfg = generator.em_small("cpu", minutes=1.0)
    columns = {"stage1": {"train_l1": [0.2, 0.3]}, "diffusion": {"train_loss": [math.nan], "validate_loss": [1.0]}}
    assert generator.find_faults(generator.Made({}, columns), cfg) == [
        "stage1: was not validated",
        "diffusion: train_loss",
        "stage1: L1 went from 0.2 to 0.3",
        "generate: no volume",
    ]


def test_numbers_are_shown_in_a_table_and_are_plain_data():
    report = Report()
    report.machine = {"GPU": "none", "torch": "2"}
    report.add("loader", "augment: none", ratio=1.0123456, workers=14)
    report.add("loader", "augment: banis", ratio=2.0)
    assert report.lines() == [
        "GPU    none",
        "torch  2",
        "",
        "check   case            quantity  value",
        "loader  augment: none   ratio     1.012",
        "                        workers   14",
        "        augment: banis  ratio     2",
    ]
    assert json.loads(json.dumps(report.as_plain()))["results"][1]["case"] == "augment: banis"
    assert {"python", "cores", "torch", "numba"} <= describe_machine().keys()
