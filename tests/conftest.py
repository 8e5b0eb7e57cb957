"""What all tests share: the project's root, and how many processes run them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectomake.provenance import kernel_cache

# The machine that tests run on has two cores, and two processes do; a test that needs more threads asks for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # see stage.py
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NUMBA_CACHE_DIR", str(kernel_cache()))  # that of the stages

TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run tests in two processes, each with whole files, unless -n says otherwise; what a GPU is timed with, in one.

    Not an option in pyproject.toml: a GPU's node may lack pytest-xdist, and then pytest would refuse it.
    """
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if config.option.numprocesses is None:
        config.option.numprocesses = 0 if asks_for_gpu(config) else 2
    if config.option.dist == "no":
        config.option.dist = "loadfile"


def pytest_configure(config: pytest.Config) -> None:
    """Show warnings on a GPU's node, whose versions are its own; elsewhere they are errors."""
    if asks_for_gpu(config):
        config.addinivalue_line("filterwarnings", "default")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out benchmarks that nobody names; and what -m gpu leaves out, whose imports a GPU's node may lack."""
    if collection_path.parent != TESTS or collection_path.name == "gpu":
        return None
    return True if collection_path.name == "benchmarks" or asks_for_gpu(config) else None


def asks_for_gpu(config: pytest.Config) -> bool:
    """Tell whether these are the tests that need a GPU, and no others."""
    return config.option.markexpr == "gpu"


@pytest.fixture(scope="session")
def project() -> Path:
    """Give the folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take back what a stage that ran within the test did to the root logger: the next test may count its records."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [h for h in root.handlers if getattr(h, "of_connectomake", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Take back what a library wrote into the environment: strategies of Lightning leave LOCAL_RANK and MASTER_PORT."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
