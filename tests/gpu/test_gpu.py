"""What can only be said on a GPU. `pytest -m gpu` runs all of it in at most 8 minutes on one data-centre GPU.

CONNECTOMAKE_GPU_JSON=numbers.json writes the numbers that are shown in the end to a file as well. Nothing is read from
the network, and nothing but torch (2.11 or later) and tests/gpu/requirements.txt is needed; where numba is not
installed, the loader is checked with patches that numpy makes, and the table says so. tests/unit/test_gpu_checks.py
calls the same functions on a CPU, at a scale of its own.

Expected on a GPU such as an H100, in seconds; none of it was measured yet:

    training steps        50   three trainings of 16 steps, and the choice of algorithms for each
    loader                60   three trainings of some seconds to 20 s
    nccl                  15
    not-finite watch      15
    prediction            75   256^3 and 512^3, each in one block, in several, bare, and by MONAI
    out of memory         15
    autoconfig            60   its trials end after 50 s, and its process takes some to start
    torch.compile         90   the compiler takes most of it
    generator             90   a minute of training, and encoding, making and starting
"""

import math
import time

import gpu_generator as generator
import gpu_prediction as prediction
import gpu_training as training
import numpy as np
import pytest
import torch
from gpu_fitting import fit_to_device

pytestmark = pytest.mark.gpu

ROUNDING, LEARNING = 0.01, 0.1  # by how much losses may differ: those of equal weights, and those of later steps
# By how many of 255 levels values may differ: of the same windows at once, of others, for which a library may choose
# another algorithm, and of a compiled network, which rounds in other places.
SAME, OTHERS, COMPILED = 1, 2, 4


def banis(scale, **changes):
    common = {"device": scale.device, "precision": scale.precisions[1], "max_steps": scale.steps}
    return training.banis(**common | scale.train | changes)


def predict_task(scale):
    model = banis(scale).model
    return prediction.Task(model, scale.where, scale.predict_in, scale.patch_zyx, scale.windows_at_once)


def test_half_precisions_train_as_float32_does(report, scale, tmp_path):
    """Of one step on equal weights, losses differ by rounding alone; later ones only have to show as much learnt."""
    runs = []
    for precision in scale.precisions:
        cfg = banis(scale, precision=precision)
        runs.append(training.train(cfg, training.CubePatches(cfg), tmp_path, warmup=scale.warmup))
        first, last = (training.differ(runs[-1], runs[0], steps) for steps in (slice(0, 1), slice(-4, None)))
        said = {"skipped_steps": runs[-1].skipped, "first_loss_differs": first, "last_losses_differ": last}
        report.add("training steps", precision, **runs[-1].numbers, **said)
    for run in runs:
        assert all(map(math.isfinite, run.losses))
        assert training.differ(run, runs[0], slice(0, 1)) < ROUNDING
        assert training.differ(run, runs[0], slice(-4, None)) < LEARNING
        assert np.mean(run.losses[-4:]) < 0.95 * run.losses[0]
        assert run.skipped <= 4


def test_the_loader_keeps_up(report, scale, tmp_path):
    """Patches with all augmentations of BANIS, by worker processes, against random tensors that lie on the device."""
    # More batches than the workers can have made ahead: two each.
    cfg = banis(scale, workers=scale.workers, max_steps=scale.warmup + 3 * scale.workers, memory_gb=4)
    patches, kind = training.make_patches(cfg, "banis")
    found = training.compare_loader(cfg, patches, tmp_path, scale.warmup)
    report.add("loader", kind, **found)
    assert found["ratio"] <= scale.slower_by_loader


def test_one_process_trains_in_a_group_as_it_does_alone(report, scale, tmp_path):
    plain = banis(scale, max_steps=4, precision="float32")
    patches = training.CubePatches(plain)
    alone = training.train(plain, patches, tmp_path)
    with training.group_of_one(scale.where, tmp_path) as backend:
        told = training.exchange(scale.where)
        report.add("group of one", backend, **told)
        joined = training.train(training.banis(training.Joined, **plain.model_dump()), patches, tmp_path)
    report.add("group of one", f"{backend}, training", **joined.numbers, alone_step_s=alone.step_s)
    assert told == training.EXCHANGED
    np.testing.assert_allclose(joined.losses, alone.losses, rtol=5e-3)


def test_a_step_that_is_not_finite_stops_the_training_a_step_later(report, scale, tmp_path):
    cfg = banis(scale, max_steps=8, batch=1)
    error, changed = training.break_off(cfg, 4, tmp_path)
    ahead = training.looks_without_waiting(scale.where)
    report.add("not-finite watch", "a broken patch", error=error.split(";")[0], looks_without_waiting=ahead)
    assert "training diverged at step 5;" in error
    assert "the input (raw), in patches [4] of cubes" in error
    assert changed == [True, True, True, False]
    assert torch.load(next(tmp_path.glob("not_finite*")), weights_only=True)["step"] == 5
    assert ahead


