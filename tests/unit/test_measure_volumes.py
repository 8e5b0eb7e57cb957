"""Measuring stores on disk: skeletons from labels, one segmented volume, the comparison of variants."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from connectomake.config.data import VolumeSource
from connectomake.config.measure import MeasureConfig, SkeletonConfig
from connectomake.errors import DataError, MissingPackageError
from connectomake.measure.compare import compare_variants, write_comparison
from connectomake.measure.nodes import clip_skeletons, segment_at_nodes, voxel_at
from connectomake.measure.segmentation import measure_segmentation
from connectomake.measure.skeletonize import skeletonize_labels, skeletons_of_volume
from connectomake.measure.tables import write_table
from connectomake.volumes.files import write_json
from connectomake.volumes.ingest import ingest_volume
from connectomake.volumes.skeletons import Skeletons, load_skeletons, save_skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

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


@pytest.fixture
def labels(tmp_path: Path) -> Volume:
    return open_volume(tmp_path / "truth.zarr")


def save_labels(folder: Path, array: np.ndarray, **place: object) -> Path:
    """Write a segmentation as decode does; gives its zarr.json."""
    place = {"voxel_size_zyx_nm": SIZE_ZYX_NM, "offset_zyx_nm": OFFSET_ZYX_NM} | place
    write_store(folder, array, attributes={"settings": {"threshold": 0.5}}, **place)
    return folder / "zarr.json"


@pytest.mark.usefixtures("ingested")
def test_traced_nodes_lie_in_their_own_label_on_the_centres_of_voxels(labels: Volume, truth: np.ndarray) -> None:
    found = skeletonize_labels(labels, SMALL)
    segment, inside = segment_at_nodes(labels, found.node_pos_nm)
    assert inside.all()
    assert np.array_equal(segment, found.node_skeleton_id)
    assert set(found.node_skeleton_id.tolist()) == {7, 9}
    steps = (found.node_pos_nm - OFFSET_ZYX_NM) / SIZE_ZYX_NM
    assert np.abs(steps - np.rint(steps)).max() < 1e-9


@pytest.mark.usefixtures("ingested")
def test_traced_skeletons_run_along_the_axes_of_their_objects(labels: Volume) -> None:
    found = skeletonize_labels(labels, SMALL)
    voxel = voxel_at(found.node_pos_nm, SIZE_ZYX_NM, OFFSET_ZYX_NM)
    extent = {i: np.ptp(voxel[found.node_skeleton_id == i], axis=0) for i in (7, 9)}
    assert extent[9][1] >= 23  # along y
    assert extent[9][[0, 2]].max() <= 1
    assert extent[7][2] >= 40  # along x, then down z
    assert extent[7][0] >= 10
    for skeleton in (7, 9):  # each is one tree
        nodes = found.node_skeleton_id == skeleton
        assert np.count_nonzero(nodes[found.edges].all(axis=1)) == nodes.sum() - 1
        assert np.array_equal(nodes[found.edges[:, 0]], nodes[found.edges[:, 1]])


@pytest.mark.usefixtures("ingested")
def test_labels_below_the_dust_limit_get_no_skeleton(labels: Volume) -> None:
    assert set(skeletonize_labels(labels, SkeletonConfig(dust_vx=150)).node_skeleton_id.tolist()) == {7}
    assert len(skeletonize_labels(labels, SkeletonConfig(dust_vx=10**6)).node_pos_nm) == 0


@pytest.mark.usefixtures("ingested")
def test_two_processes_trace_what_one_traces(labels: Volume) -> None:
    one, two = skeletonize_labels(labels, SMALL), skeletonize_labels(labels, SMALL, threads=2)
    assert np.array_equal(one.node_pos_nm, two.node_pos_nm)
    assert np.array_equal(one.edges, two.edges)


@pytest.mark.usefixtures("ingested")
def test_without_kimimaro_the_error_says_what_to_do(labels: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kimimaro", None)
    with pytest.raises(MissingPackageError, match="pip install kimimaro"):
        skeletonize_labels(labels, SMALL)


def test_skeletons_of_a_file_are_clipped_to_the_volume(ingested: Path, tmp_path: Path) -> None:
    position = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, -1, 0], [30, 0, 0]]) * SIZE_ZYX_NM + OFFSET_ZYX_NM
    edges = np.array([[0, 1], [1, 3], [3, 4], [1, 2]])
    save_skeletons(tmp_path / "given.npz", Skeletons(edges, np.array([5, 5, 5, 5, 5]), position))
    found = skeletons_of_volume(ingested, tmp_path / "given.npz", SMALL)
    assert np.array_equal(found.node_pos_nm, position[:3])
    assert found.edges.tolist() == [[0, 1], [1, 2]]


def test_skeletons_in_another_frame_are_refused(ingested: Path, tmp_path: Path) -> None:
    far = Skeletons(np.zeros((0, 2)), np.ones(2), np.array([[1e6, 0, 0], [2e6, 0, 0]]))
    save_skeletons(tmp_path / "far.npz", far)
    with pytest.raises(DataError, match="none of the 2 nodes"):
        skeletons_of_volume(ingested, tmp_path / "far.npz", SMALL)


def test_clipping_renumbers_edges_after_dropped_nodes() -> None:
    skeletons = Skeletons(
        np.array([[0, 1], [1, 2], [2, 3]]), np.arange(4), np.array([[-5.0, 0, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]])
    )
    found = clip_skeletons(skeletons, (3, 1, 1), (1, 1, 1), (0, 0, 0))
    assert found.edges.tolist() == [[0, 1], [1, 2]]
    assert found.node_skeleton_id.tolist() == [1, 2, 3]


def test_a_perfect_segmentation_measures_perfect(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    store = save_labels(tmp_path / "labels.zarr", (np.maximum(truth, 0) * 3).astype(np.uint32))
    save_skeletons(tmp_path / "skeletons.npz", skeletons_of_volume(ingested, None, SMALL))
    numbers, table = measure_segmentation(
        store, ingested, tmp_path / "skeletons.npz", MeasureConfig(block_vx=1000), threads=2
    )
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
    numbers, table = measure_segmentation(
        save_labels(tmp_path / "labels.zarr", (truth > 0).view(np.uint8)), ingested, None, MeasureConfig()
    )
    assert "nerl" not in numbers
    assert numbers["voxel_voi_split"] == 0 < numbers["voxel_voi_merge"]
    assert "skeleton_id" in table
    assert all(len(column) == 0 for column in table.values())


def test_skeletons_alone_give_skeleton_metrics_alone(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    save_skeletons(tmp_path / "skeletons.npz", skeletons_of_volume(ingested, None, SMALL))
    write_json(ingested, json.loads(ingested.read_text()) | {"labels": None})
    store = save_labels(tmp_path / "labels.zarr", (truth > 0).view(np.uint8))
    numbers, _ = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig())
    assert "voxel_voi_sum" not in numbers
    assert (numbers["n_mergers"], numbers["nerl"], numbers["nerl_inf"]) == (2, 0.0, 1.0)
    with pytest.raises(DataError, match="neither skeletons nor truth labels"):
        measure_segmentation(store, ingested, None, MeasureConfig())


def test_what_json_cannot_say_becomes_null(ingested: Path, tmp_path: Path, truth: np.ndarray) -> None:
    one_node = Skeletons(np.zeros((0, 2)), np.array([7]), np.array([OFFSET_ZYX_NM]))
    save_skeletons(tmp_path / "skeletons.npz", one_node)
    store = save_labels(tmp_path / "labels.zarr", truth.astype(np.int64))
    numbers, _ = measure_segmentation(store, ingested, tmp_path / "skeletons.npz", MeasureConfig())
    assert numbers["nerl"] is None
    assert numbers["erl"] == 0.0


@pytest.mark.parametrize(
    ("shape", "place", "said"),
    [
        ((20, 30, 59), {}, "shape"),
        ((20, 30, 60), {"voxel_size_zyx_nm": (40.0, 8.0, 8.0)}, "voxel size"),
        ((20, 30, 60), {"offset_zyx_nm": (0.0, 0.0, 0.0)}, "offset"),
    ],
)
def test_labels_on_other_voxels_are_refused(
    ingested: Path, tmp_path: Path, shape: tuple, place: dict, said: str
) -> None:
    store = save_labels(tmp_path / "labels.zarr", np.ones(shape, np.uint32), **place)
    with pytest.raises(DataError, match=f"differ in {said}"):
        measure_segmentation(store, ingested, None, MeasureConfig())


def save_metrics(folder: Path, volume: str, **numbers: float | None) -> Path:
    write_json(folder / "metrics.json", numbers | {"per_volume": {"volume": volume}})
    return folder / "metrics.json"


def test_variants_are_sorted_and_the_best_named(tmp_path: Path) -> None:
    files = [
        save_metrics(tmp_path / "1", "b", nerl=0.9, voi_sum=2.0),
        save_metrics(tmp_path / "2", "a", nerl=0.1, voi_sum=1.0),
        save_metrics(tmp_path / "3", "a", nerl=0.4, voi_sum=3.0, voxel_voi_sum=0.5),
        save_metrics(tmp_path / "4", "b", nerl=0.5, voi_sum=None),
        save_metrics(tmp_path / "5", "b", nerl=0.99, voi_sum=0.1),
    ]
    table, best = compare_variants(files, ["y@t=1", "y@t=1", "x", "x", "only b"])
    assert table["variant"] == ["only b", "x", "x", "y@t=1", "y@t=1"]
    assert table["volume"] == ["b", "a", "b", "a", "b"]
    assert table["nerl"] == [0.99, 0.4, 0.5, 0.1, 0.9]
    assert table["voxel_voi_sum"] == [None, 0.5, None, None, None]
    assert best["nerl"]["variant"] == "y@t=1"
    assert best["nerl"]["mean"] == pytest.approx(0.5)
    assert best["voi_sum"] == {"variant": "y@t=1", "mean": 1.5}
    assert best["voxel_voi_sum"] == {"variant": "x", "mean": 0.5}
    write_comparison(table, best, tmp_path / "metrics.tsv", tmp_path / "all.json")
    lines = (tmp_path / "metrics.tsv").read_text().splitlines()
    assert lines[0] == "variant\tvolume\tnerl\tvoi_sum\tvoxel_voi_sum"
    assert lines[3] == "x\tb\t0.5\t\t"
    rows = json.loads((tmp_path / "all.json").read_text())["rows"]
    assert rows[0] == {"variant": "only b", "volume": "b", "nerl": 0.99, "voi_sum": 0.1, "voxel_voi_sum": None}


def test_a_variant_without_an_id_of_its_own_is_refused(tmp_path: Path) -> None:
    file = save_metrics(tmp_path, "a", nerl=1.0)
    with pytest.raises(DataError, match="come twice"):
        compare_variants([file, file], ["x", "x"])
    with pytest.raises(DataError, match="id of its variant"):
        compare_variants([file], ["x", "y"])


def test_tables_keep_every_digit(tmp_path: Path) -> None:
    write_table(
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
    numbers, _ = measure_segmentation(
        tmp_path / "labels.zarr" / "zarr.json", file, tmp_path / "skeletons.npz", MeasureConfig()
    )
    assert numbers["nerl"] == 1.0
    assert numbers["voi_sum"] == numbers["voxel_voi_sum"] == 0
