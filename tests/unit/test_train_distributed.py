"""Two processes that train together do what one does that accumulates two batches, also when they are interrupted."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from small_training import AUGMENT, SCRIPTS, read_rows, settings, train, weights_of

from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError
from connectomake.fitting.finite import diverged
from connectomake.fitting.processes import find_environment, first_does, gather, largest
from connectomake.fitting.states import list_states
from connectomake.train.patches import BEYOND

# The stage script, in which every process notes the patches that it makes, and something may happen to one.
SPIED = """
import os, runpy, signal, sys
from pathlib import Path
folder, scripts, step, poisoned = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.argv = [scripts + "/train_model.py", *sys.argv[5:]]
sys.path.insert(0, scripts)
from connectomake.train.patches import TrainingPatches
from connectomake.fitting.states import KeepState
make, begin, rank = TrainingPatches.__getitem__, KeepState.on_train_batch_start, os.environ["RANK"]

def noted(self, number):
    with (folder / "seen").open("a") as file:
        file.write(f"{number}\\n")
    sample = make(self, number)
    if number == poisoned:
        sample["raw"][:] = float("nan")
    return sample

def interrupted(self, trainer, *args):
    if trainer.global_step == step and rank == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    begin(self, trainer, *args)

TrainingPatches.__getitem__, KeepState.on_train_batch_start = noted, interrupted
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TALK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
import torch.distributed as dist
from connectomake.fitting.processes import average_buffers, first_does, gather, largest, rank
dist.init_process_group("gloo")
norm = torch.nn.BatchNorm3d(1)
norm.running_mean.fill_(rank() + 1.0)
average_buffers(norm)
asked = []
answer = first_does(lambda: asked.append(rank()) or "told")
said = [norm.running_mean.item(), answer, asked, gather(rank()), largest(float(rank()), torch.device("cpu"))]
if rank() == 1:
    print(json.dumps(said))
dist.destroy_process_group()
"""
NEVER = -1


def train_together(split, folder, cfg, stop_at=NEVER, poisoned=NEVER):
    folder.mkdir(exist_ok=True)
    (folder / "spied.py").write_text(SPIED)
    (folder / "train.yaml").write_text(yaml.safe_dump(cfg.model_dump(mode="json")))
    (folder / "augment.yaml").write_text(yaml.safe_dump(AUGMENT.model_dump(mode="json")))
    files = {"split": split, "config": folder / "train.yaml", "augment": folder / "augment.yaml"}
    files |= {"checkpoint": folder / "model.ckpt", "metrics": folder / "metrics.csv", "run-folder": folder / "run"}
    flags = [text for name, path in files.items() for text in (f"--{name}", path)]
    return run_twice(folder / "spied.py", folder, SCRIPTS, stop_at, poisoned, *flags)


def run_twice(*command):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        list(map(str, [*torchrun, *command])),
        capture_output=True,
        text=True,
        timeout=300,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )


def patches_seen(folder):
    """Return the numbers of the patches that were made to be learnt from."""
    numbers = [int(line) for line in (folder / "seen").read_text().split()]
    return [number for number in numbers if number < BEYOND]


@pytest.mark.slow("trains in two processes that torchrun starts")
def test_two_processes_are_one_that_accumulates(split, tmp_path):
    """One is asked to stop: both do at the same step, go on from there, and see every patch once."""
    # Not Adam: it makes whole steps of gradients that are 0 but for rounding, as those of biases before a norm.
    common = {
        "model": {"filters": [4, 4, 4, 4, 4, 4], "dropout": 0.1},
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
    }
    two, alone = settings(**common, devices=2, accumulate=2), settings(**common, accumulate=4)
    assert train(split, tmp_path / "alone", alone)
    told = train_together(split, tmp_path / "two", two, stop_at=5)
    assert told.returncode != 0
    assert "interrupted by SIGUSR1 at step 5" in told.stderr
    assert [path.stem for path in list_states(tmp_path / "two/run/states")] == ["step000000005", "step000000003"]
    seen = patches_seen(tmp_path / "two")
    assert set(range(5 * 4)) <= set(seen)
    assert len(set(seen)) == len(seen)

    (tmp_path / "two/seen").unlink()
    told = train_together(split, tmp_path / "two", two)
    assert told.returncode == 0, told.stderr
    assert sorted(patches_seen(tmp_path / "two")) == list(range(5 * 4, 12 * 4))
    ours, theirs = read_rows(tmp_path / "two/metrics.csv"), read_rows(tmp_path / "alone/metrics.csv")
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert [v and pytest.approx(float(v), rel=1e-4) for v in other.values()] == [
            v and float(v) for v in mine.values()
        ]
    weights, expected = weights_of(tmp_path / "two")[0], weights_of(tmp_path / "alone")[0]
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow("trains in two processes that torchrun starts")
def test_what_breaks_one_process_stops_all_alike(split, tmp_path):
    cfg = settings(devices=2, checkpoint_every_steps=1)
    told = train_together(split, tmp_path, cfg, poisoned=5)
    assert told.returncode != 0
    assert told.stderr.count("training diverged at step 3") == 2
    assert told.stderr.count("the input (raw), in patches [5] of train") == 2
    assert [path.name for path in (tmp_path / "run").glob("not_finite*")] == ["not_finite_step000000003_process1.pt"]
    assert list_states(tmp_path / "run/states")[0].stem == "step000000002"
    told = train_together(split, tmp_path, settings(devices=2, seed=1))
    assert told.returncode != 0
    assert "train.seed was 0, is now 1" in told.stderr


@pytest.mark.slow("torchrun starts two processes")
def test_processes_tell_each_other(tmp_path):
    (tmp_path / "talk.py").write_text(TALK)
    told = run_twice(tmp_path / "talk.py", SCRIPTS)
    assert json.loads(told.stdout) == [1.5, "told", [], [0, 1], 1.0], told.stderr


def test_other_many_processes_than_settings_are_refused(monkeypatch, split, tmp_path):
    with pytest.raises(ConfigError, match=r"expected 2 processes on 1 nodes; got 1 .* torchrun --nproc-per-node 2"):
        train(split, tmp_path, settings(devices=2))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="got 4 processes"):
        find_environment(TrainConfig())
    assert find_environment(TrainConfig(devices=2, nodes=2)).world_size() == 4


def test_processes_that_srun_started_are_found(monkeypatch):
    for name, value in {"NTASKS": "4", "NTASKS_PER_NODE": "2", "PROCID": "3", "LOCALID": "1", "NODEID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = find_environment(TrainConfig(devices=2, nodes=2))
    assert (found.world_size(), found.global_rank(), found.local_rank(), found.node_rank()) == (4, 3, 1, 1)
    assert not found.auto_requeue
    assert not find_environment(TrainConfig()).creates_processes_externally  # one process in a job of several


def test_alone_nothing_is_asked_of_others():
    assert first_does(lambda: 3) == 3
    assert gather("a") == ["a"]
    assert largest(2.0, torch.device("cpu")) == 2
    with pytest.raises(type(diverged(1, "x")), match="not finite: x"):
        first_does(lambda: (_ for _ in ()).throw(diverged(1, "x")))
