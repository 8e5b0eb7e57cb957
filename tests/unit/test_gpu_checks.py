"""The checks of tests/gpu on a CPU: small networks and volumes, and no demand on how long anything takes."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import gpu_generator as generator
import gpu_prediction as prediction
import gpu_training as training
import numpy as np
import pytest
import test_gpu
import torch
from gpu_report import Report, describe_machine
from gpu_scale import Scale
from torch import nn

from connectomake.fitting import finite
from connectomake.precision import choose
from connectomake.predict.network import evaluate

CPU = torch.device("cpu")
TINY = {
    "examples": {"shapes_zyx_vx": [[16, 16, 16], [8, 16, 16]]},
    "autoencoder": {
        **{"ratio_zyx": [2, 2, 2], "patch_zyx_vx": [8, 8, 8], "hidden": 4, "groups": 2, "embedding": 2},
        **{"codes": 16, "heads": 1, "head_channels": 4},
    },
    "discriminator": {"channels": 4, "layers": 1, "padding": 1},
    "denoiser": {"subvolume": 2, "dim": 24, "mults": [1, 1, 2], "attention": [False] * 3, "heads": 4, "groups": 8},
}


# Nothing is demanded of times, which others on this machine decide. What half precisions do is the GPU's to say.
SMALL = Scale(
    device="cpu",
    precisions=("float32", "float32"),
    predict_in="float32",
    train={"model": {"architecture": "mednext", "filters": 4}, "patch_zyx_vx": (32, 32, 32), "batch": 1},
    workers=2,
    volumes=((48, 32), (64, 32)),
    windows_at_once=2,
    too_many=8,
    fit_s=30.0,
    minutes=1.0,
    fit={"max_steps": 20, "batch": 2, "precision": "float32"},
    generator=TINY,
    slower_by_loader=math.inf,
    blocks_to_bare=0.0,
)


def banis(**changes):
    return test_gpu.banis(SMALL, **changes)


@pytest.fixture
def report():
    return Report()


def cases(report):
    return [row["case"] for row in report.rows]


@pytest.mark.slow("trains several times")
def test_training_steps(report, tmp_path, monkeypatch):
    """In bfloat16 without a proof, which some CPUs do not pass; of float16 a CPU has no training."""
    monkeypatch.setattr(choose, "find_fault", lambda *asked: "")
    scale = replace(SMALL, precisions=("float32", "bfloat16"))
    test_gpu.test_half_precisions_train_as_float32_does(report, scale, tmp_path)
    assert cases(report) == ["float32", "bfloat16"]
    exact, half = report.rows
    assert exact["last_losses_differ"] == 0 < half["last_losses_differ"]
    assert exact["step_s"] > 0
    assert training.Run([1.0], 0, 0, 0, training.FIRST_SCALE / 8).skipped == 3


@pytest.mark.slow("times a loader of several processes")
def test_loader(report, tmp_path):
    test_gpu.test_the_loader_keeps_up(report, SMALL, tmp_path)
    (row,) = report.rows
    assert row["case"] == "augment: banis"
    assert row["ratio"] == pytest.approx(row["loaded_step_s"] / row["cached_step_s"])
    sample = training.CubePatches(banis())[0]
    one = training.OneBatch(banis(batch=2), sample).one
    assert {name: value.shape[1:] for name, value in one.items()} == {n: value.shape for n, value in sample.items()}
    assert {len(value) for value in one.values()} == {2}


def test_group_of_one(report, tmp_path):
    test_gpu.test_one_process_trains_in_a_group_as_it_does_alone(report, SMALL, tmp_path)
    assert cases(report) == ["gloo", "gloo, training"]


def test_watch(report, tmp_path, play_cuda):
    test_gpu.test_a_step_that_is_not_finite_stops_the_training_a_step_later(report, SMALL, tmp_path)
    assert play_cuda == [1, training.BUSY_CYCLES]
    assert report.rows[0]["looks_without_waiting"]


def test_a_watch_that_waits_is_found(play_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None, query=lambda: True))
    assert not training.looks_without_waiting(CPU)


@pytest.fixture
def play_cuda(monkeypatch):
    """Let the CPU play a GPU that is busy whenever it is asked; give what it was kept busy with."""
    asked = []
    event = SimpleNamespace(record=lambda: None, query=lambda: False)
    for name, played in (("Event", lambda: event), ("synchronize", lambda: None), ("_sleep", asked.append)):
        monkeypatch.setattr(torch.cuda, name, played)
    monkeypatch.setattr(finite, "tells_late", lambda device: True)
    return asked


@pytest.mark.slow("predicts in four ways")
@pytest.mark.parametrize(("number", "counts"), [(0, [8, 18, 8, 8]), (1, [27, 48, 27, 27])])
def test_prediction(report, number, counts):
    test_gpu.test_blocks_are_as_fast_as_the_bare_network_and_say_what_monai_says(report, SMALL, number)
    assert cases(report) == ["one block", "blocks of 32^3", "bare network", "MONAI"]
    assert [row["windows"] for row in report.rows] == counts
    assert report.rows[3]["share_differing"] < 0.01


def test_out_of_memory(report, caplog):
    test_gpu.test_want_of_memory_halves_the_batch(report, SMALL)
    assert report.rows[0]["windows_in_the_end"] == 2
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 2


@pytest.mark.slow("starts a process that trains")
def test_autoconfig(report):
    test_gpu.test_a_preset_is_fitted_by_trials(report, SMALL)
    assert cases(report) == ["CPU"]
    assert report.rows[0]["chosen"].startswith("4 x 32 x 32 x 32 in ")


@pytest.mark.slow("loads torch's compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # of torch's own compiler
def test_compiled(report, tmp_path, monkeypatch):
    """Graphs are taken, and run as they are: what generates code is tried on a GPU."""
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda network: plain(network, backend="eager"))
    monkeypatch.setattr(evaluate, "compile_network", lambda network, mode: torch.compile(network, backend="eager"))
    scale = replace(SMALL, train=SMALL.train | {"model": {"filters": [4, 4, 4, 4, 4, 4]}}, steps=3, warmup=1)
    test_gpu.test_a_compiled_network_trains_and_predicts_the_same(report, scale, tmp_path)
    torch._dynamo.reset()
    assert cases(report) == ["eager", "compiled"] * 2
    assert report.rows[1]["last_losses_differ"] < 1e-3


def test_compilers_that_are_not_there_are_named(report, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"torch\.compile needs Triton and a C compiler"):
        test_gpu.test_a_compiled_network_trains_and_predicts_the_same(report, replace(SMALL, device="cuda"), tmp_path)
    assert report.rows[0]["lacking"] == "Triton, a C compiler"


@pytest.mark.slow("trains a generator")
def test_generator(report, tmp_path, monkeypatch):
    """Without TensorBoard, which the package's own tests have."""
    monkeypatch.setattr(generator, "find_spec", lambda name: None)
    test_gpu.test_a_minute_of_em_small(report, SMALL, tmp_path)
    assert cases(report) == ["stage1", "stage2", "latents", "diffusion", "generate", "all"]
    assert report.rows[3]["steps"] == 20
    assert not list(tmp_path.glob("**/tensorboard"))


