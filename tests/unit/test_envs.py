"""Where the workflow can run: pinned environments, containers made of them, and schedulers other than Slurm."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pinned_packages import read_pins

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
EVERYWHERE = {"mem_mb", "runtime", "gpu", "nodes"}  # what any scheduler can be told
CONDA = """#!/bin/sh
case "$*" in
  *info*) echo '{"conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
  *--version*) echo "conda 25.9.1" ;;
  *channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
esac
"""
QSUB = """#!/bin/sh
echo "$@" >> asked
for script; do :; done
touch train plain "$(grep -o "/[^']*[.]jobfinished" "$script")"
echo 1.server
"""
TWO_JOBS = """
rule all:
    input: "train", "plain"
    localrule: True
rule train:
    output: "train"
    threads: 3
    resources: mem_mb=7000, runtime=90, gpu=2
    shell: "touch {output}"
rule plain:
    output: "plain"
    shell: "touch {output}"
"""
A_RULE = re.compile(r"^rule (\w+):\n((?:[ \t]+.*\n|\n)*)", re.MULTILINE)


def rules() -> dict[str, str]:
    """Return the text of every rule by its name."""
    found = {name: text for file in [*RULES, ROOT / "Snakefile"] for name, text in A_RULE.findall(file.read_text())}
    assert len(found) > 30
    return found


def packages(env: str) -> list[str]:
    """Return what conda and pip install into an environment."""
    *conda, pip = yaml.safe_load((ROOT / "envs" / f"{env}.yaml").read_text())["dependencies"]
    return [*conda, *pip["pip"]]


def snakemake(*arguments: str | Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in the checkout, with the programs in a folder before all others."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    return told


@pytest.mark.parametrize("env", [env.stem for env in ENVS])
def test_everything_in_an_environment_is_pinned(env: str) -> None:
    tools = {"pip", "git", "cxx-compiler"}  # which build and fetch, and end up in nothing
    for package in packages(env):
        assert package in tools or re.search(r"=|^git\+https://.+@[0-9a-f]{7,40}$", package), package
    assert "python=3.11" in packages(env)


@pytest.mark.parametrize("env", ENVS, ids=lambda env: env.stem)
def test_an_environment_is_used_and_explains_itself(env: Path) -> None:
    text = "".join(file.read_text() for file in RULES)
    assert f'"../../envs/{env.name}"' in text
    assert env.read_text().startswith("# ")


def test_every_job_has_an_environment_that_exists() -> None:
    for name, text in rules().items():
        if re.search(r"^    (script|shell|run):", text, re.MULTILINE):
            assert re.search(r"^    conda:\n +(ENVIRONMENT|\"\.\./)", text, re.MULTILINE), name
    for file in RULES:
        for path in re.findall(r'"(\.\./\.\./envs/[^"]+)"', file.read_text()):
            assert (file.parent / path).is_file()


@pytest.mark.parametrize(("env", "apart"), [("connectomake", set()), ("funlib", set()), ("cellmap", {"zarr"})])
def test_environments_differ_where_they_must(env: str, apart: set[str]) -> None:
    ours = read_pins(ROOT / "requirements.txt")
    theirs = dict(package.split("==") for package in packages(env) if "==" in package)
    assert {name for name, version in theirs.items() if ours.get(name, version) != version} == apart


@pytest.mark.slow("starts Snakemake")
@pytest.mark.parametrize("targets", [[], ["segment"]], ids=["everything", "segment"])
def test_what_containerize_writes_makes_every_environment(tmp_path: Path, targets: list[str]) -> None:
    conda = tmp_path / "conda"  # Snakemake asks it what it is; nothing is installed
    conda.write_text(CONDA)
    conda.chmod(0o755)
    config = ["--config", f"results={tmp_path}/results"]
    told = snakemake(*targets, "--containerize", "dockerfile", *config, path=tmp_path)
    steps = [line for line in told.stdout.splitlines() if line and not line.startswith("#")]
    assert steps[0].startswith("FROM condaforge/miniforge3")
    copied = {step.split()[1] for step in steps if step.startswith("COPY ")}
    assert copied == {f"envs/{env.name}" for env in ENVS}
    assert sum("conda env create --prefix" in step for step in steps) == len(ENVS)


def test_only_training_on_nodes_is_slurms_own() -> None:
    asked = {
        name: set(re.findall(r"^ {8}(\w+)=", resources[1], re.MULTILINE))
        for name, text in rules().items()
        if (resources := re.search(r"^    resources:\n((?: {8}.*\n)+)", text, re.MULTILINE))
    }
    assert {name for name, resources in asked.items() if resources - EVERYWHERE} == {"train_on_nodes"}
    assert not [name for name, text in rules().items() if "srun" in text.lower() and name != "train_on_nodes"]


@pytest.mark.slow("starts Snakemake, which waits for jobs")
def test_another_scheduler_is_asked_for_what_a_rule_needs(tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="pip install -r requirements-dev.txt")
    (tmp_path / "Snakefile").write_text(TWO_JOBS)
    qsub = tmp_path / "qsub"
    qsub.write_text(QSUB)
    qsub.chmod(0o755)
    here = ["--directory", tmp_path, "-s", tmp_path / "Snakefile", "--seconds-between-status-checks", "1"]
    snakemake("--profile", ROOT / "profiles/generic", *here, path=tmp_path)
    asked = sorted((tmp_path / "asked").read_text().splitlines())
    assert [shlex.split(line)[:7] for line in asked] == [
        ["-V", "-N", "plain", "-l", "select=1:ncpus=1:mem=2000mb:ngpus=0", "-l", "walltime=30:00"],
        ["-V", "-N", "train", "-l", "select=1:ncpus=3:mem=7000mb:ngpus=2", "-l", "walltime=90:00"],
    ]
