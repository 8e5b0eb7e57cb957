"""A training in several processes, started by the workflow."""

import json
from pathlib import Path

import pytest
import yaml


def with_override(config: Path, **changes) -> Path:
    values = yaml.safe_load(config.read_text())
    values["override"] |= {f"train.{key}": value for key, value in changes.items()}
    config.write_text(yaml.safe_dump(values))
    return config


@pytest.mark.slow("starts Snakemake, which trains in two processes")
def test_two_processes_are_started_and_write_one_model(snakemake, small_config, tmp_path):
    config = with_override(small_config, devices=2)
    planned = snakemake("--configfile", config, "-n", "-p", "--until", "train_on_devices")
    assert planned.returncode == 0, planned.stderr
    said = planned.stdout + planned.stderr
    assert "--nproc-per-node 2" in said
    assert "train_on_devices" in said
    assert "train_model " not in said
    told = snakemake("--configfile", config, "--until", "train_on_devices")
    assert told.returncode == 0, told.stderr
    (model,) = (tmp_path / "results/train").rglob("model.ckpt")
    folder = model.parent
    assert (folder / "metrics.csv").read_text().startswith("step,")
    record = json.loads((folder / "provenance/train_model.json").read_text())
    assert record["arguments"]["cfg"]["devices"] == 2
    (log,) = (tmp_path / "results/log/train_on_devices").rglob("*.log")
    assert log.read_text().count(" parameters, ") == 1  # one process writes it


@pytest.mark.slow("starts Snakemake")
def test_several_nodes_are_asked_of_slurm(snakemake, small_config):
    config = with_override(small_config, devices=4, nodes=2, device="cuda")
    planned = snakemake("--configfile", config, "-n", "-p", "--until", "train_on_nodes")
    assert planned.returncode == 0, planned.stderr
    said = planned.stdout + planned.stderr
    assert "srun --nodes 2 --ntasks 2 --kill-on-bad-exit=1" in said
    assert "--nnodes 2" in said
    assert "--gres gpu:4" in said
