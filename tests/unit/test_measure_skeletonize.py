"""Skeletons traced in labels, block by block: where nodes lie, what is dust, how blocks are joined and resumed."""

from __future__ import annotations

import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cc3d
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from connectomake.config.settings.data import SkeletonConfig, VolumeSource
from connectomake.errors import DataError, MissingPackageError
from connectomake.geometry import voxel_at
from connectomake.ingest.ingest import ingest_volume
from connectomake.ingest.skeletons import skeletonize_labels, skeletons_of_volume
from connectomake.ingest.skeletons import volume as skeletonize
from connectomake.ingest.skeletons.block_skeletons import Pieces, Tree
from connectomake.ingest.skeletons.grid import plan_trace
from connectomake.ingest.skeletons.prune import prune_branches
from connectomake.ingest.skeletons.sizes import count_labels, find_small
from connectomake.volumes.nodes import segment_at_nodes
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SIZE_ZYX_NM = (40.0, 8.0, 4.0)
OFFSET_ZYX_NM = (1000.0, -16.0, 30.0)
SMALL = SkeletonConfig(const_nm=10.0, dust_vx=10)
BLOCKS = SMALL.model_copy(update={"block_zyx_vx": (16, 16, 16)})


@pytest.fixture
def truth() -> np.ndarray:
    """Two objects that no turn or flip maps onto themselves, and a strip of unknown."""
    array = np.zeros((20, 30, 60), np.int32)
    array[4:9, 10:15, 5:55] = 7
    array[4:18, 10:15, 50:55] = 7
    array[2:4, 2:28, 2:4] = 9
    array[:, :, 59] = -1
    return array


def store(folder: Path, array: np.ndarray, size_zyx_nm: tuple = SIZE_ZYX_NM, offset: tuple = OFFSET_ZYX_NM) -> Volume:
    """Write labels and open them."""
    write_store(folder / "truth.zarr", array, voxel_size_zyx_nm=size_zyx_nm, offset_zyx_nm=offset, chunk_zyx=(8, 8, 8))
    return open_volume(folder / "truth.zarr")


@pytest.fixture
def labels(tmp_path: Path, truth: np.ndarray) -> Volume:
    return store(tmp_path, truth)


@pytest.fixture
def ingested(tmp_path: Path, labels: Volume) -> Path:
    """The volume.json of raw data and truth labels."""
    raw = np.random.default_rng(0).integers(0, 255, labels.shape_zyx).astype(np.uint8)
    write_store(tmp_path / "raw.zarr", raw, voxel_size_zyx_nm=SIZE_ZYX_NM, offset_zyx_nm=OFFSET_ZYX_NM)
    source = VolumeSource(role="test", raw=str(tmp_path / "raw.zarr"), labels=str(tmp_path / "truth.zarr"))
    ingest_volume(source, name="a", volume_json=tmp_path / "ingest" / "volume.json")
    return tmp_path / "ingest" / "volume.json"


def count_trees(skeletons: Skeletons, label: int | None = None) -> int:
    """Count the connected components of one skeleton, or of all; fails where one has a loop."""
    nodes = np.ones(len(skeletons.node_skeleton_id), bool) if label is None else skeletons.node_skeleton_id == label
    edges = skeletons.edges[nodes[skeletons.edges].all(axis=1)]
    graph = coo_array((np.ones(len(edges), bool), edges.T), shape=(len(nodes),) * 2)
    count = connected_components(graph, directed=False)[0] - np.count_nonzero(~nodes)
    assert len(edges) == nodes.sum() - count
    return int(count)


def cable_nm(skeletons: Skeletons) -> float:
    steps = np.diff(skeletons.node_pos_nm[skeletons.edges], axis=1)
    return float(np.linalg.norm(steps, axis=2).sum())


def same(one: Skeletons, other: Skeletons) -> bool:
    names = ("edges", "node_skeleton_id", "node_pos_nm")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("cfg", [SMALL, BLOCKS], ids=["whole", "blocks"])
