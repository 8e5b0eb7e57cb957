"""What a Slurm cluster cannot do is one line before the first job; small scripts stand in place of Slurm's commands."""

import os

import pytest

COMMANDS = {"sinfo": 'echo "cpu*|infinite|64000|16|(null)"', "squeue": "true", "sacct": "true", "scontrol": "true"}
ON_GPU = ("--config", "override=train.device=cuda predict.device=cpu")


@pytest.fixture
def on_slurm(snakemake, tmp_path, small_config, monkeypatch):
    """Run Snakemake with the profile for Slurm on a cluster of one partition, without GPUs, to which no job must go."""
    folder, submitted = tmp_path / "bin", tmp_path / "submitted"
    folder.mkdir()
    for name, body in (COMMANDS | {"sbatch": f"touch {submitted}; exit 1"}).items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def run(partition, *arguments):
        file = tmp_path / "partitions.yaml"
        file.write_text(f"partitions: {{{partition}: {{max_gpu: 0}}}}\n")
        profile = ("--profile", "profiles/slurm", "--slurm-partition-config", file)
        told = snakemake(*profile, "--configfile", small_config, *arguments)
        assert not submitted.exists()
        return told

    return run


@pytest.mark.slow("starts Snakemake for each case")
@pytest.mark.parametrize(
    ("partition", "arguments", "words"),
    [
        ("cpux", ["-n"], ["no partition 'cpux'", "did you mean 'cpu'"]),
        ("cpu", ["-n", "--set-threads", "train_modell=4"], ["'train_modell'", "did you mean 'train_model'"]),
        ("cpu", ON_GPU, ["no partition holds a job of rule train_model", "expected gpu 1", "cpu with gpu 0"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(on_slurm, partition, arguments, words):
    told = on_slurm(partition, *arguments)
    assert told.returncode == 1
    last = told.stderr.strip().splitlines()[-1]
    assert all(word in last for word in words), told.stderr


@pytest.mark.slow("starts Snakemake")
def test_a_dry_run_tells_what_would_be_refused(on_slurm):
    told = on_slurm("cpu", "-n", *ON_GPU)
    assert told.returncode == 0
    assert "This would not run: no partition holds a job of rule train_model" in told.stderr
