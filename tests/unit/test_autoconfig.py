"""Auto-configuration: what a machine has, what fits into it, and the preset that follows."""

import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.autoconfig import measure
from connectomake.autoconfig.autoconfigure import autoconfigure
from connectomake.autoconfig.child import Child
from connectomake.autoconfig.machine import Machine, find_machine
from connectomake.autoconfig.measure import Found, count_workers, list_patches
from connectomake.autoconfig.preset import explain, settings_of, write_preset
from connectomake.autoconfig.search import bisect_largest, divisors, patch_sizes
from connectomake.autoconfig.trials import Size, Trials, Tried, choose_precision, choose_size
from connectomake.config.engine.compose import Presets
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError, ConnectomakeError

GB = 10**9
MACHINE = Machine("node7", 12, "Slurm", 64 * GB, "cgroup")
TINY = """
model:
  filters: [4, 4, 4, 4, 4, 4]
targets:
  affinity:
    offsets_zyx_vx: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
patch_zyx_vx: [32, 32, 48]
batch: 2
accumulate: 3
max_steps: 1000
"""


@given(st.integers(0, 200), st.integers(0, 200))
def test_bisection_finds_the_largest_that_fits_in_few_trials(count, limit):
    asked = []
    found = bisect_largest(range(count), lambda size: bool(asked.append(size)) or size < limit)
    assert found == min(count, limit) - 1
    assert len(set(asked)) == len(asked) <= math.log2(count + 1) + 1


@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.sampled_from([1, 8, 16])] * 3), st.sampled_from([1.0, 2.0]))
def test_patches_ascend_and_suit_the_network(sides, divisor, largest):
    patch = tuple(side * d for side, d in zip(sides, divisor, strict=True))
    found = patch_sizes(patch, divisor, largest)
    assert [math.prod(p) for p in found] == sorted(math.prod(p) for p in found)
    assert len(set(found)) == len(found)
    assert (patch in found) == (patch != divisor)
    for p in found:
        assert all(side % d == 0 for side, d in zip(p, divisor, strict=True))
        assert all(side <= max(d, largest * whole) for side, d, whole in zip(p, divisor, patch, strict=True))


def test_batches_are_those_that_accumulate_to_the_effective_one():
    assert divisors(48) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 48]


def test_patches_are_those_that_the_settings_allow():
    unetr = TrainConfig.model_validate({"model": {"architecture": "monai_unetr"}, "patch_zyx_vx": (64, 64, 64)})
    assert list_patches(unetr, 2.0) == [(64, 64, 64)]
    assert list_patches(TrainConfig(), 1.0) == [(32, 32, 32), (48, 48, 48), (64, 64, 64)]


class System:
    """A made-up /proc and /sys."""

    def __init__(self, root):
        self.root = root
        self.write("proc/meminfo", "MemTotal: 100000000 kB\nMemAvailable: 60000000 kB\n")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def find(self, **environ):
        found = find_machine(environ, self.root)
        return found.cores, found.cores_by, found.memory_bytes, found.memory_by


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(40)), raising=False)
    return System(tmp_path)


def test_a_machine_without_limits_is_all_there(system):
    assert system.find() == (40, "affinity", 60_000_000 * 1024, "the machine")
    assert find_machine({}, system.root, threads=8).cores == 8