def test_traced_nodes_lie_in_their_own_label_on_the_centres_of_voxels(labels: Volume, cfg: SkeletonConfig) -> None:
    found = skeletonize_labels(labels, cfg)
    segment, inside = segment_at_nodes(labels, found.node_pos_nm)
    assert inside.all()
    assert np.array_equal(segment, found.node_skeleton_id)
    assert set(found.node_skeleton_id.tolist()) == {7, 9}
    steps = (found.node_pos_nm - OFFSET_ZYX_NM) / SIZE_ZYX_NM
    assert np.abs(steps - np.rint(steps)).max() < 1e-9
    assert len(np.unique(np.rint(steps), axis=0)) == len(steps)


@pytest.mark.parametrize("cfg", [SMALL, BLOCKS], ids=["whole", "blocks"])
def test_traced_skeletons_run_along_the_axes_of_their_objects(labels: Volume, cfg: SkeletonConfig) -> None:
    found = skeletonize_labels(labels, cfg)
    voxel = voxel_at(found.node_pos_nm, SIZE_ZYX_NM, OFFSET_ZYX_NM)
    extent = {i: np.ptp(voxel[found.node_skeleton_id == i], axis=0) for i in (7, 9)}
    assert extent[9][1] >= 23  # along y
    assert extent[9][[0, 2]].max() <= 1
    assert extent[7][2] >= 40  # along x, then down z
    assert extent[7][0] >= 10
    assert [count_trees(found, label) for label in (7, 9)] == [1, 1]
    ids = found.node_skeleton_id
    assert np.array_equal(ids[found.edges[:, 0]], ids[found.edges[:, 1]])


def test_a_volume_of_one_block_gets_what_kimimaro_gives(labels: Volume, truth: np.ndarray) -> None:
    import kimimaro

    params = {"scale": 1.5, "const": 10.0, "soma_detection_threshold": 750.0, "soma_acceptance_threshold": 3500.0}
    array = np.maximum(truth, 0).astype(np.uint32)
    made = kimimaro.skeletonize(array, params, anisotropy=SIZE_ZYX_NM, dust_threshold=10, progress=False)
    found = skeletonize_labels(labels, SMALL)
    for label in (7, 9):
        nodes = np.flatnonzero(found.node_skeleton_id == label)
        voxels = (made[label].vertices / SIZE_ZYX_NM).round().astype(int)
        assert np.array_equal(voxel_at(found.node_pos_nm[nodes], SIZE_ZYX_NM, OFFSET_ZYX_NM), voxels)
        edges = found.edges[np.isin(found.edges, nodes).all(axis=1)] - nodes[0]
        assert np.array_equal(edges, np.sort(made[label].edges, axis=1))


def test_dust_is_what_is_small_in_the_whole_volume(labels: Volume) -> None:
    volume_of_9 = 2 * 26 * 2
    for dust_vx, expected in ((volume_of_9, {7, 9}), (volume_of_9 + 1, {7}), (10**6, set())):
        for cfg in (SMALL, BLOCKS):
            found = skeletonize_labels(labels, cfg.model_copy(update={"dust_vx": dust_vx}))
            assert set(found.node_skeleton_id.tolist()) == expected


@pytest.mark.parametrize("least", [0, 1, 2, 40, 10**6])
def test_labels_are_counted_over_all_blocks(labels: Volume, truth: np.ndarray, least: int) -> None:
    ids, counts = np.unique(truth, return_counts=True)
    found = count_labels(labels, block_vx=1000, threads=2)
    assert np.array_equal(found, (ids, counts))
    expected = ids[counts < least] if least > 1 else []
    assert np.array_equal(find_small(labels, least, block_vx=1000), expected)


def test_two_processes_trace_what_one_traces(labels: Volume) -> None:
    assert same(skeletonize_labels(labels, BLOCKS), skeletonize_labels(labels, BLOCKS, threads=2))


