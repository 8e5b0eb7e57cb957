"""Fewer bits are used where a check proved them right on this CPU, and nowhere else."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from connectomake.errors import ConfigError
from connectomake.precision import cache, choose, cpu, operations, proof, replay
from connectomake.precision.cpu import UNKNOWN, Cpu, describe_cpu, read_cpuinfo

CPU = torch.device("cpu")
SHAPE = (2, 1, 8, 8, 8)
AMX = (
    "Intel AVX-512 with float16, Intel DL Boost and bfloat16 support "
    "and Intel AMX with bfloat16 and 8-bit integer support"
)
ZEN4 = "Intel AVX-512 with Intel DL Boost and bfloat16 support"
CPUINFO = {
    "zen4": "model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512_bf16\n",
    "avx2": "processor\t: 0\nmodel name\t: Old\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: amx_bf16\n",
    "arm": "processor\t: 0\nFeatures\t: fp asimd bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n",
    "strange": "\x00what is this\n",
}


def make_network(groups=1):
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1, groups=groups))


def make_cpu(instructions):
    return Cpu("some CPU", frozenset(), instructions, "AVX512")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pretend(monkeypatch):
    """Let the CPU be another one, and its proof end in a certain way; give what is asked to be proven."""
    asked = []

    def set_up(instructions, fault=""):
        monkeypatch.setattr(choose, "describe_cpu", lambda: make_cpu(instructions))
        monkeypatch.setattr(choose, "find_fault", lambda c, dtype, ops: asked.append((dtype, ops)) or fault)
        return asked

    return set_up


@pytest.mark.parametrize(
    ("instructions", "fault", "learns", "predicts"),
    [
        (AMX, "", torch.bfloat16, torch.bfloat16),
        (AMX, "the output", torch.float32, torch.float32),
        (ZEN4, "", torch.float32, torch.bfloat16),
        ("Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions", "", torch.float32, torch.float32),
        ("Intel AVX2", "", torch.float32, torch.float32),
        (UNKNOWN, "", torch.float32, torch.float32),
    ],
)
def test_auto_is_what_was_proven_fast_and_right(pretend, caplog, instructions, fault, learns, predicts):
    pretend(instructions, fault)
    caplog.set_level(logging.INFO)
    network = make_network()
    assert choose.choose_for_training("auto", CPU, network, SHAPE) == learns
    assert choose.choose_for_prediction("auto", CPU, network.eval(), (1, *SHAPE[1:])) == predicts
    reasons = [record.message for record in caplog.records if record.message.startswith("computing in float32: ")]
    assert len(reasons) == [learns, predicts].count(torch.float32)
    assert all("some CPU" in reason for reason in reasons)


def test_depthwise_networks_stay_in_float32(pretend):
    asked = pretend(AMX)
    assert choose.choose_for_training("auto", CPU, make_network(groups=4), SHAPE) == torch.float32
    assert not asked


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_is_named_is_proven_or_refused(pretend, precision):
    network = make_network(groups=4).eval()
    dtype = getattr(torch, precision)
    asked = pretend(UNKNOWN)
    assert choose.choose_for_prediction(precision, CPU, network, SHAPE) == dtype
    assert [found for found, _ in asked] == [dtype]
    pretend(UNKNOWN, "the output of a convolution")
    with pytest.raises(ConfigError, match=f"predict.precision: {precision} gives wrong numbers on this CPU .*auto"):
        choose.choose_for_prediction(precision, CPU, network, SHAPE)


def test_float16_is_not_learnt_in_on_a_cpu():
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        choose.choose_for_training("float16", CPU, make_network(), SHAPE)


def test_float32_asks_nothing(monkeypatch):
    monkeypatch.setattr(choose, "describe_cpu", lambda: pytest.fail("asked"))
    assert choose.choose_for_training("float32", CPU, make_network(), SHAPE) == torch.float32
    assert choose.choose_for_prediction("float32", CPU, make_network(), SHAPE) == torch.float32


def test_operations_are_listed_with_shapes_layouts_and_what_learns():
    network = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.BatchNorm3d(4), nn.Flatten(), nn.Linear(256, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    found = operations.list_training_operations(network, SHAPE, seen=(1, 2))
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    sources = [next(arg for arg in op["args"] if isinstance(arg, dict) and len(arg["shape"]) > 1) for op in found]
    named = [(op["op"].split(".")[1], source["shape"], op["learns"]) for op, source in zip(found, sources, strict=True)]
    assert named == [
        ("convolution", [2, 1, 8, 8, 8], True), ("addmm", [2, 256], True),
        ("convolution", [1, 1, 8, 8, 8], False), ("addmm", [1, 256], False),
        ("convolution", [2, 1, 8, 8, 8], False), ("addmm", [2, 256], False),
    ]  # fmt: skip
    source, weight = found[0]["args"][:2]
    assert (source["grad"], weight["grad"]) == (False, True)
    assert found[0]["args"][3:5] == [[2, 2, 2], [1, 1, 1]]  # stride and padding
    (seen, *_) = operations.list_prediction_operations(make_network().eval(), (1, 1, 4, 4, 4))
    assert seen["args"][1]["stride"][1] == 1  # channels last
    assert not seen["learns"]


def test_a_network_that_needs_values_is_listed_by_a_copy():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Conv3d(1, 2, 1), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x) if float(x.sum()) == 0 else x

    network = Branches()
    found = operations.list_training_operations(network, SHAPE)
    assert [op["args"][0]["shape"][0] for op in found] == [2, 1]


def test_a_network_that_cannot_be_listed_computes_in_float32(pretend, caplog):
    class Refuses(nn.Conv3d):
        def forward(self, x):
            raise RuntimeError("not with these values\nand more")

    asked = pretend(AMX)
    caplog.set_level(logging.INFO)
    assert choose.choose_for_prediction("auto", CPU, Refuses(1, 1, 1), SHAPE) == torch.float32
    assert "cannot be checked (RuntimeError: not with these values)" in caplog.text
    with pytest.raises(ConfigError, match="cannot be checked"):
        choose.choose_for_prediction("bfloat16", CPU, Refuses(1, 1, 1), SHAPE)
    assert not asked


def test_every_architecture_can_be_listed(project):
    from connectomake.config.engine.compose import Presets
    from connectomake.models import build_model

    for name in ("demo", "banis", "maps", "cellmap_mini", "mednext_lucchi"):
        cfg = Presets(project).get("train", name, "test").settings
        network = build_model(cfg.model, 1, len(cfg.targets.channels), [c.target for c in cfg.targets.channels])
        found = operations.list_training_operations(network, (cfg.batch, 1, *cfg.patch_zyx_vx))
        assert len(found) > 10, name


def test_right_operations_pass_and_wrong_ones_are_named(monkeypatch):
    found = operations.list_training_operations(make_network(), (1, 1, 4, 4, 4))
    assert replay.find_wrong(found, torch.float32) == ""
    whole = replay._compute

    def spoil(operation, args, kwargs, dtype):
        for name, value in whole(operation, args, kwargs, dtype):
            if name == "gradient of argument 1" and dtype == torch.bfloat16:
                value = value.clone()
                value.view(-1)[0] = spoilt
            yield name, value

    monkeypatch.setattr(replay, "_compute", spoil)
    for spoilt in (float("nan"), 1e30, 7.0):
        wrong = replay.find_wrong(found, torch.bfloat16)
        assert wrong.startswith("the gradient of argument 1"), spoilt
        assert wrong.endswith("convolution of (1, 1, 4, 4, 4) with (4, 1, 3, 3, 3)")


def test_unwritten_memory_and_memory_beside_are_seen(monkeypatch):
    """A kernel that leaves a value unwritten finds NaN there, and one that writes beside its tensors is caught."""
    found = operations.list_training_operations(make_network(), (1, 1, 4, 4, 4))[:1]
    whole, guards = replay._compute, []
    monkeypatch.setattr(replay, "poison", lambda kept=replay.poison: guards.append(kept()) or guards[-1])

    def write_beside(operation, args, kwargs, dtype):
        if guards and dtype == torch.bfloat16:
            guards[-1][5][3] = 0.0
        yield from whole(operation, args, kwargs, dtype)

    monkeypatch.setattr(replay, "_compute", write_beside)
    assert replay.find_wrong(found, torch.bfloat16).startswith("memory beside the tensors was written")
    assert all(torch.isnan(block).all() for block in replay.poison())


def test_attention_and_products_are_compared_too():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 24)

        def forward(self, x):
            q, k, v = self.layer(x.flatten(2).transpose(1, 2)).reshape(len(x), -1, 3, 1, 8).permute(2, 0, 3, 1, 4)
            return nn.functional.scaled_dot_product_attention(q, k, v)

    found = operations.list_training_operations(Attends(), (2, 8, 2, 2, 2))
    names = {op["op"].split(".")[1] for op in found}
    assert {"mm", "_scaled_dot_product_flash_attention_for_cpu"} <= names
    assert replay.find_wrong(found, torch.bfloat16) == ""


def answers(returncode, stdout="", stderr=""):
    return lambda *args, **kwargs: subprocess.CompletedProcess(args, returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        (answers(0, '{"wrong": ""}'), ""),
        (answers(0, '{"wrong": "the output"}'), "the output"),
        (answers(-11), "the check crashed (SIGSEGV)"),
        (answers(-6), "the check crashed (SIGABRT)"),
        (answers(1, "", "Traceback\nImportError: torch"), "the check ended with code 1 (ImportError: torch)"),
    ],
)
def test_a_check_is_made_once_and_a_crash_counts_as_failed(monkeypatch, end, fault):
    calls = []
    monkeypatch.setattr(proof.subprocess, "run", lambda *args, **kwargs: calls.append(1) or end(*args, **kwargs))
    some = make_cpu(AMX)
    found = operations.list_training_operations(make_network(), SHAPE)
    assert [proof.find_fault(some, torch.bfloat16, found) for _ in range(2)] == [fault, fault]
    assert len(calls) == 1
    proof.find_fault(make_cpu(ZEN4), torch.bfloat16, found)  # another instruction set of the same CPU
    proof.find_fault(some, torch.float16, found)
    proof.find_fault(some, torch.bfloat16, found[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    proof.find_fault(some, torch.bfloat16, found)
    torch.set_num_threads(threads)
    assert len(calls) == 5


@pytest.mark.parametrize("end", [answers(-9), answers(-15)])
def test_a_check_that_was_killed_is_made_again(monkeypatch, end):
    calls = []
    monkeypatch.setattr(proof.subprocess, "run", lambda *args, **kwargs: calls.append(1) or end(*args, **kwargs))
    for _ in range(2):
        assert proof.find_fault(make_cpu(AMX), torch.bfloat16, []) == proof.UNFINISHED
    assert len(calls) == 2


def test_a_network_of_which_nothing_is_seen_is_not_proven():
    with pytest.raises(ConfigError, match="so nothing is proven"):
        choose.choose_proven("train.precision", "bfloat16", torch.device("cpu"), list)


def test_answers_survive_only_whole_and_for_their_key(tmp_path, monkeypatch):
    calls = []

    def find():
        calls.append(1)
        return f"answer {len(calls)}"

    assert [cache.look_up("kind", {"cpu": "a"}, find) for _ in range(2)] == ["answer 1"] * 2
    assert cache.look_up("kind", {"cpu": "b"}, find) == "answer 2"
    for file in (tmp_path / "cache/connectomake/arithmetic").iterdir():
        file.write_text(file.read_text()[:20])
    assert cache.look_up("kind", {"cpu": "a"}, find) == "answer 3"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # a folder that cannot be made
    assert [cache.look_up("kind", {"cpu": "a"}, find) for _ in range(2)] == ["answer 4", "answer 5"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache.look_up("kind", {"cpu": "a"}, find) == "answer 6"


def test_the_cpu_is_read_whatever_the_system_says(tmp_path):
    found = {}
    for name, text in CPUINFO.items():
        (tmp_path / name).write_text(text)
        found[name] = read_cpuinfo(tmp_path / name)
    assert found["zen4"] == ("AMD EPYC (25.17)", frozenset({"fpu", "avx2", "avx512_bf16"}))
    assert found["avx2"] == ("Old", frozenset({"fpu", "avx2"}))
    assert found["arm"][1] == frozenset({"fp", "asimd", "bf16"})
    for unknown in (found["strange"], read_cpuinfo(tmp_path / "missing")):
        assert unknown[0]
        assert not unknown[1]
    for name in ("missing", "strange", "avx2"):
        described = describe_cpu(tmp_path / name)
        assert not described.has_bfloat16
        assert not described.has_amx
        assert described.instructions == UNKNOWN


def test_the_instructions_are_those_that_onednn_uses_not_those_of_the_cpu(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cpu, "probe_instructions", lambda environ: asked.append(environ) or AMX)
    (tmp_path / "cpuinfo").write_text(CPUINFO["zen4"])
    for _ in range(2):
        assert describe_cpu(tmp_path / "cpuinfo", {}).has_amx
    assert len(asked) == 1
    monkeypatch.setattr(cpu, "probe_instructions", lambda environ: asked.append(environ) or "Intel AVX2")
    capped = describe_cpu(tmp_path / "cpuinfo", {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert len(asked) == 2
    assert not capped.has_bfloat16
    assert not capped.has_amx
    monkeypatch.setattr(cpu, "probe_instructions", lambda environ: None)
    assert describe_cpu(tmp_path / "cpuinfo", {"ONEDNN_MAX_CPU_ISA": "SSE41"}).instructions == UNKNOWN


def test_onednn_names_its_instruction_set():
    """The probe itself, as far as this CPU goes: AVX2 at most, as the environment says."""
    found = cpu.probe_instructions({"PATH": "", "ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert found is None or "AVX-512" not in found
    if torch.backends.mkldnn.is_available() and "avx2" in read_cpuinfo()[1]:
        assert found == "Intel AVX2"


@pytest.mark.slow("starts two processes that load torch")
def test_the_check_answers_in_a_process_of_its_own():
    found = operations.list_prediction_operations(make_network().eval(), (1, 1, 4, 4, 4))
    assert proof.replay("float32", found, 1) == ""
    request = json.dumps({"dtype": "float32", "operations": [], "threads": 1})
    done = subprocess.run(
        [sys.executable, "-m", "connectomake.precision.replay"],
        input=request, capture_output=True, text=True, env={"PYTHONPATH": str(proof.Path(proof.__file__).parents[2])},
    )  # fmt: skip
    assert json.loads(done.stdout) == {"wrong": ""}
