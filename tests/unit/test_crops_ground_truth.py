"""What labels say: encodings, classes without labels, unions of parts, labels that are too coarse; and their codes."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import small_tree as tree
from small_volume import write_description

from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.ingest.crops import write_blocks as blocks_module
from connectomake.ingest.crops.codes import Codes, count_voxels, read_codes
from connectomake.ingest.crops.ingest import ingest_crop
from connectomake.volumes.ingested import IngestedVolume

RNG = np.random.default_rng(3)
SHAPE = (6, 7, 8)
SIZE = (4.0, 4.0, 4.0)
CORNER = (6.0, 2.0, 10.0)
MITO_MEM, MITO_LUM, NUC = (RNG.choice(np.array([0, 1, 255], np.uint8), SHAPE) for _ in range(3))
TABLE = 'mito_mem,3,""\nmito_lum,4,""\nmito_ribo,5,""\nnuc,9,""\nmito,50,"3,4"\nmito_all,51,"3,4,5"\n'
SEMANTIC_BARE, INSTANCES_BARE = ({"type": f"{kind}_segmentation"} for kind in ("semantic", "instance"))


def ingest(folder: Path, classes: tuple[str, ...], *, threads: int = 1, **settings: object) -> Path:
    """Ingest crop7 of the tree in a folder, with images, on its labels' voxels; gives volume.json."""
    em = folder / "jrc_a/jrc_a.zarr/recon-1/em/fibsem-uint8"
    if not em.exists():
        tree.write_em(folder, "jrc_a", RNG.integers(0, 256, (16, 16, 16), dtype=np.uint8), SIZE)
    (folder / "classes.csv").write_text(TABLE)
    crop = folder / "jrc_a/jrc_a.zarr/recon-1/labels/groundtruth/crop7"
    cfg = CellmapConfig(tree=str(folder), voxel_size_zyx_nm=SIZE, classes=classes, **settings)
    source = VolumeSource(role="train", raw=str(em), labels=str(crop), crop="jrc_a/crop7")
    volume_json = folder / "out" / "volume.json"
    options = {"class_table": folder / "classes.csv", "threads": threads}
    ingest_crop(source, cfg, name="jrc_a.crop7", volume_json=volume_json, **options)
    return volume_json


def states_of(volume_json: Path) -> dict[str, np.ndarray]:
    """Read what is known of each voxel, class by class: 1, 0, -1."""
    codes = read_codes(IngestedVolume.read(volume_json))
    assert codes is not None
    values = IngestedVolume.read(volume_json).open_labels().read()
    assert values.min() == 1
    assert values.max() == len(codes.states)
    return {name: codes.states[:, i][values.astype(int) - 1] for i, name in enumerate(codes.classes)}


def decode(array: np.ndarray, unknown: int | None = 255) -> np.ndarray:
    found = (array != 0).astype(np.int8)
    if unknown is not None:
        found[array == unknown] = -1
    return found


def put(folder: Path, name: str, array: np.ndarray, **options: object) -> None:
    size, corner = options.pop("size", SIZE), options.pop("corner", CORNER)
    tree.write_class(folder, "jrc_a", "crop7", name, array, size, corner, **options)


@pytest.mark.parametrize(
    ("annotation", "dtype", "unknown"),
    [
        (tree.SEMANTIC, "uint8", 255),
        (tree.INSTANCES, "uint16", 255),
        (None, "uint8", None),
        (SEMANTIC_BARE, "uint8", 255),
        (SEMANTIC_BARE, "uint16", None),
        (INSTANCES_BARE, "uint8", None),
        (SEMANTIC_BARE | {"encoding": {"absent": 0, "present": 1}}, "uint8", None),
        (SEMANTIC_BARE | {"encoding": {"absent": 0, "unknown": 7}}, "uint32", 7),
        (INSTANCES_BARE | {"encoding": {"absent": 0, "unknown": 300}}, "uint8", None),
        (INSTANCES_BARE | {"encoding": {"absent": 0, "unknown": -1}}, "int16", -1),
        (INSTANCES_BARE | {"encoding": {"absent": 0, "unknown": None}}, "uint64", None),
    ],
)
def test_the_encoding_says_what_is_unknown(tmp_path: Path, annotation: dict, dtype: str, unknown: int | None) -> None:
    choices = [0, 1, 7, 255] + [-1] * (dtype == "int16") + [70000] * (dtype == "uint32")
    array = RNG.choice(np.array(choices), SHAPE).astype(dtype)
    put(tmp_path, "nuc", array, annotation=annotation)
    np.testing.assert_array_equal(states_of(ingest(tmp_path, ("nuc",)))["nuc"], decode(array, unknown))


