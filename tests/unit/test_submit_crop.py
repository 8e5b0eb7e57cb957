"""From a prediction to the labels of a crop: against a slow twin in nm, by blocks as at once, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from array_volume import ArrayVolume
from hypothesis import given, settings
from hypothesis import strategies as st
from small_submission import (
    CFG,
    CLASSES,
    GRID,
    NAMES,
    OFFSET,
    SIZE,
    decode,
    draw_prediction,
    read_class,
    read_files,
    write_prediction,
    write_volume,
)
from small_volume import write_description

import connectomake
from connectomake.cellmap.manifest import CropGrid
from connectomake.config.settings.submit import ObjectsConfig, SubmitConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.geometry import Box
from connectomake.submit import class_grid, crop_plan
from connectomake.submit import decode_crop as module
from connectomake.submit.class_grid import Held, cut_box, hull_of
from connectomake.submit.decode_crop import decode_crop
from connectomake.submit.objects import find_objects

SIZES = st.sampled_from([1.74, 2.0, 3.48, 4.0, 6.0, 8.0, 16.0])
TRIPLES = st.tuples(SIZES, SIZES, SIZES)


def weights_along(prediction: ArrayVolume, grid: CropGrid, axis: int) -> np.ndarray:
    """Weigh voxel by voxel in nm: the part of each that a larger voxel covers, or its nearness to a smaller one."""
    count, size, step = prediction.shape_zyx[axis], prediction.voxel_size_zyx_nm[axis], grid.voxel_size_zyx_nm[axis]
    first = prediction.offset_zyx_nm[axis]
    table = np.zeros((grid.shape_zyx[axis], count))
    for row in range(len(table)):
        centre = grid.offset_zyx_nm[axis] + row * step
        for column in range(count):
            place = first + column * size
            if step > size:
                covered = min(place + size / 2, centre + step / 2) - max(place - size / 2, centre - step / 2)
                table[row, column] = max(0.0, covered)
            else:
                within = min(max(centre, first), first + (count - 1) * size)
                table[row, column] = max(0.0, 1 - abs(place - within) / size)
        if not table[row].any():
            table[row, 0 if centre < first else -1] = 1
    return table / table.sum(1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=TRIPLES, to=TRIPLES, threshold=st.sampled_from([0.0, 0.2, 0.5, 0.8]))
def test_the_cut_is_that_of_the_slow_twin_in_any_box(data, size, to, threshold) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 8)] * 3))
    dtype = data.draw(st.sampled_from([np.uint8, np.float16, np.float32]))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, shape)
    values[values < 60] = 0
    stored = values.astype(np.uint8) if dtype == np.uint8 else (values / 255).astype(dtype)
    prediction = ArrayVolume(stored, size, (100.0, -3.0, 0.5))
    # The same corner; as many voxels as cover it, or part of one more.
    wanted = [max(1, int(np.ceil(n * s / t - 0.3))) for n, s, t in zip(shape, size, to, strict=True)]
    offset = [o + (t - s) / 2 for o, s, t in zip(prediction.offset_zyx_nm, size, to, strict=True)]
    grid = CropGrid(tuple(wanted), to, tuple(offset))
    expected = stored.astype(np.float64)
    for axis in range(3):
        weights = weights_along(prediction, grid, axis)
        expected = np.moveaxis(np.tensordot(weights, expected, (1, axis)), 0, axis)
    limit = threshold * (255 if dtype == np.uint8 else 1)
    start = [data.draw(st.integers(0, n - 1)) for n in wanted]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, wanted, strict=True)]
    box = Box(tuple(start), tuple(stop))
    hull = hull_of(prediction, grid, box)
    found = cut_box(Held(prediction.read(hull), hull, prediction), grid, box, threshold)
    expected = expected[box.slices]
    sure = np.abs(expected - limit) > 1e-4 * max(limit, 1e-3)
    np.testing.assert_array_equal(found[sure], (expected > limit)[sure])
    assert not found[expected == limit].any() or threshold > 0


@pytest.mark.parametrize("fine", [1.0, 2.0, 4.0])
def test_the_face_of_an_object_stays_where_it_is_and_borders_are_not_eroded(fine: float) -> None:
    values = np.zeros((1, 1, 6), np.uint8)
    values[..., :3] = 255
    prediction = ArrayVolume(values, (4.0, 4.0, 4.0), (2.0, 2.0, 2.0))
    grid = CropGrid((int(4 / fine), int(4 / fine), int(24 / fine)), (fine,) * 3, (fine / 2,) * 3)
    whole = Box.of_shape(grid.shape_zyx)
    found = cut_box(Held(values, Box.of_shape(values.shape), prediction), grid, whole, 0.5)
    assert (found == (np.arange(grid.shape_zyx[2]) < 12 / fine)).all()


def expected_class(values: np.ndarray, name: str, cfg: SubmitConfig = CFG) -> np.ndarray:
    """Cut one channel at once, and label its objects."""
    whole = Box.of_shape(GRID.shape_zyx)
    prediction = ArrayVolume(values[NAMES.index(name)], SIZE, OFFSET)
    held = Held(prediction.array, Box.of_shape(prediction.shape_zyx), prediction)
    mask = cut_box(held, GRID, whole, crop_plan.threshold_of(name, cfg))
    if name not in cfg.instance_classes:
        return mask.astype(np.uint8)
    return find_objects(mask, GRID.voxel_size_zyx_nm, cfg.objects_of(name))[0]


def test_every_class_of_the_crop_becomes_an_array(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = decode(tmp_path)
    said = read_json(out)
    assert (said["crop"], said["dataset"], said["folder"]) == ("crop7", "jrc_a", "crop7")
    assert [said[key] for key in ("shape_zyx", "voxel_size_zyx_nm", "offset_zyx_nm")] == [
        list(GRID.shape_zyx),
        list(GRID.voxel_size_zyx_nm),
        list(GRID.offset_zyx_nm),
    ]
    assert tuple(said["classes"]) == CLASSES
    assert "2 of 5 classes were not predicted and are empty: nuc, pm" in caplog.text
    for name, entry in said["classes"].items():
        array = zarr.open_array(tmp_path / "crop7" / name, mode="r", zarr_format=2)
        values = array[...]
        predicted = name in NAMES
        expected = expected_class(draw_prediction(), name) if predicted else np.zeros(GRID.shape_zyx)
        np.testing.assert_array_equal(values, expected)
        assert dict(array.attrs) == {
            "voxel_size": [4.0, 2.0, 2.0],
            "translation": [102.0, 51.0, 1.0],
            "shape": [20, 40, 30],
        }
        instances = name in ("mito", "nuc", "ves")
        assert entry == {
            "predicted": predicted,
            "instances": instances,
            "dtype": values.dtype.name,
            "voxels": np.count_nonzero(values),
            "objects": int(values.max()) if instances else None,
        }
    assert said["classes"]["mito"]["objects"] > 2
    assert said["classes"]["er"]["voxels"] > 100
    assert len(list((tmp_path / "crop7/ves").glob("[0-9]*"))) == 1, "empty chunks are not stored"
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["ledger"]


def test_thresholds_and_objects_are_those_of_the_class(tmp_path: Path) -> None:
    split = ObjectsConfig(threshold=0.4, split_nm=1.0, smallest_nm3=300, fill_holes=True)
    cfg = CFG.model_copy(
        update={"class_threshold": {"er": 0.7}, "class_objects": {"mito": split}, "instance_classes": ("mito",)}
    )
    out = decode(tmp_path, cfg)
    for name in ("er", "mito", "ves"):
        np.testing.assert_array_equal(read_class(out, name), expected_class(draw_prediction(), name, cfg))
    assert read_class(out, "er").sum() < expected_class(draw_prediction(), "er").sum()
    assert read_json(out)["classes"]["ves"]["objects"] is None


def test_ids_above_255_are_kept(tmp_path: Path) -> None:
    values = np.zeros((1, 20, 20, 15), np.float16)
    values[:, ::2, ::2, ::2] = 0.9
    out = tmp_path / "crop.json"
    grid = CropGrid((20, 20, 15), SIZE, OFFSET)
    decode_crop(write_prediction(tmp_path, values, ("mito",)), write_volume(tmp_path, ("mito",), grid), CFG, out=out)
    found = read_class(out, "mito")
    assert read_json(out)["classes"]["mito"] == {
        "predicted": True,
        "instances": True,
        "dtype": "uint16",
        "voxels": 800,
        "objects": 800,
    }
    np.testing.assert_array_equal(found[values[0] > 0], np.arange(1, 801))


def test_labels_do_not_depend_on_blocks_memory_or_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = decode(tmp_path / "a")
    two = decode(tmp_path / "b", threads=3)
    assert read_files(one.parent / "crop7") == read_files(two.parent / "crop7")
    assert one.read_bytes() == two.read_bytes()
    monkeypatch.setattr(crop_plan, "BLOCK_VX", 16)
    monkeypatch.setattr(class_grid, "MOST_HELD_BYTES", 4000)
    monkeypatch.setattr(module, "MOST_MASK_BYTES", 2 * 16**3)
    three = decode(tmp_path / "c")
    assert read_files(one.parent / "crop7") == read_files(three.parent / "crop7")
    four = decode(tmp_path / "d", CFG.model_copy(update={"chunk_zyx_vx": (7, 40, 128)}))
    for name in CLASSES:
        np.testing.assert_array_equal(read_class(one, name), read_class(four, name))


@pytest.mark.parametrize("classes", [CLASSES, ("ves", "mito")])
def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple) -> None:
    whole = read_files(decode(tmp_path / "whole", classes=classes).parent / "crop7")
    monkeypatch.setattr(crop_plan, "BLOCK_VX", 16)
    kills, cut, labelled = [], [], []
    real_cut, real_find = module._cut_block, module.find_objects

    def cut_some(plan, block, names, pool):
        if len(cut) == 4 and not kills:
            kills.append("killed")
            raise KeyboardInterrupt
        cut.append(block)
        return real_cut(plan, block, names, pool)

    def find_some(mask, *args, **more):
        if len(kills) == len(labelled) + 1 < 3:
            kills.append("killed")
            raise KeyboardInterrupt
        labelled.append(int(mask.sum()))
        return real_find(mask, *args, **more)

    monkeypatch.setattr(module, "_cut_block", cut_some)
    monkeypatch.setattr(module, "find_objects", find_some)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            decode(tmp_path / "x", classes=classes)
        assert not (tmp_path / "x/crop.json").exists()
    out = decode(tmp_path / "x", classes=classes)
    assert len(cut) == len(set(cut)) == 2 * 3 * 2
    assert len(labelled) == len(set(labelled)) == 2
    assert read_files(out.parent / "crop7") == whole
    decode(tmp_path / "x", CFG.model_copy(update={"largest_gb": 1.0}), classes=classes)
    assert (len(cut), len(labelled)) == (12, 2), "packing has no part in this"


CHILD = """
    import sys, time
    from pathlib import Path
    import small_submission as small
    from connectomake.submit import crop_plan, decode_crop
    from connectomake.volumes.durable import DurableStore

    crop_plan.BLOCK_VX = 16
    real = DurableStore.set

    async def slow_set(self, key, value):
        time.sleep(0.01)
        await real(self, key, value)

    DurableStore.set = slow_set
    small.decode(Path(sys.argv[1]), threads=2)