def test_a_killed_run_goes_on_where_it_was(labels: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cache, traced = skeletonize_labels(labels, BLOCKS), tmp_path / "parts", []
    trace = skeletonize.trace_block

    def stop_at_third(volume: Volume, grid: object, block: int, *others: object) -> Pieces:
        traced.append(block)
        if len(traced) == 3:
            raise KeyboardInterrupt
        return trace(volume, grid, block, *others)

    monkeypatch.setattr(skeletonize, "trace_block", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        skeletonize_labels(labels, BLOCKS, cache=cache)
    assert same(skeletonize_labels(labels, BLOCKS, cache=cache), whole)
    blocks = len(plan_trace(labels, BLOCKS))
    assert blocks > 4
    assert traced == [0, 1, 2, *range(2, blocks)]  # the third again, the first two not
    assert same(skeletonize_labels(labels, BLOCKS, cache=cache), whole)
    assert len(traced) == blocks + 1


@pytest.mark.parametrize("other", ["settings", "code", "place"])
def test_blocks_of_another_run_are_not_used(labels: Volume, tmp_path: Path, other: str) -> None:
    cache = tmp_path / "parts"
    skeletonize_labels(labels, BLOCKS, cache=cache, state={"code": "a"})
    for file in cache.rglob("block-*.npz"):
        file.write_bytes(b"")  # whoever reads one fails
    with pytest.raises(DataError, match=r"block-0\.npz cannot be read.*remove"):
        skeletonize_labels(labels, BLOCKS, cache=cache, state={"code": "a"})
    cfg = BLOCKS.model_copy(update={"scale": 2.0}) if other == "settings" else BLOCKS
    if other == "place":
        write_store(tmp_path / "b.zarr", labels.read(), voxel_size_zyx_nm=SIZE_ZYX_NM, offset_zyx_nm=OFFSET_ZYX_NM)
        labels = open_volume(tmp_path / "b.zarr")
    found = skeletonize_labels(labels, cfg, cache=cache, state={"code": "b" if other == "code" else "a"})
    assert count_trees(found) == 2


def test_a_killed_process_is_explained(labels: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(running: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(skeletonize, "as_completed", die)
    with pytest.raises(DataError, match=r"killed.*smaller blocks \(skeletonize\.block_zyx_vx.*fewer threads"):
        skeletonize_labels(labels, BLOCKS, threads=2)


def test_without_kimimaro_the_error_says_what_to_do(labels: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kimimaro", None)
    monkeypatch.delitem(sys.modules, "kimimaro.intake", raising=False)
    with pytest.raises(MissingPackageError, match="pip install kimimaro"):
        skeletonize_labels(labels, SMALL)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.int64])
def test_labels_of_every_type_are_traced(tmp_path: Path, truth: np.ndarray, dtype: type) -> None:
    found = skeletonize_labels(store(tmp_path, np.maximum(truth, 0).astype(dtype)), BLOCKS)
    assert set(found.node_skeleton_id.tolist()) == {7, 9}


def test_large_labels_keep_every_digit_and_too_large_ones_are_refused(tmp_path: Path, truth: np.ndarray) -> None:
    large = np.array([0, 2**53 + 1, 2**63 - 1, 2**63], np.uint64)
    array = np.select([truth == 7, truth == 9], [large[1], large[2]], large[0])
    found = skeletonize_labels(store(tmp_path, array), BLOCKS)
    assert np.unique(found.node_skeleton_id).tolist() == [2**53 + 1, 2**63 - 1]
    array[array == large[2]] = large[3]
    labels = store(tmp_path, array)
    with pytest.raises(DataError, match=r"truth\.zarr::s0 holds a label too large.*got 9223372036854775808.*renumber"):
        skeletonize_labels(labels, BLOCKS, threads=2)


def test_noise_is_refused_unless_it_is_dust(tmp_path: Path) -> None:
    labels = store(tmp_path, np.arange(1, 126, dtype=np.uint16).reshape(5, 5, 5))
    assert len(skeletonize_labels(labels, BLOCKS).node_pos_nm) == 0
    with pytest.raises(DataError, match=r"every voxel of a face is an object of its own.*raise skeletonize\.dust_vx"):
        skeletonize_labels(labels, BLOCKS.model_copy(update={"dust_vx": 0}))


def test_volumes_without_labels_get_no_skeletons(tmp_path: Path) -> None:
    for array in (np.zeros((20, 20, 20), np.uint8), np.full((40, 40, 1), -1, np.int32)):
        found = skeletonize_labels(store(tmp_path, array), BLOCKS)
        assert found.edges.shape == (0, 2)
        assert found.node_pos_nm.shape == (0, 3)


def ball(shape: tuple, centre: tuple, radius: float) -> np.ndarray:
    return sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


SOMA = SkeletonConfig(const_nm=100, soma_detection_nm=50, soma_acceptance_nm=60, block_zyx_vx=(32, 32, 32))


@pytest.mark.parametrize("centre", [(32, 32, 32), (30, 34, 20), (24, 40, 28), (16, 16, 16)])
def test_a_soma_cut_by_blocks_stays_one_skeleton_within_its_label(tmp_path: Path, centre: tuple) -> None:
    array = ball((65, 65, 65), centre, 24).astype(np.uint32)
    array[centre[0] - 2 : centre[0] + 3, centre[1] - 2 : centre[1] + 3] = 1  # a process along x
    array[ball(array.shape, centre, 9)] = 2  # a nucleus with a label of its own
    found = skeletonize_labels(store(tmp_path, array, (10.0,) * 3, (0.0,) * 3), SOMA)
    voxel = (found.node_pos_nm / 10).round().astype(int)
    assert np.array_equal(array[tuple(voxel.T)], found.node_skeleton_id)
    assert [count_trees(found, label) for label in (1, 2)] == [1, 1]


def test_nodes_in_a_hole_are_drawn_together_without_cutting_the_tree() -> None:
    tree = Tree(np.arange(24).reshape(8, 3), np.arange(8.0), np.array([[0, 1], [1, 2], [2, 3], [2, 4], [5, 4], [6, 7]]))
    found = tree.keep(np.array([1, 0, 0, 1, 1, 1, 0, 0], bool))  # nodes 1 and 2 join 0, 3 and 4; 6 and 7 lead nowhere
    assert found.voxel[:, 0].tolist() == [0, 9, 12, 15]
    graph = coo_array((np.ones(len(found.edges)), found.edges.T), shape=(4, 4))
    assert connected_components(graph, directed=False)[0] == 1
    assert len(found.edges) == 3


def test_only_short_branches_at_planes_between_blocks_are_pruned() -> None:
    trunk = [(0.0, 0.0, x) for x in range(0, 200, 10)]
    near, far = [(0.0, y, 50.0) for y in (10.0, 20.0)], [(0.0, y, 100.0) for y in (10.0, 20.0, 30.0, 40.0)]
    inner = [(0.0, y, 150.0) for y in (10.0, 20.0)]
    position = np.array([*trunk, *near, *far, *inner])
    starts = {20: 5, 22: 10, 26: 15}
    edges = np.array([(starts.get(i, i - 1), i) for i in range(1, len(position))])
    shared = np.zeros(len(position), bool)
    shared[[20, 22]] = True
    kept = prune_branches(position, np.full(len(position), 25.0), edges, shared)
    assert np.flatnonzero(~kept).tolist() == [20, 21]  # `far` reaches beyond, `inner` meets no plane
    shared[:] = True
    kept = prune_branches(position, np.full(len(position), 25.0), edges, shared)
    assert np.flatnonzero(~kept).tolist() == [20, 21, 26, 27]


def test_a_second_path_along_the_plane_is_pruned_however_long() -> None:
    trunk = [(0.0, 0.0, x) for x in range(0, 500, 10)]
    double = [(0.0, 15.0, x) for x in range(0, 400, 10)]
    position = np.array([*trunk, *double])
    edges = np.array([(i - 1, i) for i in range(1, len(position)) if i != len(trunk)] + [(39, len(trunk) + 39)])
    shared = np.arange(len(position)) == len(trunk) + 39
    kept = prune_branches(position, np.full(len(position), 20.0), edges, shared)
    assert np.flatnonzero(~kept).tolist() == list(range(len(trunk), len(position)))
    assert prune_branches(position, np.full(len(position), 12.0), edges, shared).all()


def test_the_grid_has_no_thin_block_and_keeps_to_chunks(tmp_path: Path) -> None:
    labels = store(tmp_path, np.zeros((65, 70, 17), np.uint8))
    grid = plan_trace(labels, SkeletonConfig(block_zyx_vx=(32, 32, 16)))
    assert grid.steps.block_zyx == (32, 24, 16)
    assert [grid[i].start_zyx for i in range(len(grid))] == [(z, y, 0) for z in (0, 32) for y in (0, 24, 48)]
    assert grid[len(grid) - 1].stop_zyx == (65, 70, 17)
    assert grid.is_shared(np.array([[0, 0, 0], [32, 0, 0], [64, 69, 16], [1, 48, 3]])).tolist() == [0, 1, 0, 1]


def test_the_memory_of_a_block_follows_its_size() -> None:
    assert 5000 < SkeletonConfig().block_mb < 6000
    assert SkeletonConfig(block_zyx_vx=(256, 512, 512)).block_mb == pytest.approx(
        SkeletonConfig().block_mb / 2, rel=0.01
    )


def test_skeletons_of_a_file_are_clipped_to_the_volume(ingested: Path, tmp_path: Path) -> None:
    position = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, -1, 0], [30, 0, 0]]) * SIZE_ZYX_NM + OFFSET_ZYX_NM
    edges = np.array([[0, 1], [1, 3], [3, 4], [1, 2]])
    save_skeletons(tmp_path / "given.npz", Skeletons(edges, np.array([5, 5, 5, 5, 5]), position))
    found = skeletons_of_volume(ingested, tmp_path / "given.npz", SMALL)
    assert np.array_equal(found.node_pos_nm, position[:3])
    assert found.edges.tolist() == [[0, 1], [1, 2]]


