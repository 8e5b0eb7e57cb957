"""What can only be said on a GPU. `pytest -m gpu` runs all of it in at most 8 minutes on one data-centre GPU.

CONNECTOMAKE_GPU_JSON=numbers.json writes the numbers that are shown in the end to a file as well. Nothing is read from
the network, and nothing but torch (2.11 or later) and tests/gpu/requirements.txt is needed; where numba is not
installed, the loader is checked with patches that numpy makes, and the table says so.

Expected on a GPU such as an H100, in seconds; none of it was measured yet:

    training steps        50   three trainings of 16 steps, and the choice of algorithms for each
    loader                60   three trainings of some seconds to 20 s
    nccl                  15
    not-finite watch      15
    prediction            75   256^3 and 512^3, each in blocks, bare, and by MONAI
    out of memory         15
    autoconfig            60   its trials end after 50 s, and its process takes some to start
    torch.compile         90   the compiler takes most of it
    generator             90   a minute of training, and encoding, making and starting
"""

import math
import os
import time
from pathlib import Path

import gpu_generator as generator
import gpu_prediction as prediction
import gpu_training as training
import numpy as np
import pytest
import torch
from gpu_fitting import fit_to_device

# Warnings are shown, and break nothing off: minutes of a GPU are worth more than a silence of other packages.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

PATCH = (128, 128, 128)
MOST_WORKERS = 14
SLOWER_BY_LOADER = 1.05
BLOCKS_TO_BARE = 0.95


def banis(**changes):
    return training.banis(**{"device": "cuda", "patch_zyx_vx": PATCH, "batch": 2, "precision": "bfloat16"} | changes)


@pytest.fixture
def task():
    """Predict as config/predict does on a GPU, by the network of BANIS."""
    return prediction.Task(banis().model, torch.device("cuda", 0), "auto", PATCH, batch=4)


def test_half_precisions_train_as_float32_does(report, tmp_path):
    """MedNeXt-S: what the first step says follows from rounding alone; later ones only have to learn as much."""
    runs = {}
    for precision in ("float32", "bfloat16", "float16"):
        cfg = banis(precision=precision, max_steps=16)
        runs[precision] = run = training.train(cfg, training.CubePatches(cfg), tmp_path, warmup=6)
        said = {
            "first": training.differ(run, runs["float32"], slice(0, 1)),
            "last": training.differ(run, runs["float32"], slice(-4, None)),
        }
        report.add("training steps", precision, **run.numbers, skipped=run.skipped, **said)
    for precision, run in runs.items():
        assert all(map(math.isfinite, run.losses)), precision
        assert training.differ(run, runs["float32"], slice(0, 1)) < 0.01, precision
        assert training.differ(run, runs["float32"], slice(-4, None)) < 0.1, precision
        assert np.mean(run.losses[-4:]) < 0.95 * run.losses[0], precision
        assert run.skipped <= 4, precision


def test_the_loader_keeps_up_with_the_gpu(report, tmp_path):
    """Patches with all augmentations of BANIS, by worker processes, against random tensors that lie on the GPU."""
    workers = max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 2))
    # Longer than what the workers may have made ahead: two batches each.
    cfg = banis(workers=workers, max_steps=10 + 3 * workers, memory_gb=4)
    patches, kind = training.make_patches(cfg, "banis")
    found = training.compare_loader(cfg, patches, tmp_path, warmup=10)
    report.add("loader", kind, **found)
    assert found["ratio"] <= SLOWER_BY_LOADER


def test_one_process_trains_by_nccl_as_it_does_alone(report, tmp_path):
    plain = banis(max_steps=4, precision="float32")
    patches, device = training.CubePatches(plain), torch.device("cuda", 0)
    alone = training.train(plain, patches, tmp_path)
    with training.group_of_one(device, tmp_path):
        told = training.exchange(device)
        joined = training.train(training.banis(training.Joined, **plain.model_dump()), patches, tmp_path)
    report.add("nccl", "one process", **joined.numbers, alone_step_s=alone.step_s)
    assert told == training.EXCHANGED
    np.testing.assert_allclose(joined.losses, alone.losses, rtol=5e-3)


def test_a_step_that_is_not_finite_stops_the_training_a_step_later(report, tmp_path):
    cfg = banis(max_steps=8, batch=1, patch_zyx_vx=(64, 64, 64))
    error, changed = training.break_off(cfg, 4, tmp_path)
    ahead = training.looks_without_waiting(torch.device("cuda", 0))
    report.add("not-finite watch", "broken patch", error=error.split(":")[0], looks_without_waiting=ahead)
    assert "training diverged at step 5;" in error
    assert "the input (raw), in patches [4] of cubes" in error
    assert changed == [True, True, True, False]
    assert torch.load(next(tmp_path.glob("not_finite*")), weights_only=True)["step"] == 5
    assert ahead


