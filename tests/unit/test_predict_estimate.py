import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from connectomake.config.settings.train_architectures import BasicUnetConfig, MedNextConfig
from connectomake.errors import ConfigError
from connectomake.geometry import BlockGrid, Box
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, save_checkpoint
from connectomake.models.registry import build_model
from connectomake.predict.cost import network as network_cost
from connectomake.predict.cost.estimate import (
    MEMORY_MARGIN,
    Task,
    choose_block,
    estimate_memory,
    estimate_needs,
    log_needs,
    warn_of_length,
)
from connectomake.predict.cost.network import RIDDLED, NetworkCost, find_cost, list_costs, measure_network
from connectomake.predict.network import members
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.steps import blocks_of_job, plan_steps
from connectomake.volumes.prediction_needs import PredictionNeeds
from connectomake.volumes.region import Region

SHAPE = (300, 500, 700)
COST = NetworkCost(peak_bytes=10**8, weight_bytes=10**7, flops=10**12, moved_bytes=10**10)


def make_task(**options):
    grid = WindowGrid(SHAPE, (32, 64, 64), 0.5)
    return Task(
        **{"windows": grid, "box": Box.of_shape(SHAPE), "networks": (COST,), "channels": 3, "raw_bytes": 1} | options
    )


def as_heap(count):
    """What is counted of so many float32 values."""
    return int(RIDDLED * 4 * count)


def plain(inputs, outputs):
    return nn.Conv3d(inputs, outputs, 1, bias=False)


