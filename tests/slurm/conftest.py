"""Snakemake on a real Slurm of one node, in a checkout of its own."""

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from one_node import OneNode, why_not

# What the profile leaves to a site: here there is no accounting, and nobody wants to wait.
SITE = [
    *("--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "2"),
    *("--latency-wait", "10"),
]


@pytest.fixture(scope="session")
def cluster() -> Iterator[OneNode]:
    """Start Slurm, and stop it."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    node = OneNode()
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def check_out(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder which holds the project by links: with results, locks and runs of its own.

    Beside the project it holds `small.yaml`: the experiment `phantom` at the size of the workflow's other tests; keys
    of `train` may be changed.
    """
    small = runpy.run_path(str(project / "tests/workflow/conftest.py"))["SMALL"] | {"predict.overlap": 0.5}

    def make(**train: object) -> Path:
        folder = tmp_path_factory.mktemp("checkout")
        for name in ("Snakefile", "config", "envs", "profiles", "scripts", "workflow"):
            (folder / name).symlink_to(project / name)
        override = small | {f"train.{key}": value for key, value in train.items()}
        config = {"experiments": "phantom", "override": override}
        (folder / "small.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


class Run:
    """Snakemake at work, and what it says."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.folder = folder
        self.said = folder / f"said{len(list(folder.glob('said*')))}.txt"
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST", "PYTHONWARNINGS"))}
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *map(str, arguments)],
                cwd=folder,
                env=environment | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
                start_new_session=True,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def wait(self, timeout_s: float = 400) -> str:
        """Wait for the end, which has to be a good one, and give what was said."""
        assert self.process.wait(timeout_s) == 0, self.said.read_text()
        return self.said.read_text()

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 200) -> None:
        """Wait for a condition that comes true while Snakemake works."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill Snakemake without warning, and not its jobs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def here() -> Iterator[Callable[..., Run]]:
    """Return a function that starts Snakemake without Slurm, in a folder."""
    yield from starter("--cores", "2")


@pytest.fixture(scope="session")
def on_slurm(cluster: OneNode, project: Path) -> Iterator[Callable[..., Run]]:
    """Return a function that starts Snakemake with the profile for Slurm, in a folder."""
    yield from starter("--profile", project / "profiles/slurm", *SITE)


def starter(*options: str | Path) -> Iterator[Callable[..., Run]]:
    """Return a function that starts Snakemake with some options, and kill what is left in the end."""
    runs = []

    def start(folder: Path, *arguments: str | Path) -> Run:
        runs.append(Run(folder, *options, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
