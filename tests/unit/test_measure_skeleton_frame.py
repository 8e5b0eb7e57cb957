"""Skeletons in another unit, axis order or place than the volume: each usual mistake is named, or warned of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from connectomake.errors import DataError
from connectomake.ingest.skeletons.frame import check_frame
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SHAPE = (40, 120, 160)
SIZE = np.array([30.0, 8.0, 8.0])
OFFSET = np.array([6000.0, 9000.0, 400.0])
NO_OFFSET = np.zeros(3)


def grow(shape: tuple = SHAPE, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels of straight neurites along x, and the id of each."""
    z, y = np.linspace(2, shape[0] - 3, count).astype(int), np.linspace(3, shape[1] - 4, count).astype(int)
    x = np.arange(shape[2])
    voxel = np.concatenate(
        [np.stack([np.full(len(x), a), np.full(len(x), b), x], axis=1) for a, b in zip(z, y, strict=True)]
    )
    return voxel, np.repeat(np.arange(1, count + 1), len(x))


def skeletons(position: np.ndarray, ids: np.ndarray | None = None) -> Skeletons:
    return Skeletons(np.zeros((0, 2)), np.ones(len(position), int) if ids is None else ids, position)


def check(position: np.ndarray, offset: np.ndarray = NO_OFFSET, size: np.ndarray = SIZE, **others: object) -> None:
    check_frame(skeletons(position), SHAPE, size, offset, source="s.npz", volume="cube", **others)


VOXEL, IDS = grow()


@pytest.mark.parametrize("offset", [NO_OFFSET, OFFSET])
def test_the_right_frame_passes_without_a_word_of_warning(offset: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check(VOXEL * SIZE + offset, offset)
    assert [r.levelname for r in caplog.records] == ["INFO"]
    assert f"s.npz: {len(VOXEL)} of {len(VOXEL)} nodes lie within cube" in caplog.text


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (VOXEL, "voxel indices, not nm: so read, 100% of the nodes.*multiply them by the voxel size 30, 8, 8, add"),
        (VOXEL[:, ::-1], "voxel indices x, y, z: so read, 100%.*turn the axes round and multiply"),
        ((VOXEL * SIZE + OFFSET) / 1000, "in micrometres, not nm: .*swc_unit_nm: 1000"),
        ((VOXEL * SIZE + OFFSET)[:, ::-1], "x, y, z, not z, y, x: so read, 100%.*turn the axes round"),
        (VOXEL * SIZE, "counted from the volume's first voxel: .*add 6000, 9000, 400"),
        (VOXEL * SIZE + 2 * OFFSET, "shifted by the offset twice: .*subtract 6000, 9000, 400"),
        ((VOXEL * SIZE + OFFSET) / SIZE, "voxel indices of the whole source, not nm: .*multiply them by 30, 8, 8"),
    ],
    ids=["voxels", "voxels xyz", "um", "xyz", "no offset", "offset twice", "voxels of the source"],
)
def test_each_mistake_is_named_where_no_node_lies_within(position: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=rf"s\.npz: none of the 1280 nodes lies within the volume; expected.*{said}"):
        check(position, OFFSET)


def test_what_no_mistake_explains_is_refused_with_both_boxes() -> None:
    with pytest.raises(
        DataError, match=r"none of the 1280.*from 5985, 8996, 396 to 7185.*got nodes from.*check the unit"
    ):
        check(VOXEL * SIZE - 1e7, OFFSET)
    with pytest.raises(DataError, match="holds no node"):
        check(np.zeros((0, 3)))


def test_few_nodes_within_are_refused_where_a_mistake_explains_it() -> None:
    offset = np.array([0.0, 700.0, 0.0])
    with pytest.raises(DataError, match=r"only 25\.0% of the nodes.*shifted by the offset twice: so read, 100%"):
        check(VOXEL * SIZE + 2 * offset, offset)


def test_a_file_for_more_than_the_volume_passes() -> None:
    rng = np.random.default_rng(0)
    whole = rng.uniform(0, 1, (50_000, 3)) * SHAPE * SIZE * 5
    side = SHAPE * SIZE
    corner = 2 * side
    inside = np.all((whole >= corner) & (whole < corner + side), axis=1)
    assert 0.004 < inside.mean() < 0.02
    check(whole, corner)
    check(whole, NO_OFFSET)