def test_skeletons_far_from_the_volume_are_refused(ingested: Path, tmp_path: Path) -> None:
    far = Skeletons(np.zeros((0, 2)), np.ones(2), np.array([[1e6, 0, 0], [2e6, 0, 0]]))
    save_skeletons(tmp_path / "far.npz", far)
    with pytest.raises(DataError, match="none of the 2 nodes"):
        skeletons_of_volume(ingested, tmp_path / "far.npz", SMALL)


def test_the_stage_script_removes_the_blocks_when_the_skeletons_are_written(ingested: Path, tmp_path: Path) -> None:
    from make_skeletons import main

    cache, out = tmp_path / "parts", tmp_path / "skeletons.npz"
    main(volume=ingested, skeletons=out, cfg=BLOCKS, cache=cache, code="x")
    assert out.exists()
    assert not cache.exists()


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "fib25" / "fib25_medulla_z000-170.h5"


@pytest.mark.slow("traces real neurons twice")
@pytest.mark.skipif(not REAL.is_file(), reason="../shared/data/fib25 is not there")
def test_real_neurons_in_blocks_are_near_those_traced_whole(tmp_path: Path) -> None:
    part = open_volume(f"{REAL}::labels", voxel_size_zyx_nm=(10, 10, 10)).read()[20:117, 40:137, 40:137]
    labels = store(tmp_path, part.astype(np.uint32), (10.0,) * 3, (0.0,) * 3)
    cfg = SkeletonConfig(const_nm=50, dust_vx=200)
    whole = skeletonize_labels(labels, cfg)
    blocked = skeletonize_labels(labels, cfg.model_copy(update={"block_zyx_vx": (48, 48, 48)}))
    assert cable_nm(blocked) == pytest.approx(cable_nm(whole), rel=0.15)
    sizes = dict(zip(*np.unique(part, return_counts=True), strict=True))
    kept = np.where(np.isin(part, [name for name, size in sizes.items() if size >= 200]), part, 0)
    parts = cc3d.connected_components(kept, connectivity=26)
    more_than_one_voxel = np.count_nonzero(np.bincount(parts.ravel())[1:] > 1)
    assert count_trees(whole) == count_trees(blocked) == more_than_one_voxel
    for one, other in ((whole, blocked), (blocked, whole)):
        for name in np.unique(one.node_skeleton_id):
            own = [s.node_pos_nm[s.node_skeleton_id == name] for s in (one, other)]
            assert np.quantile(cKDTree(own[1]).query(own[0])[0], 0.9) < 250
