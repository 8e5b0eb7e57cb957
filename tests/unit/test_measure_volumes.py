"""Measuring stores on disk: skeletons from labels, one segmented volume, the comparison of variants."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from connectomake.config.settings.data import SkeletonConfig, VolumeSource
from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.ingest.ingest import ingest_volume
from connectomake.ingest.skeletons import skeletons_of_volume
from connectomake.measure import segmentation
from connectomake.measure.segmentation import measure_segmentation
from connectomake.tables import write_columns
from connectomake.volumes.nodes import clip_skeletons
from connectomake.volumes.skeletons import Skeletons, load_skeletons, save_skeletons
from connectomake.volumes.store import write_store

SIZE_ZYX_NM = (40.0, 8.0, 4.0)
OFFSET_ZYX_NM = (1000.0, -16.0, 30.0)
SMALL = SkeletonConfig(const_nm=10.0, dust_vx=10)


@pytest.fixture
def truth() -> np.ndarray:
    """Two objects that no turn or flip maps onto themselves, and a strip of unknown."""
    array = np.zeros((20, 30, 60), np.int32)
    array[4:9, 10:15, 5:55] = 7
    array[4:18, 10:15, 50:55] = 7
    array[2:4, 2:28, 2:4] = 9
    array[:, :, 59] = -1
    return array


@pytest.fixture
def ingested(tmp_path: Path, truth: np.ndarray) -> Path:
    """The volume.json of raw data and truth labels."""
    place = {"voxel_size_zyx_nm": SIZE_ZYX_NM, "offset_zyx_nm": OFFSET_ZYX_NM}
    raw = np.random.default_rng(0).integers(0, 255, truth.shape).astype(np.uint8)
    write_store(tmp_path / "raw.zarr", raw, **place)
    write_store(tmp_path / "truth.zarr", truth, **place)
    source = VolumeSource(role="test", raw=str(tmp_path / "raw.zarr"), labels=str(tmp_path / "truth.zarr"))
    file = tmp_path / "ingest" / "volume.json"
    ingest_volume(source, name="a", volume_json=file)
    return file


def save_labels(folder: Path, array: np.ndarray, **place: object) -> Path:
    """Write a segmentation as decode does; gives its zarr.json."""
    place = {"voxel_size_zyx_nm": SIZE_ZYX_NM, "offset_zyx_nm": OFFSET_ZYX_NM} | place
    write_store(folder, array, attributes={"settings": {"threshold": 0.5}}, **place)
    return folder / "zarr.json"


def test_clipping_renumbers_edges_after_dropped_nodes() -> None:
    skeletons = Skeletons(
        np.array([[0, 1], [1, 2], [2, 3]]), np.arange(4), np.array([[-5.0, 0, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]])
    )
    found = clip_skeletons(skeletons, (3, 1, 1), (1, 1, 1), (0, 0, 0))
    assert found.edges.tolist() == [[0, 1], [1, 2]]
    assert found.node_skeleton_id.tolist() == [1, 2, 3]


def test_nodes_beyond_all_integers_are_outside() -> None:
    position = np.array([[0, 0, 0], [1e30, 0, 0], [0, -1e300, 0]])
    found = clip_skeletons(Skeletons(np.array([[0, 1]]), np.arange(3), position), (3, 1, 1), (1, 1, 1), (0, 0, 0))
    assert found.node_skeleton_id.tolist() == [0]
    assert len(found.edges) == 0


def test_a_perfect_segmentation_measures_perfect(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    store = save_labels(tmp_path / "labels.zarr", (np.maximum(truth, 0) * 3).astype(np.uint32))
    save_skeletons(tmp_path / "skeletons.npz", skeletons_of_volume(ingested, None, SMALL))
    found = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig(block_vx=1000), threads=2)
    numbers, table = found.numbers, found.per_skeleton
    assert (numbers["nerl"], numbers["voi_sum"], numbers["voxel_voi_sum"], numbers["adapted_rand_error"]) == (
        1,
        0,
        0,
        0,
    )
    assert (numbers["n_skeletons"], numbers["n_nodes_outside"], numbers["n_segments"]) == (2, 0, 2)
    assert numbers["n_truth_voxels"] == np.count_nonzero(truth > 0)
    assert numbers["per_volume"]["volume"] == "a"
    assert numbers["per_volume"]["labels"] == {"settings": {"threshold": 0.5}}
    assert table["skeleton_id"].tolist() == [7, 9]
    write_json(tmp_path / "metrics.json", numbers)
    json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} in the JSON"))


def test_truth_labels_alone_give_voxel_metrics_alone(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    found = measure_segmentation(
        save_labels(tmp_path / "labels.zarr", (truth > 0).view(np.uint8)), ingested, None, MeasureConfig()
    )
    numbers, table = found.numbers, found.per_skeleton
    assert "nerl" not in numbers
    assert numbers["voxel_voi_split"] == 0 < numbers["voxel_voi_merge"]
    assert "skeleton_id" in table
    assert all(len(column) == 0 for column in table.values())


def test_skeletons_alone_give_skeleton_metrics_alone(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    save_skeletons(tmp_path / "skeletons.npz", skeletons_of_volume(ingested, None, SMALL))
    write_json(ingested, json.loads(ingested.read_text()) | {"labels": None})
    store = save_labels(tmp_path / "labels.zarr", (truth > 0).view(np.uint8))
    numbers = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig()).numbers
    assert "voxel_voi_sum" not in numbers
    assert (numbers["n_mergers"], numbers["nerl"], numbers["nerl_inf"]) == (2, 0.0, 1.0)
    with pytest.raises(DataError, match="neither skeletons nor truth labels"):
        measure_segmentation(store, ingested, None, MeasureConfig())


def test_what_json_cannot_say_becomes_null(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    one_node = Skeletons(np.zeros((0, 2)), np.array([7]), np.array([OFFSET_ZYX_NM]))
    save_skeletons(tmp_path / "skeletons.npz", one_node)
    store = save_labels(tmp_path / "labels.zarr", truth.astype(np.int64))
    numbers = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig()).numbers
    assert numbers["nerl"] is None
    assert numbers["erl"] == 0.0


@pytest.fixture
def cut(truth: np.ndarray) -> np.ndarray:
    """A segmentation that cuts object 7 in two along x, at voxel 30, the shorter part on the left."""
    array = np.maximum(truth, 0).astype(np.uint32)
    array[:, :, :30][truth[:, :, :30] == 7] = 4
    return array


def test_errors_are_found_along_skeletons(ingested: Path, tmp_path: Path, cut: np.ndarray) -> None:
    voxel = np.array([[6, 12, x] for x in range(5, 55)])
    line = Skeletons(
        np.stack([np.arange(49), np.arange(1, 50)], axis=1), np.full(50, 70), voxel * SIZE_ZYX_NM + OFFSET_ZYX_NM
    )
    save_skeletons(tmp_path / "skeletons.npz", line)
    store = save_labels(tmp_path / "labels.zarr", cut)
    found = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig()).errors
    assert (found["kind"].tolist(), found["truth_a"].tolist()) == (["split"], [70])
    assert [found[name][0] for name in ("segment_a", "segment_b")] == [4, 7]  # 25 nodes each: the smaller id is kept
    assert [found[name][0] for name in ("z_vx", "y_vx")] == [6, 12]
    assert found["x_vx"][0] in (29, 30)
    assert found["lost_nm"].tolist() == [24 * SIZE_ZYX_NM[2]]
    none = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig(worst_errors=0)).errors
    assert all(len(column) == 0 for column in none.values())


def test_errors_are_found_in_voxels_where_skeletons_show_none(ingested: Path, tmp_path: Path, cut: np.ndarray) -> None:
    store = save_labels(tmp_path / "labels.zarr", cut)
    found = measure_segmentation(store, ingested, None, MeasureConfig()).errors
    assert (found["kind"].tolist(), found["truth_a"].tolist(), found["segment_b"].tolist()) == (["split"], [7], [4])
    assert found["lost_vx"].tolist() == [np.count_nonzero(cut == 4)]
    blind = Skeletons(np.zeros((0, 2)), np.array([9]), np.array([[3, 10, 3]]) * SIZE_ZYX_NM + OFFSET_ZYX_NM)
    save_skeletons(tmp_path / "skeletons.npz", blind)
    seen = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig()).errors
    assert seen["lost_vx"].tolist() == found["lost_vx"].tolist()
    ignored = measure_segmentation(store, ingested, None, MeasureConfig(ignore_labels=(7,))).errors
    assert len(ignored["kind"]) == 0


def test_clefts_are_measured_where_they_are_asked_for(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    shifted = np.roll(np.maximum(truth, 0), 1, axis=0).astype(np.uint32)
    store = save_labels(tmp_path / "labels.zarr", shifted)
    numbers = measure_segmentation(store, ingested, None, MeasureConfig(voxel_metrics=("clefts",))).numbers
    assert 0 < numbers["cleft_adgt_nm"] <= SIZE_ZYX_NM[0]
    assert "voxel_voi_sum" not in numbers
    assert "cleft_adgt_nm" not in measure_segmentation(store, ingested, None, MeasureConfig()).numbers


@pytest.mark.parametrize("backend", ["funlib", "both"])
def test_a_second_opinion_is_asked_for(
    ingested: Path, tmp_path: Path, cut: np.ndarray, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_skeletons(tmp_path / "skeletons.npz", skeletons_of_volume(ingested, None, SMALL))
    store, skeletons = save_labels(tmp_path / "labels.zarr", cut), tmp_path / "skeletons.npz"
    own = measure_segmentation(store, ingested, skeletons, MeasureConfig()).numbers
    theirs = {"nerl": own["nerl"], "n_splits": own["n_splits"] + 1}
    monkeypatch.setattr(segmentation, "funlib_metrics", lambda *_, **__: theirs)
    found = measure_segmentation(store, ingested, skeletons, MeasureConfig(backend=backend)).numbers
    assert found["n_splits"] == (theirs if backend == "funlib" else own)["n_splits"]
    assert ("erl" in found) == (backend == "both")
    told = found["per_volume"].get("backends", {})
    assert set(told) == (set(theirs) if backend == "both" else set())
    if backend == "both":
        assert [told[name]["within"] for name in ("nerl", "n_splits")] == [True, False]


def test_labels_of_another_place_are_refused(ingested: Path, tmp_path: Path) -> None:
    labels = np.ones((20, 30, 60), np.uint32)
    store = save_labels(tmp_path / "labels.zarr", labels, offset_zyx_nm=(0.0, 500.0, 0.0))
    said = r"does not lie in the volume of .*expected voxels in \[980.0, -20.0, 28.0\] to .*got \[-20.0, 496.0, -2.0\]"
    with pytest.raises(DataError, match=said):
        measure_segmentation(store, ingested, None, MeasureConfig())


def test_tables_keep_every_digit(tmp_path: Path) -> None:
    write_columns(
        tmp_path / "t.tsv",
        {"id": np.array([2**64 - 1], np.uint64), "x": np.array([0.1 + 0.2]), "n": [np.float64("nan")]},
    )
    assert (tmp_path / "t.tsv").read_text() == "id\tx\tn\n18446744073709551615\t0.30000000000000004\t\n"


@pytest.mark.parametrize(
    "preset", sorted((Path(__file__).parents[2] / "config" / "measure").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_preset_is_valid_and_the_default_is_the_models(preset: Path) -> None:
    found = MeasureConfig(**yaml.safe_load(preset.read_text()))
    assert (found == MeasureConfig()) == (preset.stem == "default")


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "fib25" / "fib25_medulla_z000-170.h5"


@pytest.mark.skipif(not REAL.is_file(), reason="../shared/data/fib25 is not there")
def test_real_neurons_measure_perfect_against_their_own_skeletons(tmp_path: Path) -> None:
    source = VolumeSource(
        role="test",
        raw=f"{REAL}::raw",
        labels=f"{REAL}::labels",
        box_zyx_vx=((20, 40, 40), (84, 168, 168)),
        voxel_size_zyx_nm=(10, 10, 10),
    )
    file = tmp_path / "volume.json"
    ingest_volume(source, name="fib25", volume_json=file)
    save_skeletons(
        tmp_path / "skeletons.npz", skeletons_of_volume(file, None, SkeletonConfig(const_nm=50, dust_vx=200))
    )
    assert len(np.unique(load_skeletons(tmp_path / "skeletons.npz").node_skeleton_id)) > 20
    numbers = measure_segmentation(
        tmp_path / "labels.zarr" / "zarr.json", file, tmp_path / "skeletons.npz", MeasureConfig()
    ).numbers
    assert numbers["nerl"] == 1.0
    assert numbers["voi_sum"] == numbers["voxel_voi_sum"] == 0