@pytest.mark.parametrize("size", [np.full(3, 8.0), np.array([40.0, 4.0, 4.0])])
def test_voxel_indices_that_all_lie_within_are_warned_of(size: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    check(VOXEL, size=size)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "all nodes lie in a corner of 0.00" in caplog.text
    assert "nodes within cube, from" in caplog.text
    assert "got nodes from 2, 3, 0 to 37, 116, 159" in caplog.text
    assert "may be voxel indices, not nm" in caplog.text
    assert ("swc_unit_nm: 8" in caplog.text) == (size[0] == 8)


def test_micrometres_that_all_lie_in_the_first_voxel_are_refused() -> None:
    with pytest.raises(DataError, match=r"all nodes lie in a corner.*in micrometres, not nm: so read, 100%"):
        check(VOXEL * SIZE / 1000)


def test_a_small_neurite_away_from_the_corner_passes(caplog: pytest.LogCaptureFixture) -> None:
    check((VOXEL[:30] * 0.2 + [30, 90, 120]) * SIZE)
    assert not caplog.records


CUBE = (64, 64, 64)


def grow_slanted() -> tuple[np.ndarray, np.ndarray]:
    voxel, ids = grow(CUBE)
    voxel[:, 0] = (voxel[:, 0] + voxel[:, 2] // 3) % 60 + 2
    voxel[:, 1] = (voxel[:, 1] * 5 + voxel[:, 2] // 7) % 60 + 2
    return voxel, ids


@pytest.fixture
def cube(tmp_path: Path) -> Volume:
    """Labels of neurites 3 voxels thick in a cube, in which the box does not tell the axes."""
    array = np.zeros(CUBE, np.uint32)
    voxel, ids = grow_slanted()
    for dz in (-1, 0, 1):
        for dy in (-1, 0, 1):
            array[voxel[:, 0] + dz, voxel[:, 1] + dy, voxel[:, 2]] = ids + 100
    write_store(tmp_path / "labels.zarr", array, voxel_size_zyx_nm=(8, 8, 8))
    return open_volume(tmp_path / "labels.zarr")


@pytest.mark.parametrize(
    ("undo", "said"),
    [
        (lambda p: p[:, ::-1], "x, y, z, not z, y, x"),
        (lambda p: p / 8, "voxel indices, not nm"),
        (lambda p: p[:, ::-1] / 8, "voxel indices x, y, z"),
        (lambda p: p / 2, "in the voxel size of half this one"),
        (lambda p: p * 2, "in the voxel size of twice this one"),
    ],
    ids=["xyz", "voxels", "voxels xyz", "half", "twice"],
)
def test_labels_tell_what_boxes_do_not(cube: Volume, undo: Callable, said: str) -> None:
    voxel, ids = grow_slanted()
    given = skeletons(undo(voxel * 8.0), ids)
    with pytest.raises(DataError, match=rf"only \d+% of the nodes lie in a label.*{said}: so read, \d+% do"):
        check_frame(given, CUBE, (8, 8, 8), (0, 0, 0), labels=cube)


def test_labels_that_agree_quiet_every_doubt(cube: Volume, caplog: pytest.LogCaptureFixture) -> None:
    label = cube.read()
    own = np.stack(np.nonzero(label[:8, :8, :8]), axis=1)
    given = skeletons(own * 8.0, label[tuple(own.T)].astype(np.int64))
    check_frame(given, CUBE, (8, 8, 8), (0, 0, 0))
    assert [r.levelname for r in caplog.records] == ["WARNING"]  # alone, they might be voxel indices
    caplog.clear()
    check_frame(given, CUBE, (8, 8, 8), (0, 0, 0), labels=cube)
    assert not caplog.records


def test_one_neurite_that_fits_at_both_scales_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = np.zeros(CUBE, np.uint8)
    array[:8, :8] = 1
    write_store(tmp_path / "labels.zarr", array, voxel_size_zyx_nm=(8, 8, 8))
    given = skeletons(np.stack(np.broadcast_arrays(0.0, 0.0, np.arange(64.0)), axis=1))
    check_frame(given, CUBE, (8, 8, 8), (0, 0, 0), labels=open_volume(tmp_path / "labels.zarr"))
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_labels_without_an_answer_leave_it_to_the_boxes(cube: Volume, caplog: pytest.LogCaptureFixture) -> None:
    voxel, _ = grow_slanted()
    each_its_own = skeletons(voxel.astype(float), np.arange(len(voxel)))  # no skeleton has enough nodes to tell
    check_frame(each_its_own, CUBE, (8, 8, 8), (0, 0, 0), labels=cube)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
