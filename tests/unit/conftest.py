"""What several unit tests share: a small training, and a right submission to break."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two small volumes, one to train on and one to validate on, and give their split."""
    from small_training import make_split  # loads torch, which most tests do without

    return make_split(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def uninterrupted(split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on the split without a stop, and give the folder of the results."""
    from small_training import train  # as above

    folder = tmp_path_factory.mktemp("whole")
    assert train(split, folder)
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the right submission once."""
    from checked_submission import write_submission

    return write_submission(tmp_path_factory.mktemp("right") / "sub.zarr")


@pytest.fixture
def top(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the right submission to break."""
    return Path(shutil.copytree(written, tmp_path / "made" / "sub.zarr"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Write the manifest of the right submission."""
    from checked_submission import write_rows

    return write_rows(tmp_path / "manifest.csv")
