"""What all tests share: the project's root."""

import os
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
