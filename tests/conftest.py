"""What all tests share: the project's root."""

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