@pytest.mark.slow("starts pytest")
def test_a_gpus_node_needs_few_packages_and_collects_few_tests(project):
    """Neither kernels nor the workflow's packages nor pytest's plugins are there; trials of autoconfig begin, too."""
    lacking = ("numba", "fastremap", "cc3d", "kimimaro", "snakemake", "neuroglancer", "hypothesis", "xdist")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({lacking}))
import pytest
code = pytest.main(["-m", "gpu", "--collect-only", "-q"])
from connectomake.autoconfig.trial import Trainer
Trainer({{"device": "cpu"}}, None, 0.9, 1)
sys.exit(code)
"""
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(project / "scripts")}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | alone, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    found = [line for line in said.stdout.splitlines() if "::" in line]
    assert len(found) >= 10
    assert {line.split("::")[0] for line in found} == {"tests/gpu/test_gpu.py"}


def test_made_up_patches_are_affinities_that_can_be_learnt():
    cfg = banis()
    sample = training.CubePatches(cfg)[3]
    assert {name: (value.shape, value.dtype.name) for name, value in sample.items()} == {
        "raw": ((1, 32, 32, 32), "float32"),
        "values": ((6, 32, 32, 32), "uint8"),
        "mask": ((6, 32, 32, 32), "bool"),
    }
    assert sample["values"][0].mean(axis=(1, 2)).tolist() == [1.0] * 15 + [0.0] + [1.0] * 15 + [0.0]
    assert sample["mask"][0].all(axis=(1, 2)).tolist() == [True] * 31 + [False]
    np.testing.assert_array_equal(training.CubePatches(cfg)[3]["raw"], sample["raw"])
    labels = np.arange(4).reshape(1, 1, 4) // 2
    values, mask = training.compare_neighbours(labels, (0, 0, -1))
    assert (values.tolist(), mask.tolist()) == ([[[0, 1, 0, 1]]], [[[False, True, True, True]]])


def test_without_numba_patches_are_made_by_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "connectomake.train.patches", None)
    patches, kind = training.make_patches(banis(), "banis")
    assert type(patches) is training.CubePatches
    assert kind.startswith("patches by numpy alone: ")


def test_differences_of_values_are_told():
    first = prediction.Predicted(np.array([[0, 255], [3, 3]], np.uint8), 1.0, 1, 0.0)
    second = prediction.Predicted(np.array([[2, 254], [3, 3]], np.uint8), 1.0, 1, 0.0)
    assert prediction.compare(first, second) == {"largest_difference": 2, "share_differing": 0.5}


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
