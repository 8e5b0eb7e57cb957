"""The worst errors by hand: what counts as one, what it costs, where it lies, and that ids stay exact."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from connectomake.errors import DataError
from connectomake.measure.contingency import Contingency, contingency
from connectomake.measure.gather_errors import gather_errors, whole_links
from connectomake.measure.nearest import Forest, nearest_to_median
from connectomake.measure.worst_errors import find_errors
from connectomake.measure.worst_voxel_errors import find_voxel_errors
from connectomake.tables import write_columns
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SIZE_ZYX_NM = (20.0, 10.0, 10.0)
OFFSET_ZYX_NM = (0.0, 1000.0, 0.0)
COLUMNS = ["kind", "rank", "z_nm", "y_nm", "x_nm", "z_vx", "y_vx", "x_vx", "truth_a", "truth_b"]
COLUMNS += ["segment_a", "segment_b", "lost_nm", "lost_vx"]


def find_on_paths(*paths: tuple[int, list[int]], worst: int = 10, y_step_nm: float = 100.0) -> dict[str, np.ndarray]:
    """Find the errors on straight paths along x, given as (skeleton, segment of every node), nodes 10 nm apart."""
    edges, skeleton, segment, position = [], [], [], []
    for row, (skeleton_id, segments) in enumerate(paths):
        first = len(skeleton)
        edges += [(first + i, first + i + 1) for i in range(len(segments) - 1)]
        skeleton += [skeleton_id] * len(segments)
        segment += segments
        position += [(0.0, 1000.0 + row * y_step_nm, 10.0 * i) for i in range(len(segments))]
    skeletons = Skeletons(np.array(edges), np.array(skeleton), np.reshape(position, (-1, 3)))
    return find_errors(
        skeletons,
        np.array(segment, np.uint64),
        worst=worst,
        voxel_size_zyx_nm=SIZE_ZYX_NM,
        offset_zyx_nm=OFFSET_ZYX_NM,
    )


def rows_of(table: dict[str, np.ndarray], *names: str) -> list[tuple]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


IDS = ("kind", "truth_a", "truth_b", "segment_a", "segment_b", "lost_nm")


def test_a_split_edge_lies_in_its_middle_and_costs_the_shorter_run() -> None:
    found = find_on_paths((1, [5, 5, 5, 5, 8, 8]))
    assert list(found) == COLUMNS
    assert rows_of(found, *IDS) == [("split", 1, 1, 5, 8, 10.0)]
    assert rows_of(found, "rank", "z_nm", "y_nm", "x_nm", "z_vx", "y_vx", "x_vx") == [(1, 0.0, 1000.0, 35.0, 0, 0, 4)]
    assert np.isnan(found["lost_vx"]).all()


def test_a_stretch_of_background_splits_in_its_middle() -> None:
    found = find_on_paths((1, [5, 5, 5, 0, 0, 0, 8, 8]))
    assert rows_of(found, *IDS, "x_nm") == [("split", 1, 1, 5, 8, 10.0, 40.0), ("missing", 1, 1, 0, 0, 40.0, 40.0)]


def test_background_within_or_behind_a_segment_splits_nothing_and_is_missing_stretch_by_stretch() -> None:
    found = find_on_paths((1, [5, 5, 0, 5, 5, 0, 0]), (2, [0, 0, 0, 0]), (3, [0]))
    assert rows_of(found, *IDS, "rank", "x_nm") == [
        ("missing", 2, 2, 0, 0, 30.0, 1, 10.0),
        ("missing", 1, 1, 0, 0, 20.0, 2, 20.0),
        ("missing", 1, 1, 0, 0, 20.0, 3, 50.0),
    ]
    assert len(find_on_paths((1, [5, 0, 0, 5]), (2, [0, 0, 0]), worst=1)["kind"]) == 1


def test_several_places_between_two_segments_are_one_split_at_the_middle_place() -> None:
    found = find_on_paths((1, [5, 8, 8, 5, 5, 5, 8, 5, 5, 5, 5, 0, 8]))
    assert rows_of(found, *IDS) == [("split", 1, 1, 5, 8, 10.0), ("missing", 1, 1, 0, 0, 20.0)]
    assert found["x_nm"].tolist() == [55.0, 110.0]  # of 5, 25, 55, 65 and 110


def test_the_segments_around_a_stretch_of_background_are_parted_from_the_longest() -> None:
    position = np.array([(0, 1000, x) for x in range(0, 70, 10)] + [(0, 1000 + y, 30) for y in (10, 20)], float)
    edges = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (3, 7), (7, 8)])
    skeletons = Skeletons(edges, np.full(9, 4), position)
    segment = np.array([5, 5, 0, 0, 6, 6, 6, 0, 7])
    found = find_errors(skeletons, segment, worst=9, voxel_size_zyx_nm=(1, 1, 1), offset_zyx_nm=(0, 0, 0))
    assert rows_of(found, *IDS) == [
        ("split", 4, 4, 6, 5, 10.0),
        ("split", 4, 4, 6, 7, 0.0),
        ("missing", 4, 4, 0, 0, 50.0),
    ]
    assert rows_of(found, "y_nm", "x_nm")[0] == (1000.0, 20.0)  # 30 is as near to the middle


def test_a_merger_lies_between_the_closest_nodes_and_costs_all_path_that_it_voids() -> None:
    found = find_on_paths((1, [5, 5, 5, 5]), (2, [6, 6, 6, 5]))
    assert rows_of(found, *IDS) == [("split", 2, 2, 6, 5, 0.0), ("merge", 1, 2, 5, 5, 30.0)]
    assert rows_of(found, "z_nm", "y_nm", "x_nm", "y_vx", "x_vx")[1] == (0.0, 1050.0, 30.0, 5, 3)


def test_every_voided_run_is_counted_once_and_each_skeleton_meets_its_nearest_of_a_longer_run() -> None:
    found = find_on_paths((1, [5] * 9), (2, [5] * 3), (3, [5] * 5), (4, [5] * 2))
    assert rows_of(found, *IDS) == [
        ("merge", 1, 3, 5, 5, 120.0),  # 80 of skeleton 1, 40 of skeleton 3
        ("merge", 1, 2, 5, 5, 20.0),  # 1 is as near as 3, which has less path
        ("merge", 3, 4, 5, 5, 10.0),
    ]
    assert found["y_nm"].tolist() == [1100.0, 1050.0, 1250.0]


def test_background_merges_nothing_but_skeletons_of_id_zero_do() -> None:
    assert set(find_on_paths((1, [0, 0, 0]), (2, [0, 0]))["kind"]) == {"missing"}
    assert rows_of(find_on_paths((0, [5, 5]), (2, [5])), *IDS) == [("merge", 0, 2, 5, 5, 10.0)]


def test_only_the_worst_are_listed_and_ties_go_by_id() -> None:
    paths = [(s, [10 * s] * s + [10 * s + 1] * s) for s in (3, 1, 2)] + [(7, [71, 71, 71, 70, 70, 70])]
    found = find_on_paths(*paths, worst=3)
    assert rows_of(found, "rank", "truth_a", "lost_nm") == [(1, 3, 20.0), (2, 7, 20.0), (3, 2, 10.0)]
    assert rows_of(found, "segment_a", "segment_b")[1] == (70, 71)
    assert len(find_on_paths(*paths, worst=0)["kind"]) == 0


def test_ids_that_are_equal_as_floats_stay_apart_up_to_the_table(tmp_path: Path) -> None:
    big = 2**63 + 1
    found = find_on_paths((1, [big, big, big + 1, big + 1]), (2, [big + 2, big + 2]))
    assert rows_of(found, *IDS) == [("split", 1, 1, big, big + 1, 10.0)]
    write_columns(tmp_path / "errors.tsv", found)
    rows = gather_errors([tmp_path / "errors.tsv"], ["v"], ["a"])
    assert rows["segment_b"] == [str(big + 1)]


def test_without_nodes_or_errors_the_columns_keep_their_types() -> None:
    for found in (find_on_paths(), find_on_paths((1, [5, 5]), (2, [6]))):
        assert list(found) == COLUMNS
        assert [found[name].dtype.kind for name in COLUMNS] == [*"Uifffiiiiiuuff"]
        assert {len(column) for column in found.values()} == {0}


@pytest.mark.parametrize("segment", [np.zeros(2, int), np.zeros(3), np.zeros((3, 1), int)])
def test_every_node_needs_one_segment(segment: np.ndarray) -> None:
    skeletons = Skeletons(np.zeros((0, 2)), np.ones(3, int), np.zeros((3, 3)))
    with pytest.raises(DataError, match="every node"):
        find_errors(skeletons, segment, worst=1, voxel_size_zyx_nm=SIZE_ZYX_NM, offset_zyx_nm=OFFSET_ZYX_NM)


def test_edges_between_two_skeletons_are_no_path() -> None:
    skeletons = Skeletons(np.array([[0, 1], [1, 2]]), np.array([1, 1, 2]), np.arange(9.0).reshape(3, 3))
    found = find_errors(
        skeletons, np.array([5, 5, 6]), worst=5, voxel_size_zyx_nm=SIZE_ZYX_NM, offset_zyx_nm=OFFSET_ZYX_NM
    )
    assert len(found["kind"]) == 0


def test_a_giant_merger_finds_the_closest_nodes_of_every_skeleton() -> None:
    rng = np.random.default_rng(0)
    ids, position = np.repeat(np.arange(60), 20), rng.random((1200, 3)) * 1000
    first = np.arange(1200).reshape(60, 20)
    edges = np.stack([first[:, :-1].ravel(), first[:, 1:].ravel()], axis=1)
    run = np.bincount(ids[edges[:, 0]], np.linalg.norm(position[edges[:, 0]] - position[edges[:, 1]], axis=1))
    found = find_errors(
        Skeletons(edges, ids, position),
        np.full(1200, 9),
        worst=99,
        voxel_size_zyx_nm=(1, 1, 1),
        offset_zyx_nm=(0, 0, 0),
    )
    assert found["truth_b"].tolist() == np.argsort(-run)[1:].tolist()
    assert found["lost_nm"].sum() == pytest.approx(run.sum(), abs=0.1)
    for b, z, y, x in rows_of(found, "truth_b", "z_nm", "y_nm", "x_nm"):
        longer, own = position[run[ids] > run[b]], position[ids == b]
        away = np.linalg.norm(longer[:, None] - own, axis=2)
        i, j = np.unravel_index(np.argmin(away), away.shape)
        assert (longer[i] + own[j]) / 2 == pytest.approx((z, y, x))


def test_a_forest_keeps_few_trees() -> None:
    forest = Forest(np.random.default_rng(0).random((100, 3)))
    for k in range(0, 100, 2):
        forest.add(np.array([k, k + 1]))
    sizes = [len(nodes) for nodes, _ in forest.trees]
    assert sum(sizes) == 100
    assert all(a >= 2 * b for a, b in pairwise(sizes))


def test_the_point_nearest_to_the_median_of_each_group() -> None:
    points = np.array([(0, 0, 9), (0, 0, 0), (5, 5, 5), (0, 0, 1), (0, 0, 100)], float)
    assert nearest_to_median(np.array([1, 1, 0, 1, 1]), points).tolist() == [2, 3]
    assert nearest_to_median(np.zeros(0, int), np.zeros((0, 3))).tolist() == []


def write_pair(folder: Path, truth: np.ndarray, segmentation: np.ndarray) -> tuple[Volume, Volume]:
    place = {"voxel_size_zyx_nm": SIZE_ZYX_NM, "offset_zyx_nm": OFFSET_ZYX_NM}
    volumes = []
    for name, array in (("truth", truth.astype(np.int32)), ("labels", segmentation.astype(np.uint64))):
        write_store(folder / f"{name}.zarr", array, **place)
        volumes.append(open_volume(folder / f"{name}.zarr"))
    return volumes[0], volumes[1]


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Volume, Volume]:
    """Return two bars along x (truth 3, 4) and a cube (6); bar 3 is cut at x 30, the cube is joined to bar 4."""
    truth = np.zeros((8, 24, 40), np.int32)
    truth[2:5, 2:5], truth[2:5, 8:11], truth[2:5, 11:14, 10:13] = 3, 4, 6
    truth[:, 20:] = -1
    segmentation = truth.astype(np.uint64) + (1 << 60)
    segmentation[truth <= 0] = 0
    segmentation[:, 2:5, 30:] = np.where(truth[:, 2:5, 30:] == 3, 2**63 + 7, 0)
    segmentation[truth == 6] = (1 << 60) + 4
    segmentation[:, 20:] = 5
    return write_pair(tmp_path, truth, segmentation)


def test_a_cut_and_a_joint_are_found_at_their_voxels(volumes: tuple[Volume, Volume]) -> None:
    found = find_voxel_errors(contingency(*volumes), *volumes, worst=5)
    assert list(found) == COLUMNS
    base = 1 << 60
    assert rows_of(found, "kind", "truth_a", "truth_b", "segment_a", "segment_b", "lost_vx") == [
        ("split", 3, 3, base + 3, 2**63 + 7, 90),
        ("merge", 4, 6, base + 4, base + 4, 27),
    ]
    places = rows_of(found, "z_vx", "y_vx", "x_vx")
    assert places[0][:2] == (3, 3)
    assert 30 <= places[0][2] <= 33  # within reach of the other side
    assert places[1] == (3, 12, 11)
    assert rows_of(found, "z_nm", "y_nm", "x_nm")[1] == (60.0, 1120.0, 110.0)
    assert np.isnan(found["lost_nm"]).all()
    assert found["lost_vx"].dtype == np.int64


@pytest.mark.parametrize(("block_vx", "threads"), [(500, 1), (64, 3), (8 * 24 * 40, 2)])
def test_blocks_and_threads_change_no_voxel_error(
    volumes: tuple[Volume, Volume], monkeypatch: pytest.MonkeyPatch, block_vx: int, threads: int
) -> None:
    whole = find_voxel_errors(contingency(*volumes), *volumes, worst=5)
    monkeypatch.setattr(Volume, "file_chunks_zyx", property(lambda self: (1, 1, 1)))
    found = find_voxel_errors(contingency(*volumes), *volumes, worst=5, block_vx=block_vx, threads=threads)
    assert rows_of(found, *COLUMNS[:-2]) == rows_of(whole, *COLUMNS[:-2])


def test_a_border_in_the_wrong_place_is_one_merger(tmp_path: Path) -> None:
    truth = np.ones((4, 4, 10), np.uint8)
    truth[:, :, 5:] = 2
    labels = np.ones((4, 4, 10), np.uint8)
    labels[:, :, 6:] = 2
    pair = write_pair(tmp_path, truth, labels)
    found = find_voxel_errors(contingency(*pair), *pair, worst=5)
    assert rows_of(found, "kind", "truth_a", "truth_b", "segment_a", "lost_vx", "x_vx") == [("merge", 1, 2, 1, 16, 5)]


def test_parts_far_from_each_other_are_shown_in_their_own_middle(tmp_path: Path) -> None:
    truth = np.ones((1, 3, 41), np.uint8)
    labels = np.zeros((1, 3, 41), np.uint8)
    labels[:, :, :20], labels[:, :, 30:] = 7, 9
    pair = write_pair(tmp_path, truth, labels)
    found = find_voxel_errors(contingency(*pair), *pair, worst=5)
    assert rows_of(found, "kind", "segment_a", "segment_b", "z_vx", "y_vx", "x_vx") == [
        ("split", 7, 9, 0, 1, 35),
        ("missing", 0, 0, 0, 1, 24),
    ]


def test_background_and_unknown_of_the_truth_make_no_voxel_error(tmp_path: Path) -> None:
    truth = np.array([[[0, 0, -1, -1, 5, 5, 5, 0]]], np.int16)
    labels = np.array([[[1, 2, 2, 1, 2, 0, 2, 2]]], np.uint16)
    pair = write_pair(tmp_path, truth, labels)
    found = find_voxel_errors(contingency(*pair), *pair, worst=5)
    assert rows_of(found, "kind", "truth_a", "segment_a", "lost_vx", "x_vx") == [("missing", 5, 0, 1, 5)]
    full = np.where(truth > 0, truth, labels).astype(np.uint16)
    pair = write_pair(tmp_path, truth, full)
    found = find_voxel_errors(contingency(*pair), *pair, worst=5)
    assert [len(column) for column in found.values()] == [0] * len(COLUMNS)


def test_a_table_of_other_volumes_is_refused(volumes: tuple[Volume, Volume]) -> None:
    ids = np.array([3, 3])
    table = Contingency(ids.astype(np.int32), np.array([98, 99], np.uint64), np.array([5, 4]))
    with pytest.raises(DataError, match="do not hold what was counted"):
        find_voxel_errors(table, *volumes, worst=5)


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Write the errors of three segmentations; the second was compared by voxels."""
    paths = [tmp_path / f"{k}.tsv" for k in range(3)]
    write_columns(paths[0], find_on_paths((1, [5] * 3 + [6] * 3), (2, [7] * 2), (3, [7] * 2)))
    rows = {name: ["1"] for name in COLUMNS} | {"kind": ["split"], "lost_nm": [""], "lost_vx": ["900"]}
    write_columns(paths[1], rows)
    write_columns(paths[2], find_on_paths((1, [5] * 9 + [6] * 9)))
    return paths