@pytest.mark.parametrize(("side", "block"), [(256, 128), (512, 256)])
def test_blocks_are_as_fast_as_the_bare_network_and_say_what_monai_says(report, task, side, block):
    raw, ensemble = prediction.make_raw(side), task.ensemble()
    prediction.warm_up(task, ensemble)
    whole = prediction.predict_in_blocks(task, ensemble, raw, side)
    blocks = prediction.predict_in_blocks(task, ensemble, raw, block)
    bare, monai = prediction.predict_bare(task, side), prediction.predict_by_monai(task, raw)
    case = f"{side}^3, {task.batch} x {PATCH[0]}^3 at once"
    same, peer = prediction.compare(blocks, whole), prediction.compare(whole, monai)
    report.add("prediction", f"{case}: one block", **whole.numbers, of_bare=whole.rate / bare.rate)
    report.add("prediction", f"{case}: blocks of {block}^3", **blocks.numbers, of_bare=blocks.rate / bare.rate, **same)
    report.add("prediction", f"{case}: bare network", **bare.numbers)
    report.add("prediction", f"{case}: MONAI", **monai.numbers, of_bare=monai.rate / bare.rate, **peer)
    assert np.ptp(whole.values) > 0
    assert same["largest_difference"] <= 1
    assert peer["largest_difference"] <= 1
    if side > 256:  # a smaller volume is over before what is done once counts little
        assert bare.window_s >= BLOCKS_TO_BARE * whole.window_s
        assert bare.window_s >= BLOCKS_TO_BARE * blocks.window_s
        assert monai.seconds >= BLOCKS_TO_BARE * whole.seconds


def test_want_of_memory_halves_the_batch(report, task):
    found, expected, left = prediction.predict_with_too_many(task, prediction.make_raw(192), 16)
    said = prediction.compare(found, expected)
    report.add("out of memory", "16 windows at once", windows_in_the_end=left, **found.numbers, **said)
    assert 1 <= left < 16
    assert said["largest_difference"] <= 1


def test_a_preset_is_fitted_to_the_gpu(report):
    """The trials of autoconfig: a patch and a batch that fit, in a half precision, and the sizes that do not."""
    cfg = banis(batch=8, precision="auto")
    found = fit_to_device(cfg, budget_s=50.0)
    report.add("autoconfig", found.gpu, **found.numbers)
    assert found.patch_zyx == PATCH
    assert found.batch >= 1
    assert found.precision in ("bfloat16", "float16")
    assert found.too_large == "memory"
    assert found.goes_on


def test_a_compiled_network_trains_and_predicts_the_same(report, task, tmp_path):
    cfg = banis(max_steps=20)
    patches = training.CubePatches(cfg)
    eager = training.train(cfg, patches, tmp_path, warmup=6)
    compiled = training.train(banis(max_steps=20, compile=True), patches, tmp_path, warmup=6)
    differs = training.differ(compiled, eager, slice(-4, None))
    report.add("torch.compile", "training, eager", **eager.numbers)
    report.add("torch.compile", "training, compiled", **compiled.numbers, last=differs)
    torch._dynamo.reset()
    raw, plain, fast = prediction.make_raw(256), task.ensemble(), task.ensemble(compile="default")
    prediction.warm_up(task, plain)
    start_s = prediction.warm_up(task, fast)
    expected, found = (prediction.predict_in_blocks(task, ensemble, raw, 256) for ensemble in (plain, fast))
    same = prediction.compare(found, expected)
    report.add("torch.compile", "prediction, eager", **expected.numbers)
    report.add("torch.compile", "prediction, compiled", **found.numbers, start_s=start_s, **same)
    assert differs < 0.1
    assert same["largest_difference"] <= 2


def test_a_minute_of_em_small(report, tmp_path: Path):
    started = time.perf_counter()
    cfg = generator.em_small("cuda", minutes=1 / 3)
    made = generator.run_generator(cfg, tmp_path)
    for stage, numbers in made.numbers.items():
        report.add("generator em_small", stage, **numbers)
    report.add("generator em_small", "all", seconds=time.perf_counter() - started)
    assert generator.find_faults(made, cfg) == []