class Skip(nn.Module):
    """Keeps its input until its layers are done, as a U-Net does."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


@pytest.mark.parametrize(
    ("network", "values_per_voxel"),
    [
        (nn.GELU(), 1 + 1),
        (nn.Sequential(nn.GELU(), nn.GELU()), 1 + 1 + 1),
        (nn.Sequential(*[nn.GELU() for _ in range(9)]), 1 + 1 + 1),  # what is no longer used is freed
        (nn.Sequential(nn.ReLU(inplace=True), nn.ReLU(inplace=True)), 1),
        (Skip(nn.GELU(), nn.GELU(), nn.GELU()), 1 + 1 + 2),  # the input, the last of the layers, and both
        (nn.Sequential(nn.AvgPool3d(2), Skip(nn.GELU()), nn.Upsample(scale_factor=2)), 1 + 2 / 8 + 2),
        (nn.Flatten(), 1),  # a view takes nothing
    ],
)
def test_activations_are_those_alive_at_once(network, values_per_voxel):
    cost = measure_network(network, 1, (8, 16, 16))
    assert cost.peak_bytes == as_heap(values_per_voxel * 8 * 16 * 16)
    assert cost.weight_bytes == cost.flops == 0


def test_nothing_is_allocated_for_it():
    side = 2**14  # 16 TB for every channel
    cost = measure_network(nn.Conv3d(1, 4, 3, padding=1), 1, (side,) * 3)
    assert cost.peak_bytes > 4 * 5 * side**3
    assert cost.flops == 2 * 4 * 27 * side**3


def test_half_the_precision_takes_half_the_memory():
    network = nn.Sequential(plain(1, 8), nn.GELU(), nn.GELU())
    full, half = (measure_network(network, 1, (32, 32, 32), dtype) for dtype in (torch.float32, torch.bfloat16))
    assert full.flops == half.flops == 2 * 8 * 32**3
    assert full.weight_bytes == half.weight_bytes == 4 * 8
    assert half.moved_bytes < full.moved_bytes


def test_networks_are_left_as_they_are():
    network = build_model(MedNextConfig(filters=2), 1, 3).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (measure_network(network, 1, (32, 32, 32)) for _ in range(2))
    assert first == second
    assert first.weight_bytes == sum(tensor.nbytes for tensor in before.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 3, 32, 32, 32)


def test_programs_of_others_are_measured_too():
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.GELU(), plain(4, 2)).eval()
    window = torch.zeros(1, 1, 8, 8, 8)
    program = torch.export.export(network, (window,)).module()
    assert measure_network(program, 1, (8, 8, 8)) == measure_network(network, 1, (8, 8, 8))


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


def test_a_network_that_needs_values_is_guessed(caplog):
    cost = measure_network(Branches(), 1, (10, 10, 10))
    assert cost.peak_bytes == 4 * network_cost.GUESSED_VALUES * 1000
    assert cost.flops == network_cost.GUESSED_FLOPS * 1000
    assert "guessed" in caplog.text


@st.composite
def tasks(draw):
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    window = draw(st.tuples(*[st.integers(1, 12)] * 3))
    margin = draw(st.tuples(*[st.integers(0, 5)] * 3))
    windows = WindowGrid(shape, window, draw(st.sampled_from([0.0, 0.25, 0.5, 0.75])), margin)
    start = [draw(st.integers(0, n - 1)) for n in shape]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
    return make_task(windows=windows, box=Box(tuple(start), tuple(stop)))


@given(tasks(), st.tuples(*[st.integers(1, 16)] * 3), st.integers(1, 4))
def test_no_step_of_a_job_holds_more(task, block_zyx, jobs):
    blocks, parts = BlockGrid(task.box.shape_zyx, block_zyx), estimate_memory(task, block_zyx)
    for job in range(jobs):
        for step in plan_steps(task.windows, Region(task.box), blocks, blocks_of_job(blocks, job, jobs)):
            assert 4 * (task.channels + 1) * step.sums.size <= parts["sums"]
            assert 2 * task.raw_bytes * (step.reads.size if step.reads else 0) <= parts["raw"]
            assert 2 * task.channels * step.core.size <= parts["output"]


def test_what_blocks_of_a_volume_take():
    # Along z, windows start every 16 voxels: the last that reaches above row 100 covers 96 to 128, so 28 rows beyond.
    parts = estimate_memory(make_task(), (100, 200, 300))
    assert parts["sums"] == 4 * (3 + 1) * (100 + 2 * 28) * 200 * 300
    assert parts["output"] == 2 * parts["encoding"] == 2 * 3 * 100 * 200 * 300


def test_memory_follows_the_task():
    task, block = make_task(), (128, 128, 128)
    parts = estimate_memory(task, block)
    assert estimate_memory(replace(task, dtype="float16"), block)["output"] == 2 * parts["output"]
    assert estimate_memory(replace(task, raw_bytes=6), block)["raw"] == 6 * parts["raw"]
    assert estimate_memory(replace(task, symmetries=8), block)["activations"] > parts["activations"]
    assert estimate_memory(replace(task, networks=(COST, COST)), block)["weights"] == 2 * parts["weights"]
    assert estimate_memory(replace(task, device="cuda"), block)["activations"] < COST.peak_bytes
    assert estimate_memory(replace(task, compiled=True), block)["libraries"] > parts["libraries"]


def test_memory_does_not_grow_with_the_volume():
    small, large = ((512, 512, 512), (4096, 4096, 4096))
    found = [
        estimate_memory(
            make_task(windows=WindowGrid(shape, (64, 64, 64), 0.5), box=Box.of_shape(shape)), (128, 128, 128)
        )
        for shape in (small, large)
    ]
    assert found[0] == found[1]


def test_blocks_are_halved_until_they_fit(caplog):
    task, chunk = make_task(), (64, 64, 64)
    needed = MEMORY_MARGIN * sum(estimate_memory(task, (128, 256, 256)).values())
    assert choose_block(task, (256, 512, 512), chunk, needed / 1e9) == (128, 256, 256)
    assert "blocks of (128, 256, 256) voxels, not (256, 512, 512)" in caplog.text
    assert choose_block(task, (192, 64, 64), chunk, 1e3) == (192, 64, 64)


@given(st.floats(0.7, 5), st.tuples(*[st.integers(1, 9)] * 3))
def test_blocks_are_as_large_as_fits(memory_gb, chunks):
    chunk = (32, 64, 48)
    wanted = tuple(n * c for n, c in zip(chunks, chunk, strict=True))
    task = make_task(networks=(NetworkCost(0, 0, 0, 0),))
    found = choose_block(task, wanted, chunk, memory_gb)
    assert all(side % c == 0 and side <= most for side, c, most in zip(found, chunk, wanted, strict=True))
    assert MEMORY_MARGIN * sum(estimate_memory(task, found).values()) <= memory_gb * 1e9


def test_blocks_of_one_chunk_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"at least .* activations 20.*window_zyx_vx"):
        choose_block(make_task(networks=(replace(COST, peak_bytes=2 * 10**10),)), (256, 256, 256), (64, 64, 64), 8)
    with pytest.raises(ConfigError, match="store fewer channels"):
        choose_block(make_task(channels=900), (256, 256, 256), (64, 64, 64), 1)


def test_needs_are_those_of_all_jobs(caplog):
    task, block = make_task(), (128, 128, 128)
    one = estimate_needs(task, block, windows=600, computed=900)
    assert one.flops == 900 * COST.flops
    assert (one.windows, one.windows_computed) == (600, 900)
    assert one.mem_mb * 1e6 >= sum(one.memory_bytes.values())
    threads = estimate_needs(task, block, windows=600, computed=900, threads=2)
    assert threads.flops == one.flops
    assert one.minutes == pytest.approx(2 * threads.minutes)
    eight = estimate_needs(replace(task, symmetries=8, networks=(COST, COST)), block, windows=600, computed=900)
    assert eight.flops == 16 * one.flops
    assert eight.minutes == pytest.approx(16 * one.minutes)
    with caplog.at_level("INFO"):
        log_needs(replace(one, minutes=600.0), task.box, blocks=1000)
    assert "1.50 times the work" in caplog.text
    assert "600 min of computing in all: predict.jobs: 30 makes jobs of 20 min; 3 would take 4 hours" in caplog.text
    assert "predict.mvoxel_per_job: 3.5 makes jobs of 20 min" in caplog.text  # 105 Mvoxel


@pytest.mark.parametrize(
    ("minutes", "jobs", "said"),
    [(600.0, 300, "predict.jobs: 30 "), (600.0, 2, "predict.jobs: 30 "), (600.0, 30, ""), (1.0, 1, ""), (0.0, 9, "")],
)
def test_jobs_that_are_too_short_or_too_long_say_what_to_set(minutes, jobs, said, caplog):
    for job in (0, 1):
        warn_of_length(PredictionNeeds(minutes=minutes), 1000, job, jobs)
    assert len(caplog.records) == bool(said)
    assert said in caplog.text


def test_a_gpu_and_narrow_types_are_faster():
    task = make_task()
    minutes = [
        estimate_needs(replace(task, **options), (64, 64, 64), windows=9000, computed=9000).minutes
        for options in ({}, {"precision": "bfloat16"}, {"device": "cuda"})
    ]
    assert minutes == sorted(minutes, reverse=True)
    assert len(set(minutes)) == 3


def test_a_checkpoint_of_a_training_is_planned_without_its_network(tmp_path, monkeypatch):
    """What a window costs stands in the file; another window, or a file without it, builds the network."""
    cfg = BasicUnetConfig(filters=(4, 4, 4, 4, 4, 4))
    network = build_model(cfg, 1, 3).eval()
    costs = list_costs(network, 1, (32, 32, 32))
    assert all(layer.weight.is_contiguous() for layer in network.modules() if isinstance(layer, nn.Conv3d))
    for dtype in (torch.float32, torch.bfloat16):
        expected = measure_network(deepcopy(network), 1, (32, 32, 32), dtype)
        assert find_cost(json.loads(json.dumps(costs)), (32, 32, 32), dtype) == expected
    assert find_cost(costs, (32, 32, 48), torch.float32) is None
    assert find_cost(costs, (32, 32, 32), torch.float16) is None
    channels = [{"name": str(number), "target": "affinity", "activation": "sigmoid"} for number in range(3)]
    sizes = (1.0, 1.0, 1.0), (32, 32, 32), (16, 16, 16)
    meta = CheckpointMeta(describe_architecture(cfg), 1, channels, {"mean": 0, "std": 1}, *sizes, costs=costs)
    save_checkpoint(tmp_path / "with.ckpt", network, meta)
    save_checkpoint(tmp_path / "without.ckpt", network, replace(meta, costs=[]))
    built = []
    whole = members.load_checkpoint
    monkeypatch.setattr(members, "load_checkpoint", lambda path: built.append(path) or whole(path))
    (member,) = members.open_members([tmp_path / "with.ckpt"])
    assert not built
    assert torch.equal(next(member.network.parameters()), next(network.parameters()))
    assert member.network is member.network
    members.open_members([tmp_path / "without.ckpt"])
    assert built == [tmp_path / "with.ckpt", tmp_path / "without.ckpt"]
