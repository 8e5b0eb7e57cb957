"""What headers tell is checked before anything runs; each problem is one line that names its place in the config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from pydantic import ValidationError

from connectomake.config.settings.data import DataConfig, VolumeSource
from connectomake.errors import DataError, MissingDataError
from connectomake.ingest.checks import check_source, open_pair
from connectomake.sources import locate

SIZE = [30.0, 8.0, 8.0]
KEY = "config/data/mine.yaml: volumes.left"
SHAPE = (20, 30, 40)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, dtype, shape, size, offset in (
            ("raw", "uint8", SHAPE, SIZE, None),
            ("flat", "uint8", (30, 40), SIZE, None),
            ("nothing", "uint8", (0, 30, 40), SIZE, None),
            ("strings", "S3", SHAPE, SIZE, None),
            ("complex", "complex64", SHAPE, SIZE, None),
            ("unsized", "uint8", SHAPE, None, None),
            ("labels", "uint32", SHAPE, None, None),
            ("probabilities", "float32", SHAPE, None, None),
            ("smaller", "uint32", (20, 30, 39), None, None),
            ("coarser", "uint32", SHAPE, [30.0, 16.0, 16.0], None),
            ("moved", "uint32", SHAPE, SIZE, [0.0, 8.0, 0.0]),
            ("many", "uint32", (2, *SHAPE), SIZE, None),
        ):
            data = file.create_dataset(f"volumes/{name}", shape=shape, dtype=dtype)
            if size is not None:
                data.attrs["resolution"] = size
            if offset is not None:
                data.attrs["offset"] = offset
    return tmp_path / "a.h5"


def check(folder: Path, **source: object) -> None:
    check_source(VolumeSource(**{"role": "test", **source}), str(folder), KEY)


def test_a_good_volume_passes_and_silent_labels_take_over_size_and_position(file: Path) -> None:
    source = VolumeSource(
        role="train", raw="a.h5::volumes/raw", labels="a.h5::volumes/labels", box_zyx_vx=((1, 2, 3), (20, 30, 40))
    )
    check_source(source, str(file.parent), KEY)
    raw, labels = open_pair(source, str(file.parent))
    assert labels is not None
    assert raw.voxel_size_zyx_nm == labels.voxel_size_zyx_nm == tuple(SIZE)
    assert raw.offset_zyx_nm == labels.offset_zyx_nm == (30, 16, 24)


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ({"raw": "b.h5::raw"}, MissingDataError, r"b\.h5 does not exist; did you mean .*a\.h5"),
        ({"raw": "a.h5::raw"}, MissingDataError, r"no array 'raw' in .*did you mean .*a\.h5::volumes/raw"),
        ({"raw": "a.h5::volumes/rwa"}, MissingDataError, r"it holds volumes/coarser.*did you mean .*volumes/raw\?"),
        ({"raw": "a.h5::volumes/flat"}, DataError, "does not have the axes of a volume"),
        ({"raw": "a.h5::volumes/nothing"}, DataError, "is empty; expected at least one voxel"),
        ({"raw": "a.h5::volumes/complex"}, DataError, "type that cannot be used.*got complex64"),
        ({"raw": "a.h5::volumes/strings"}, DataError, "type that cannot be used"),
        ({"raw": "a.h5::volumes/unsized"}, DataError, r"voxel size .* is not known.*set voxel_size_zyx_nm"),
        ({"axes": "zcyx"}, DataError, r"expected 4 axes \(zcyx\); got shape \(20, 30, 40\).*the key axes"),
        ({"labels": "a.h5::volumes/lables"}, MissingDataError, r"did you mean .*volumes/labels\?"),
        ({"labels": "a.h5::volumes/probabilities"}, DataError, "not integers.*got float32"),
        ({"labels": "a.h5::volumes/smaller"}, DataError, r"shapes differ; expected \(20, 30, 40\).*got \(20, 30, 39\)"),
        ({"labels": "a.h5::volumes/coarser"}, DataError, r"voxel sizes differ.*got \(30.0, 16.0, 16.0\)"),
        ({"labels": "a.h5::volumes/moved"}, DataError, r"positions differ.*got \(0.0, 8.0, 0.0\)"),
        ({"labels": "a.h5::volumes/many"}, DataError, "have 2 channels"),
        ({"box_zyx_vx": ((0, 0, 0), (21, 30, 40))}, DataError, r"box does not lie in .*\(20, 30, 40\).*box_zyx_vx"),
        ({"voxel_size_zyx_nm": (30, 8, 9)}, DataError, "disagree about the voxel size"),
        ({"skeletons": "s.npz"}, MissingDataError, r"s\.npz does not exist; expected skeletons: \.npz"),
        ({"skeletons": "a.h5"}, DataError, r"a\.h5 .*not known; expected skeletons"),
    ],
)
def test_each_problem_is_one_line_with_its_place(file: Path, source: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        check(file.parent, **{"raw": "a.h5::volumes/raw", **source})
    assert str(caught.value).startswith(f"{KEY}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    source = VolumeSource(role="test", raw="a.h5::raw")
    with pytest.raises(
        MissingDataError, match=r"mine\.yaml: volumes\.left: the folder .*nisb does not exist; ask Ada for it"
    ):
        check_source(source, str(tmp_path / "nisb"), KEY, missing="ask Ada for it")


def test_a_phantom_needs_no_files() -> None:
    check_source(VolumeSource(role="train", phantom="tiny", skeletons="from_labels"), "", KEY)


def test_channels_of_raw_data_share_the_key_axes_with_labels(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("raw", data=np.zeros((40, 30, 20, 3), np.uint8))
    group.create_array("labels", data=np.zeros((40, 30, 20), np.uint8))
    source = {"raw": "a.zarr::raw", "labels": "a.zarr::labels", "axes": "xyzc", "voxel_size_zyx_nm": (30, 8, 8)}
    raw, labels = open_pair(VolumeSource(role="train", **source), str(tmp_path))
    assert labels is not None
    assert (raw.shape, labels.shape) == ((3, 20, 30, 40), (20, 30, 40))


def test_paths_start_at_the_folder_and_fill_in_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    assert locate("a/b.h5::raw", "$SCRATCH/em") == f"{tmp_path}/em/a/b.h5::raw"
    assert locate("/x/b.zarr", "em") == "/x/b.zarr"
    assert locate("b.tif") == "b.tif"
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(MissingDataError, match=r"NOWHERE/b\.tif names an environment variable that is not set"):
        locate("$NOWHERE/b.tif")


def test_only_the_package_of_the_format_is_imported(file: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "scripts")!r})
from connectomake.config.settings.data import VolumeSource
from connectomake.ingest.checks import check_source
heavy = {{"h5py", "zarr", "tifffile", "nibabel", "PIL", "torch"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
check_source(VolumeSource(role="test", raw="a.h5::volumes/raw"), {str(file.parent)!r}, "key")
assert heavy & set(sys.modules) == {{"h5py"}}, heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"role": "test"}, "exactly one of raw"),
        ({"role": "test", "raw": "a", "phantom": "b"}, "exactly one of raw"),
        ({"role": "test", "raw": "a", "skeletons": "from_labels"}, "from_labels needs labels"),
        ({"role": "test", "phantom": "a", "labels": "b"}, "a phantom brings its own labels"),
        ({"role": "test", "raw": "a", "box_zyx_vx": [[0, 0, 0], [5, 0, 5]]}, "must end after it starts"),
        ({"role": "test", "raw": "a", "box_zyx_vx": [[-1, 0, 0], [5, 5, 5]]}, "greater than or equal to 0"),
        ({"role": "test", "raw": "a", "axes": "zy"}, "axes are one small letter"),
        ({"role": "test", "raw": "a", "axes": "zyxz"}, "axes are one small letter"),
        ({"role": "test", "raw": "a", "voxel_size_zyx_nm": [8, 8, 0]}, "greater than 0"),
        ({"role": "test", "raw": "a", "weight": 0}, "greater than 0"),
        ({"role": "tset", "raw": "a"}, "'train', 'validate', 'test' or 'predict'"),
        ({"role": "test", "raw": "a", "voxel_size_nm": [8, 8, 8]}, "voxel_size_nm"),
    ],
)
def test_impossible_volumes_are_refused_by_the_model(source: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VolumeSource(**source)


def test_a_data_config_has_volumes() -> None:
    config = DataConfig.model_validate({"volumes": {"a": {"role": "predict", "raw": "a.h5::raw"}}})
    assert config.volumes["a"].weight == 1
    with pytest.raises(ValidationError, match="volumes"):
        DataConfig(volumes={})