def test_slurm_limits_cores_and_memory(system):
    assert system.find(SLURM_CPUS_PER_TASK="6", SLURM_MEM_PER_NODE="32000") == (6, "Slurm", 32000 * 2**20, "Slurm")
    per_core = {"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "12", "SLURM_MEM_PER_CPU": "1000"}
    assert system.find(**per_core) == (6, "Slurm", 12000 * 2**20, "Slurm")
    assert system.find(SLURM_MEM_PER_NODE="0")[3] == "the machine"


def test_the_tightest_control_group_of_version_2_limits(system):
    system.write("proc/self/cgroup", "0::/job/step\n")
    system.write("sys/fs/cgroup/job/step/cpu.max", "max 100000\n")
    system.write("sys/fs/cgroup/job/cpu.max", "350000 100000\n")
    system.write("sys/fs/cgroup/job/memory.max", f"{8 * GB}\n")
    system.write("sys/fs/cgroup/job/memory.current", f"{3 * GB}\n")
    system.write("sys/fs/cgroup/job/memory.stat", f"anon 1\ninactive_file {GB}\n")
    system.write("sys/fs/cgroup/job/step/memory.max", "max\n")
    assert system.find() == (3, "cgroup", 6 * GB, "cgroup")


def test_a_control_group_of_version_1_limits(system):
    system.write("proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/\n1:name=systemd:/\n")
    system.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
    system.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    system.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{4 * GB}\n")
    system.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", f"{GB}\n")
    system.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    system.write("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GB}\n")
    assert system.find() == (2, "cgroup", 3 * GB, "cgroup")
    system.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert system.find()[0] == 40


class Fake:
    """A child whose steps take memory and time in proportion to the voxels; it notes what it was asked."""

    def __init__(self, most_bytes, bytes_per_voxel=1000, seconds_per_voxel=0.0, factors=None):
        self.most_bytes, self.bytes_per_voxel, self.seconds_per_voxel = most_bytes, bytes_per_voxel, seconds_per_voxel
        self.factors = factors or {"float32": 1.0, "bfloat16": 0.5}
        self.asked = []

    def ask(self, request, deadline):
        voxels = request["batch"] * math.prod(request["patch_zyx"])
        peak = GB + self.bytes_per_voxel * voxels
        self.asked.append(voxels)
        if peak > self.most_bytes:
            return {"failed": "memory"}
        return {"seconds": self.seconds_per_voxel * voxels * self.factors[request["precision"]], "peak_bytes": peak}


def trials_of(child, on_gpu, budget_s=1000.0):
    return Trials(child, GB, None if on_gpu else child.most_bytes, time.monotonic() + budget_s)


PATCHES = patch_sizes((128, 128, 128), (16, 16, 16))


@given(st.integers(1, 2000), st.booleans(), st.sampled_from([1, 8, 48]))
def test_the_largest_patch_and_batch_are_found_and_a_cpu_is_never_overfilled(room_gb, on_gpu, effective):
    child = Fake(room_gb * GB // 10 + 2 * GB)
    trials = trials_of(child, on_gpu)
    trials.precision = choose_precision(trials, PATCHES, ["float32", "bfloat16"])
    size = choose_size(trials, PATCHES, (128,) * 3, divisors(effective))
    voxels = (child.most_bytes - GB) // child.bytes_per_voxel
    assert size.patch_zyx == max((p for p in PATCHES if math.prod(p) <= voxels), key=math.prod)
    assert size.batch == max(d for d in divisors(effective) if d * math.prod(size.patch_zyx) <= voxels)
    assert on_gpu or max(child.asked) <= voxels
    assert len(child.asked) <= 20


def test_a_larger_patch_is_found_where_that_is_asked():
    child = Fake(GB + 1000 * 160**3)
    trials = trials_of(child, on_gpu=True)
    assert choose_size(trials, patch_sizes((128,) * 3, (16,) * 3, 2.0), (128,) * 3, [1, 2]) == Size((160,) * 3, 1)


def test_what_there_is_no_time_for_is_expected_on_a_cpu_and_left_on_a_gpu():
    for on_gpu, batch in ((False, 8), (True, 1)):
        child = Fake(10**12, seconds_per_voxel=1e-5)
        trials = trials_of(child, on_gpu, budget_s=30.0)
        trials.precision = choose_precision(trials, PATCHES, ["float32"])
        assert max(child.asked) < 128**3
        if on_gpu:
            trials.deadline = time.monotonic() - 1
            trials.done.append(Tried(Size((128,) * 3), "float32", 20.0, GB))
        size = choose_size(trials, PATCHES, (128,) * 3, [1, 2, 4, 8])
        assert size == Size((128,) * 3, batch)
        seconds, held = trials.expect(Size((128,) * 3, 8), "float32")
        if not on_gpu:
            assert (seconds, held) == (pytest.approx(8e-5 * 128**3), pytest.approx(GB + 8000 * 128**3))


@pytest.mark.parametrize(
    ("factors", "chosen"),
    [
        ({"float32": 1.0, "bfloat16": 0.5, "float16": 0.49}, "bfloat16"),
        ({"float32": 1.0, "bfloat16": 0.5, "float16": 0.4}, "float16"),
        ({"float32": 1.0, "bfloat16": 1.2, "float16": 0.99}, "float32"),
    ],
)
def test_of_equally_fast_precisions_that_of_the_larger_range_is_chosen(factors, chosen):
    child = Fake(10**12, seconds_per_voxel=1e-9, factors=factors)
    assert choose_precision(trials_of(child, on_gpu=True), PATCHES, list(factors)) == chosen


def test_what_does_not_fit_at_all_is_said():
    trials = trials_of(Fake(GB), on_gpu=True)
    with pytest.raises(ConfigError, match="32 x 32 x 32 in float32: does not fit"):
        choose_precision(trials, PATCHES, ["float32"])
    with pytest.raises(ConfigError, match="not even the smallest patch"):
        choose_size(trials, PATCHES, (128,) * 3, [1])


@pytest.mark.parametrize(
    ("busy", "cores", "workers"), [(0.1, 8, 1), (3, 8, 4), (40, 8, 7), (3, 1, 1), (math.nan, 32, 8)]
)
def test_workers_follow_from_the_loader(busy, cores, workers):
    assert count_workers(busy, cores) == workers


def found_on(gpus, **changes):
    values = {
        "machine": MACHINE,
        "gpus": gpus,
        "parameters": 5_000_000,
        "size": Size((96, 96, 96), 2),
        "precision": "bfloat16",
        **{"accumulate": 4, "devices": 1, "workers": 11, "memory_gb": 16.0},
        **{"step_s": 0.1, "is_measured": True, "patches_per_s": 1.0},
        "tried": [Tried(Size((128, 128, 128)), "bfloat16", failed="memory")],
    }
    return Found(**(values | changes))


def test_the_explanation_says_what_to_expect(project):
    cfg = Presets(project).get("train", "banis", "the test").settings
    on_gpu = "\n".join(explain("banis", cfg, found_on([("H100", 70 * GB, 80 * GB)])))
    assert "node7, cores: 12 (Slurm), 64.0 GB of memory at hand (cgroup)" in on_gpu
    assert "H100: 70.0 of 80.0 GB free" in on_gpu
    assert "1 x 128 x 128 x 128 in bfloat16: does not fit" in on_gpu
    assert "11 workers, all the cores there are, are too few" in on_gpu
    assert "0.727 s a step; 50,000 steps take about 10.1 hours" in on_gpu
    assert "[96, 96, 96] instead of [128, 128, 128]" in on_gpu
    assert "no GPU" not in on_gpu
    on_cpu = "\n".join(explain("banis", cfg, found_on([], step_s=30.0, workers=0, is_measured=False)))
    assert "no GPU" in on_cpu
    assert "120 s a step (extrapolated" in on_cpu
    assert "50,000 steps take about 69.4 days" in on_cpu


def test_a_written_preset_resolves_and_one_by_hand_is_kept(tmp_path):
    folder = tmp_path / "config" / "train"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(TINY)
    cfg = Presets(tmp_path).get("train", "tiny", "the test").settings
    found = found_on([], size=Size((32, 32, 32), 2), accumulate=3)
    for _ in range(2):  # a measured one is replaced
        write_preset(folder / "tiny_auto.yaml", "tiny", cfg, found)
    read = Presets(tmp_path).get("train", "tiny_auto", "the test").settings
    assert read.model == cfg.model
    for key, value in settings_of(cfg, found).items():
        assert getattr(read, key) == (tuple(value) if isinstance(value, list) else value)
    (folder / "tiny_auto.yaml").write_text("base: tiny\nbatch: 1\n")
    (tmp_path / "config" / "augment").mkdir()
    (tmp_path / "config" / "augment" / "default.yaml").write_text("")
    with pytest.raises(ConfigError, match="was not written by autoconfig"):
        autoconfigure(tmp_path, "tiny")
    assert (folder / "tiny_auto.yaml").read_text() == "base: tiny\nbatch: 1\n"


def test_a_trial_that_takes_too_much_is_stopped():
    settings = {"train": {}, "split": None, "gpu_share": 0.9, "threads": 1}
    with Child(settings, 1, 10**7) as child, pytest.raises(ConnectomakeError, match="not enough memory"):
        child.start(time.monotonic() + 100)
    assert child.process is None
    with Child(settings, 1, 10**12) as child:
        assert child.ask({}, time.monotonic()) == {"failed": "time"}


@pytest.mark.slow("starts processes that train")
def test_a_process_that_the_system_killed_did_not_fit():
    settings = {"train": {"device": "cpu"}, "split": None, "gpu_share": 0.9, "threads": 1}
    request = {"patch_zyx": [32, 32, 64], "batch": 1, "precision": "float32"}
    with Child(settings, 1, 10**12) as child:
        child.start(time.monotonic() + 100)
        child.process.kill()
        child.process.wait()
        assert child.ask(request, time.monotonic() + 100) == {"failed": "memory"}
        assert child.ask(request, time.monotonic() + 100)["seconds"] > 0


def test_a_training_that_does_not_work_says_why(tmp_path):
    settings = {"train": {}, "split": str(tmp_path / "no.tsv"), "gpu_share": 0.9, "threads": 1}
    with Child(settings, 1, 10**12) as child, pytest.raises(ConnectomakeError, match=r"no split .*no\.tsv"):
        child.start(time.monotonic() + 100)


@pytest.mark.slow("starts processes that train")
def test_a_preset_is_fitted_to_this_machine(tmp_path, monkeypatch):
    """The whole of it, on a CPU: real steps of a tiny network in a process of its own."""
    monkeypatch.setattr(measure, "LOADER_S", 0.5)
    for stage in ("train", "augment"):
        (tmp_path / "config" / stage).mkdir(parents=True)
    (tmp_path / "config/train/tiny.yaml").write_text(TINY + "device: cpu\n")
    (tmp_path / "config/augment/default.yaml").write_text("")
    file = autoconfigure(tmp_path, "tiny_auto", budget_s=60, threads=1)
    assert file == tmp_path / "config/train/tiny_auto.yaml"
    cfg = Presets(tmp_path).get("train", "tiny_auto", "the test").settings
    assert (cfg.batch * cfg.accumulate, cfg.patch_zyx_vx, cfg.workers, cfg.devices) == (6, (32, 32, 48), 0, 1)
    assert cfg.precision in ("float32", "bfloat16")
    text = file.read_text()
    for word in ("GB of memory at hand", "torch 2", "patches a second for one worker", "s a step", "1,000 steps take"):
        assert word in text
    assert f"6 x 32 x 32 x 48 in {cfg.precision}" in text