def test_flags_are_read_as_labels(tmp_path: Path) -> None:
    put(tmp_path, "nuc", MITO_MEM == 1, annotation=None)
    np.testing.assert_array_equal(states_of(ingest(tmp_path, ("nuc",)))["nuc"], MITO_MEM == 1)


def test_no_group_is_unknown_and_zeros_are_absent(tmp_path: Path) -> None:
    put(tmp_path, "nuc", np.zeros(SHAPE, np.uint8))
    put(tmp_path, "all", np.ones(SHAPE, np.uint8), size=(1.0, 1.0, 1.0), annotation=None)
    volume_json = ingest(tmp_path, ("mito", "nuc"))
    found = states_of(volume_json)
    assert (found["nuc"] == 0).all()
    assert (found["mito"] == -1).all()
    crop = read_json(volume_json)["crop"]
    assert crop["classes"] == ["nuc"]
    assert crop["voxel_size_zyx_nm"] == list(SIZE), "the merged map of all classes is none of them"


def test_a_class_without_labels_is_the_union_of_its_parts(tmp_path: Path) -> None:
    put(tmp_path, "mito_mem", MITO_MEM)
    put(tmp_path, "mito_lum", MITO_LUM)
    volume_json = ingest(tmp_path, ("mito", "mito_lum", "mito_all"))
    found = states_of(volume_json)
    for index in np.ndindex(*SHAPE):
        parts = {decode(a)[index] for a in (MITO_MEM, MITO_LUM)}
        assert found["mito"][index] == (1 if 1 in parts else -1 if -1 in parts else 0)
    np.testing.assert_array_equal(found["mito_lum"], decode(MITO_LUM))
    assert (found["mito_all"] == -1).all(), "mito_ribo is not annotated, so nobody knows where there is none"
    assert read_json(volume_json)["crop"]["classes"] == ["mito", "mito_lum"]


def test_own_labels_come_before_the_union(tmp_path: Path) -> None:
    for name, array in (("mito_mem", MITO_MEM), ("mito_lum", MITO_LUM), ("mito", NUC)):
        put(tmp_path, name, array)
    np.testing.assert_array_equal(states_of(ingest(tmp_path, ("mito",)))["mito"], decode(NUC))


def test_labels_that_are_too_coarse_are_not_annotated(tmp_path: Path) -> None:
    put(tmp_path, "nuc", np.ones((3, 4, 4), np.uint8), size=(8.0, 8.0, 8.0))
    put(tmp_path, "mito", MITO_MEM)
    found = states_of(ingest(tmp_path, ("nuc", "mito"), coarsest_labels_nm=(4, 8, 8)))
    assert (found["nuc"] == -1).all()
    np.testing.assert_array_equal(found["mito"], decode(MITO_MEM))
    assert (states_of(ingest(tmp_path, ("nuc", "mito"), coarsest_labels_nm=(8, 8, 8)))["nuc"] >= 0).all()


def test_where_labels_do_not_reach_is_unknown(tmp_path: Path) -> None:
    """One class is annotated in a part of the crop; its voxels are larger, so its own corner lies elsewhere."""
    put(tmp_path, "mito", MITO_MEM)
    put(tmp_path, "nuc", np.ones((2, 2, 2), np.uint8), size=(8.0, 8.0, 8.0), corner=(10.0, -6.0, 18.0))
    expected = np.full(SHAPE, -1)
    expected[1:5, 0:2, 2:6] = 1
    np.testing.assert_array_equal(states_of(ingest(tmp_path, ("mito", "nuc")))["nuc"], expected)


def test_a_crop_without_any_of_the_classes_is_all_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "nuc", NUC)
    volume_json = ingest(tmp_path, ("mito",))
    assert (states_of(volume_json)["mito"] == -1).all()
    assert "none of the classes asked for is annotated" in caplog.text


