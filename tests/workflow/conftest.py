"""A small run of the whole workflow: a 48^3 phantom, a few steps of training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

SMALL = {
    "phantom.shape_zyx": [48, 48, 48],
    "train.model.filters": [4, 4, 8, 8, 8, 4],
    "train.model.stem_factor": 1,
    "train.patch_zyx_vx": [32, 32, 32],
    "train.max_steps": 6,
    "train.validate_every_steps": 3,
    "train.checkpoint_every_steps": 1,
    "train.device": "cpu",
    "train.precision": "float32",
    "predict.device": "cpu",
    "predict.precision": "float32",
    "predict.block_zyx_vx": [16, 16, 16],
    "predict.chunk_zyx_vx": [16, 16, 16],
    "predict.jobs": 2,
    "predict.overlap": 0.75,
}

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """Write a config that runs the experiment `phantom` at small size into a folder of its own."""
    config = {"experiments": "phantom", "results": str(tmp_path / "results"), "override": SMALL}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def command(*arguments: str | Path) -> list[str]:
    """Return the command line that runs Snakemake with the Python of the tests."""
    return [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """Return an environment in which coverage and warnings of the tests do not reach Snakemake."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONWARNINGS"))}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder that holds the project by links, for runs that are killed: others do not meet in their locks."""
    project = Path(__file__).resolve().parents[2]
    folder = tmp_path_factory.mktemp("checkout") / "main"
    folder.mkdir()
    for name in ("Snakefile", "config", "envs", "profiles", "scripts", "workflow"):
        (folder / name).symlink_to(project / name)
    return folder


@pytest.fixture
def snakemake(project: Path) -> Run:
    """Run Snakemake in the checkout, or in another folder, and return what it said."""

    def run(*arguments: str | Path, folder: Path = project) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*arguments), cwd=folder, capture_output=True, text=True, timeout=900, env=clean_environment()
        )

    return run


@pytest.fixture
def kill_snakemake_when(project: Path) -> Callable[..., bool]:
    """Run Snakemake, kill its whole process group without warning once a condition holds, and tell whether it was."""

    def run(condition: Callable[[], bool], *arguments: str | Path) -> bool:
        with subprocess.Popen(
            command(*arguments),
            cwd=project,
            env=clean_environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + 600
            while process.poll() is None and time.monotonic() < deadline:
                if condition():
                    os.killpg(process.pid, signal.SIGKILL)
                    return True
                time.sleep(0.02)
        return False

    return run
