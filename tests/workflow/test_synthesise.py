"""The generator at the smallest size: it runs, has nothing left to do, and its volumes become training data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from connectomake.split.table import read_split
from connectomake.volumes.volume import open_volume

pytestmark = pytest.mark.slow("starts Snakemake, which trains a generator and generates volumes")

SMALL = {
    "phantom.shape_zyx": [32, 32, 64],
    "synth.labels.kind": "conditional",
    "synth.autoencoder.codes": 32,
    "synth.stage1.max_steps": 4,
    "synth.stage1.adversary_from_step": 2,
    "synth.stage1.validate_every_steps": 4,
    "synth.stage2.max_steps": 2,
    "synth.stage2.validate_every_steps": 2,
    "synth.diffusion.max_steps": 4,
    "synth.diffusion.validate_every_steps": 4,
    "synth.generate.volumes": 2,
    "synth.generate.steps": 4,
    "synth.generate.formats": ["zarr", "nifti"],
}
PICTURES = ("synthesis.png", "reconstruction.png", "training.png")
VOLUMES = ("thick_0", "thick_1", "thin_0", "thin_1")
MIXED = {
    "data": "tissues",
    "override": {
        "data.synthetic": {"generator": "synth_tiny", "classes": ["thin"], "volumes": 1},
        "train.patch_zyx_vx": [32, 32, 32],
        "train.model.stem_factor": 1,
    },
}


# Python runs this first in every process; what it cannot reach, it writes down, should somebody catch the error.
NO_NETWORK = """
import socket

def refuse(self, address):
    if self.family == socket.AF_UNIX:
        return connect(self, address)
    open({asked!r}, "a").write(repr(address))
    raise OSError("no network in this test")

connect, socket.socket.connect = socket.socket.connect, refuse
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the network away from all processes that the test starts; gives the file that exists if one wanted it."""
    asked = tmp_path / "asked_for_the_network"
    (tmp_path / "without_network").mkdir()
    (tmp_path / "without_network/sitecustomize.py").write_text(NO_NETWORK.format(asked=str(asked)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without_network"))
    return asked


@pytest.fixture
def small_synthesis(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a config for a number of jobs, all into one folder of results."""

    def write(jobs: int, experiments: Any = "synth_tiny") -> Path:
        override = SMALL | {"synth.generate.jobs": jobs}
        config = {"experiments": experiments, "results": str(tmp_path / "results"), "override": override}
        path = tmp_path / f"{jobs}_jobs.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def read_volumes(made: Path) -> dict[str, np.ndarray]:
    """Read the voxels of all volumes and of their labels."""
    return {
        f"{name}/{kind}": open_volume(made / f"volumes/{name}/{kind}.zarr").read()
        for name in VOLUMES
        for kind in ("raw", "labels")
    }


def test_volumes_are_made_once_the_same_with_any_jobs_and_can_be_trained_on(
    snakemake, small_synthesis, asked, tmp_path
):
    told = snakemake("synthesise", "--configfile", small_synthesis(1))
    assert told.returncode == 0, told.stderr
    (table,) = (tmp_path / "results/synth").glob("*/*/*/metrics.tsv")
    made = table.parent
    assert not asked.exists(), asked.read_text()
    for name in PICTURES:
        assert (made / name).stat().st_size > 5000
    assert json.loads((made / "metrics.json").read_text())
    assert {path.name for path in (made / "volumes").glob("*/raw.nii.gz")} == {"raw.nii.gz"}
    volumes = read_volumes(made)
    assert volumes["thin_0/raw"].shape == (32, 32, 32)
    assert volumes["thin_0/raw"].dtype == np.uint8
    assert len({array.tobytes() for name, array in volumes.items() if name.endswith("raw")}) == len(VOLUMES)

    again = snakemake("synthesise", "-n", "--configfile", small_synthesis(1))
    assert "Nothing to be done" in again.stdout + again.stderr

    (made / "volumes").rename(made / "volumes_of_one_job")
    markers = [str(made / f"volumes/{job}-of-2.json") for job in range(2)]
    told = snakemake(*markers, "--configfile", small_synthesis(2))
    assert told.returncode == 0, told.stderr
    for name, array in read_volumes(made).items():
        assert np.array_equal(array, volumes[name]), name

    told = snakemake("--until", "make_datasplit", "--configfile", small_synthesis(2, {"mixed": MIXED}))
    assert told.returncode == 0, told.stderr
    assert "generate " not in told.stdout + told.stderr  # they are there
    rows = [read_split(path) for path in (tmp_path / "results/split").glob("*/*/split.tsv")]
    assert [row.role for table in rows for row in table if row.volume == "thin_0"] == ["train"]
    told = snakemake("plan", "--configfile", small_synthesis(2, {"mixed": MIXED}))
    assert told.returncode == 0, told.stderr
    assert "preset" in (tmp_path / "results/report/plan.tsv").read_text()