@pytest.mark.parametrize("number", [0, 1], ids=["small", "large"])
def test_blocks_are_as_fast_as_the_bare_network_and_say_what_monai_says(report, scale, number):
    (side, block), task = scale.volumes[number], predict_task(scale)
    raw, ensemble = prediction.make_raw(side), task.ensemble()
    prediction.warm_up(task, ensemble)
    whole = prediction.predict_in_blocks(task, ensemble, raw, side)
    blocks = prediction.predict_in_blocks(task, ensemble, raw, block)
    bare, monai = prediction.predict_bare(task, side), prediction.predict_by_monai(task, raw)
    same, peer = prediction.compare(blocks, whole), prediction.compare(whole, monai)
    case = f"prediction, {side}^3"
    report.add(case, "one block", **whole.numbers, window_to_bare=whole.window_s / bare.window_s)
    report.add(case, f"blocks of {block}^3", **blocks.numbers, window_to_bare=blocks.window_s / bare.window_s, **same)
    report.add(case, "bare network", **bare.numbers)
    report.add(case, "MONAI", **monai.numbers, window_to_bare=monai.window_s / bare.window_s, **peer)
    assert np.ptp(whole.values) > 0
    assert same["largest_difference"] <= SAME
    assert peer["largest_difference"] <= OTHERS
    if number:  # a smaller volume is over before what is done once for each counts little
        assert bare.window_s >= scale.blocks_to_bare * whole.window_s
        assert bare.window_s >= scale.blocks_to_bare * blocks.window_s
        assert monai.seconds >= scale.blocks_to_bare * whole.seconds


def test_want_of_memory_halves_the_batch(report, scale):
    task, side = predict_task(scale), scale.patch_zyx[0] * 3 // 2
    found, expected, left = prediction.predict_with_too_many(task, prediction.make_raw(side), scale.too_many)
    said = prediction.compare(found, expected)
    report.add("out of memory", f"{scale.too_many} windows", windows_in_the_end=left, **found.numbers, **said)
    assert 1 <= left < scale.too_many
    assert said["largest_difference"] <= OTHERS


def test_a_preset_is_fitted_by_trials(report, scale):
    """Autoconfig finds a patch, a batch and a precision that fit, and goes on after one that does not."""
    found = fit_to_device(banis(scale, batch=4, precision="auto"), scale.fit_s)
    report.add("autoconfig", found.name, **found.numbers)
    assert found.patch_zyx == scale.patch_zyx
    assert found.step_s > 0
    assert found.goes_on
    if scale.device == "cuda":
        assert found.precision in ("bfloat16", "float16")
        assert found.too_large == "memory"


def test_a_compiled_network_trains_and_predicts_the_same(report, scale, tmp_path):
    lacking = training.list_lacking_compilers() if scale.device == "cuda" else []
    if lacking:
        report.add("torch.compile", "left out", lacking=", ".join(lacking))
        pytest.skip(f"torch.compile needs {' and '.join(lacking)}")
    runs = []
    for compiles in (False, True):
        cfg = banis(scale, compile=compiles)
        runs.append(training.train(cfg, training.CubePatches(cfg), tmp_path, warmup=scale.warmup))
    differs = training.differ(runs[1], runs[0], slice(-4, None))
    report.add("torch.compile, training", "eager", **runs[0].numbers)
    report.add("torch.compile, training", "compiled", **runs[1].numbers, last_losses_differ=differs)
    assert differs < LEARNING
    torch._dynamo.reset()
    task, side = predict_task(scale), scale.volumes[0][0]
    raw, plain, fast = prediction.make_raw(side), task.ensemble(), task.ensemble(compile="default")
    start_s = prediction.warm_up(task, fast)
    prediction.warm_up(task, plain)
    expected, found = (prediction.predict_in_blocks(task, ensemble, raw, side) for ensemble in (plain, fast))
    same = prediction.compare(found, expected)
    report.add("torch.compile, prediction", "eager", **expected.numbers)
    report.add("torch.compile, prediction", "compiled", start_s=start_s, **found.numbers, **same)
    assert same["largest_difference"] <= COMPILED


def test_a_minute_of_em_small(report, scale, tmp_path):
    started = time.perf_counter()
    cfg = generator.em_small(scale.device, scale.minutes, scale.fit, **scale.generator)
    made = generator.run_generator(cfg, tmp_path)
    for stage, numbers in made.numbers.items():
        report.add("generator em_small", stage, **numbers)
    report.add("generator em_small", "all", seconds=time.perf_counter() - started)
    assert generator.find_faults(made, cfg) == []