def test_codes_depend_on_neither_blocks_nor_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (70, 130, 66)
    tree.write_em(tmp_path, "jrc_a", RNG.integers(0, 256, (72, 132, 70), dtype=np.uint8), SIZE, levels=1, chunk=64)
    arrays = {name: RNG.choice(np.array([0, 1, 255], np.uint8), shape) for name in ("nuc", "mito_mem", "mito_lum")}
    arrays["nuc"][:64] = 0
    for name, array in arrays.items():
        put(tmp_path, name, array, corner=(-2.0, -2.0, -2.0), chunk=64)
    found = []
    for shard, threads in (((128, 192, 128), 1), ((64, 64, 64), 3)):
        monkeypatch.setattr(blocks_module, "fit_shard", lambda *_, shard=shard: shard)
        volume_json = ingest(tmp_path, ("mito", "nuc", "mito_mem"), threads=threads)
        found.append((read_json(volume_json)["codes"], IngestedVolume.read(volume_json).open_labels().read()))
        for name in ("nuc", "mito_mem"):
            np.testing.assert_array_equal(states_of(volume_json)[name], decode(arrays[name]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert not list(volume_json.parent.glob("*draft*"))


def test_more_codes_than_two_bytes_hold(tmp_path: Path) -> None:
    """All combinations of three states of ten classes, plus a few to pass 2 ** 16."""
    rows = np.array(list(product([0, 1, 255], repeat=11)), np.uint8)[:: 3**11 // 66000]
    shape = (len(rows) // 100, 10, 10)
    names = [f"c{i}" for i in range(11)]
    for name, column in zip(names, rows[: np.prod(shape)].T, strict=True):
        put(tmp_path, name, column.reshape(shape), size=(0.05, 0.05, 0.05), corner=(0.0, 0.0, 0.0), chunk=1000)
    em = RNG.integers(0, 256, shape, dtype=np.uint8)
    tree.write_em(tmp_path, "jrc_a", em, (0.05, 0.05, 0.05), (0.0, 0.0, 0.0), levels=1, chunk=1000)
    crop = tmp_path / "jrc_a/jrc_a.zarr/recon-1/labels/groundtruth/crop7"
    cfg = CellmapConfig(tree=str(tmp_path), voxel_size_zyx_nm=(0.05, 0.05, 0.05), classes=tuple(names))
    source = VolumeSource(
        role="train", raw=str(crop.parents[2] / "em/fibsem-uint8"), labels=str(crop), crop="jrc_a/crop7"
    )
    volume_json = tmp_path / "volume.json"
    ingest_crop(source, cfg, name="jrc_a.crop7", volume_json=volume_json)
    assert IngestedVolume.read(volume_json).open_labels().dtype == np.uint32
    found = states_of(volume_json)
    for name, column in zip(names, rows[: np.prod(shape)].T, strict=True):
        np.testing.assert_array_equal(found[name], decode(column.reshape(shape)))


def test_voxels_are_counted_class_by_class() -> None:
    codes = Codes(("a", "b"), np.array([[0, -1], [1, 0], [1, -1]], np.int8))
    assert count_voxels(codes, np.array([5, 7, 11])) == {
        "a": {"present": 18, "absent": 5, "unknown": 0},
        "b": {"present": 0, "absent": 7, "unknown": 16},
    }
    assert codes.as_table().as_plain() == {"classes": ["a", "b"], "states": ["0u", "10", "1u"]}


def test_codes_are_read_back_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "volume.json"
    write_description(file, {"crop": {}, "codes": None})
    assert read_codes(IngestedVolume.read(file)) is None
    write_description(file, {"crop": {}, "codes": {"classes": ["a", "b"], "states": ["1u"]}})
    assert read_codes(IngestedVolume.read(file)).states.tolist() == [[1, -1]]
    for damaged in ("1", "12"):
        write_description(file, {"crop": {}, "codes": {"classes": ["a", "b"], "states": [damaged]}})
        with pytest.raises(DataError, match="are damaged"):
            read_codes(IngestedVolume.read(file))
    write_description(file, {})
    with pytest.raises(DataError, match="is no crop of the CellMap challenge"):
        read_codes(IngestedVolume.read(file))