"""


@pytest.mark.parametrize("chunks", [3, 17])
def test_killed_and_begun_again_it_holds_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr(crop_plan, "BLOCK_VX", 16)
    paths = [str(Path(connectomake.__file__).parents[1]), str(Path(__file__).parent)]
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "x")]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "x").glob("*/*/*.*.*"))) < chunks and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL, "it ended by itself"
    assert not (tmp_path / "x/crop.json").exists()
    again, clean = decode(tmp_path / "x"), decode(tmp_path / "clean")
    assert read_files(again.parent / "crop7") == read_files(clean.parent / "crop7")
    assert again.read_bytes() == clean.read_bytes()


@pytest.mark.parametrize("change", ["threshold", "prediction", "code", "no ledger", "no arrays"])
def test_what_was_begun_otherwise_is_removed(tmp_path: Path, change: str) -> None:
    out = decode(tmp_path / "x")
    before = read_json(out)["settings_hash"]
    stale = tmp_path / "x/crop7/er/0.0.0"
    stale.write_bytes(b"stale")
    cfg, more = CFG, {}
    if change == "threshold":
        cfg = CFG.model_copy(update={"threshold": 0.6})
    elif change == "prediction":
        write_prediction(tmp_path / "x", draw_prediction(), checkpoint_hash="other")
        more = {"volume_json": write_volume(tmp_path / "x"), "out": out}
        decode_crop(tmp_path / "x/affinities.zarr", cfg=cfg, **more)
    elif change == "code":
        more = {"code": "other"}
    else:
        folder = tmp_path / "x" / ("parts" if change == "no ledger" else "crop7")
        folder.rename(tmp_path / "away")
    if change != "prediction":
        decode(tmp_path / "x", cfg, **more)
    clean = decode(tmp_path / "clean", cfg)
    assert read_files(tmp_path / "x/crop7") == read_files(clean.parent / "crop7")
    assert (read_json(out)["settings_hash"] == before) == change.startswith("no ")


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    store, volume, out = write_prediction(tmp_path, draw_prediction()), write_volume(tmp_path), tmp_path / "crop.json"
    shifted = CropGrid(GRID.shape_zyx, GRID.voxel_size_zyx_nm, (102.0, 54.0, 1.0))
    with pytest.raises(DataError, match="does not cover the crop along y; expected 53 to 133 nm; got 50 to 130 nm"):
        decode_crop(store, write_volume(tmp_path, grid=shifted), CFG, out=out)
    write_description(volume, {"name": "x"})
    with pytest.raises(DataError, match="is no crop of a challenge"):
        decode_crop(store, volume, CFG, out=out)
    store = write_prediction(tmp_path, draw_prediction(), activations=["sigmoid", "tanh", "sigmoid", "sigmoid"])
    with pytest.raises(DataError, match="the channel mito is no probability"):
        decode_crop(store, write_volume(tmp_path), CFG, out=out)
    (store / "zarr.json").unlink()
    with pytest.raises(MissingDataError, match="is not finished"):
        decode_crop(store, write_volume(tmp_path), CFG, out=out)
    assert not out.exists()


def test_a_crop_of_which_nothing_was_predicted_is_all_empty(tmp_path: Path) -> None:
    out = tmp_path / "crop.json"
    decode_crop(write_prediction(tmp_path, draw_prediction()), write_volume(tmp_path, ("nuc", "pm")), CFG, out=out)
    assert read_json(out)["classes"]["nuc"] == {
        "predicted": False,
        "instances": True,
        "dtype": "uint8",
        "voxels": 0,
        "objects": 0,
    }
    assert not read_class(out, "pm").any()
