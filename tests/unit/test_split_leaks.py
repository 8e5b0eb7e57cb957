"""Generated volumes in a split: nothing that their generator has seen may validate or test."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.split import SplitConfig
from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.geometry import Box
from connectomake.split.datasplit import make_datasplit
from connectomake.volumes.ingested import IngestedVolume, SeenBox
from connectomake.volumes.store import write_store
from ingest_volume import main as ingest

SIZE = (10.0, 10.0, 10.0)
SHAPE = (20, 24, 30)
RAW = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
BOX = ((0, 0, 10), (20, 24, 30))


@pytest.fixture
def linked(tmp_path: Path) -> str:
    """Write an array that is read as it lies."""
    write_store(tmp_path / "real.zarr", RAW, voxel_size_zyx_nm=SIZE)
    return f"{tmp_path / 'real.zarr'}"


@pytest.fixture
def converted(tmp_path: Path) -> str:
    """Write an array of which ingest makes a copy."""
    with h5py.File(tmp_path / "real.h5", "w") as file:
        file.create_dataset("raw", data=RAW).attrs["voxel_size_zyx_nm"] = SIZE
    return f"{tmp_path / 'real.h5'}::raw"


def bring_in(folder: Path, name: str, made: Path | None = None, **source: object) -> Path:
    volume_json = folder / "results" / "ingest" / name / "volume.json"
    ingest(source=VolumeSource.model_validate(source), name=name, volume_json=volume_json, made=made)
    return volume_json


def generate(folder: Path, *seen: tuple[str, Box]) -> Path:
    """Write a generated volume of 16^3 voxels, and ingest it."""
    notes = {"seen": [{"source": file, "start": box.start_zyx, "stop": box.stop_zyx} for file, box in seen]}
    labels = np.kron(np.arange(1, 9, dtype=np.uint32).reshape(2, 2, 2), np.ones((8, 8, 8), np.uint32))
    for part, array in (("raw", RAW[:16, :16, :16]), ("labels", labels)):
        write_store(folder / "thin_0" / f"{part}.zarr", array, voxel_size_zyx_nm=SIZE, attributes=notes)
    return bring_in(folder, "made", folder / "thin_0", role="train", generated="thin_0", source="synthetic")


def split(folder: Path, *volumes: Path, method: str = "role") -> list[tuple[str, str]]:
    cfg = SplitConfig.model_validate({"method": method, "axis": "x", "validate_fraction": 0.5})
    return [(row.volume, row.role) for row in make_datasplit(volumes, cfg, folder / "split.tsv")]


@pytest.mark.parametrize("kind", ["linked", "converted"])
def test_boxes_are_found_in_the_file_that_they_are_of(tmp_path, kind, request):
    source = request.getfixturevalue(kind)
    volume_json = bring_in(tmp_path, "part", role="test", raw=source, box_zyx_vx=BOX)
    file, box = IngestedVolume.read(volume_json).find_in_file(Box((1, 2, 3), (4, 5, 6)))
    assert file == (f"{source}::s0" if kind == "linked" else source)
    assert box == Box((1, 2, 13), (4, 5, 16))
    assert (read_json(volume_json)["raw"]["source"] == "raw.zarr") == (kind == "converted")


@pytest.mark.parametrize("kind", ["linked", "converted"])
@pytest.mark.parametrize("role", ["validate", "test"])
def test_a_generator_that_has_seen_what_is_held_out_is_refused(tmp_path, kind, role, request):
    source = request.getfixturevalue(kind)
    learnt = bring_in(tmp_path, "learnt", role="train", raw=source, box_zyx_vx=((0, 0, 0), (20, 24, 11)))
    held = bring_in(tmp_path, "held", role=role, raw=source, box_zyx_vx=BOX)
    seen = IngestedVolume.read(learnt).find_in_file(Box.of_shape((20, 24, 11)))
    made = generate(tmp_path, seen)
    assert IngestedVolume.read(made).seen == (SeenBox(*seen),)
    message = (
        rf"generator of volume 'made' .* of 'held', whose role is {role}.*voxels \[0, 0, 10\] to \[20, 24, 11\] of"
    )
    with pytest.raises(DataError, match=message):
        split(tmp_path, made, held)
    assert not (tmp_path / "split.tsv").exists()


def test_a_generator_that_has_seen_its_neighbours_alone_is_taken(tmp_path, linked):
    held = bring_in(tmp_path, "held", role="validate", raw=linked, box_zyx_vx=BOX)
    beside, elsewhere = Box.of_shape((20, 24, 10)), Box.of_shape(SHAPE)
    made = generate(tmp_path, (f"{linked}::s0", beside), (f"{tmp_path / 'other.zarr'}::s0", elsewhere))
    assert split(tmp_path, made, held) == [("made", "train"), ("held", "validate")]


def test_a_link_to_the_same_file_is_seen_through(tmp_path, linked):
    (tmp_path / "link.zarr").symlink_to(linked)
    held = bring_in(tmp_path, "held", role="test", raw=f"{tmp_path / 'link.zarr'}")
    with pytest.raises(DataError, match="has learnt from voxels of 'held'"):
        split(tmp_path, generate(tmp_path, (f"{linked}::s0", Box.of_shape((1, 1, 1)))), held)


def test_a_divided_volume_holds_out_its_part_and_a_generated_one_none(tmp_path, linked):
    real = bring_in(tmp_path, "real", role="train", raw=linked)
    near, far = Box.of_shape((20, 24, 15)), Box((0, 0, 15), SHAPE)
    made = generate(tmp_path, (f"{linked}::s0", near))
    roles = [("real", "train"), ("real", "validate"), ("made", "train")]
    assert split(tmp_path, real, made, method="slab") == roles
    made = generate(tmp_path, (f"{linked}::s0", far))
    with pytest.raises(DataError, match="has learnt from voxels of 'real', whose role is validate"):
        split(tmp_path, real, made, method="slab")