def test_gathered_errors_are_sorted_by_loss_within_their_kind(tables: list[Path]) -> None:
    rows = gather_errors(tables, ["v", "w", "v"], ["a", "a", "b"])
    assert list(rows) == ["variant", "volume", *COLUMNS, "link"]
    assert list(zip(rows["kind"], rows["variant"], rows["volume"], rows["lost_nm"], strict=True)) == [
        ("split", "v", "b", "80.0"),
        ("split", "v", "a", "20.0"),
        ("split", "w", "a", ""),
        ("merge", "v", "a", "20.0"),
    ]
    assert set(rows["link"]) == {""}


def test_links_find_their_rows(tables: list[Path], tmp_path: Path) -> None:
    links = [tmp_path / f"links{k}.tsv" for k in range(3)]
    for k, path in enumerate(links):
        body = f'whole\t0\thttp://{k}/whole\nsplit\t1\thttp://{k}/#!{{"s":1}}\n'
        path.write_text(f"kind\trank\tlink\n{body}")
    rows = gather_errors(tables, ["v", "w", "v"], ["a", "a", "b"], links)
    assert rows["link"] == ['http://2/#!{"s":1}', 'http://0/#!{"s":1}', 'http://1/#!{"s":1}', ""]
    whole = whole_links(["v", "w", "v"], ["a", "a", "b"], links)
    assert whole == {("v", "a"): "http://0/whole", ("w", "a"): "http://1/whole", ("v", "b"): "http://2/whole"}
    assert whole_links(["v"], ["a"]) == {("v", "a"): ""}


def test_tables_that_do_not_fit_are_refused(tables: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its variant"):
        gather_errors(tables, ["v"], ["a"])
    with pytest.raises(DataError, match="its links"):
        gather_errors(tables, ["v"] * 3, ["a"] * 3, tables[:1])
    with pytest.raises(DataError, match="no table"):
        gather_errors([tmp_path / "none.tsv"], ["v"], ["a"])
    (tmp_path / "other.tsv").write_text("kind\trank\n")
    with pytest.raises(DataError, match="lacks columns"):
        gather_errors([tmp_path / "other.tsv"], ["v"], ["a"])
