"""Crops become training and validation data: three files that agree, and a table of boxes made of them."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
from small_volume import write_description

from connectomake.cellmap.datasplit import read_datasplit, write_datasplit
from connectomake.cellmap.manifest import CropGrid, read_manifest
from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.errors import ConfigError, DataError
from connectomake.files import read_json, write_json
from connectomake.split.crops import split_crops
from connectomake.split.datasplit import make_datasplit
from connectomake.split.table import read_split

RAW, LABELS = "tree/{0}/{0}.zarr/recon-1/em", "tree/{0}/{0}.zarr/recon-1/labels/groundtruth/{1}"
GRID = CropGrid((10, 20, 30), (3.48, 4.0, 4.0), (1.5, 2.0, -8.25))


STORED = {"source": "labels.zarr", "axes": "zyx", "box_zyx_vx": [(0, 0, 0), (10, 20, 30)], "dtype": "uint16"}


def describe(folder: Path, dataset: str, crop: str, role: str = "train", **present: int | None) -> Path:
    """Write the volume.json of a crop of 6,000 voxels; of a class that is None nothing is annotated."""
    voxels = {
        name: {"present": n or 0, "absent": 0 if n is None else 6000 - n, "unknown": 6000 if n is None else 0}
        for name, n in present.items()
    }
    labels = LABELS.format(dataset, crop)
    for group in (RAW.format(dataset), labels):
        (folder / group).mkdir(parents=True, exist_ok=True)
    told = {
        "name": f"{dataset}.{crop}",
        "role": role,
        "weight": 1.0,
        "shape_zyx": (10, 20, 30),
        "labels": None if role == "predict" else STORED,
        "crop": {
            "dataset": dataset,
            "crop": crop,
            "shape_zyx": GRID.shape_zyx,
            "voxel_size_zyx_nm": GRID.voxel_size_zyx_nm,
            "offset_zyx_nm": GRID.offset_zyx_nm,
            "classes": [name for name, n in present.items() if n is not None],
            "raw_group": f"../../{RAW.format(dataset)}",
            "labels_group": None if role == "predict" else f"../../{labels}",
            "voxels": voxels,
        },
    }
    path = folder / "ingest" / f"{dataset}.{crop}" / "volume.json"
    return write_description(path, told)


@pytest.fixture
def crops(tmp_path) -> list[Path]:
    """Describe twelve crops of three datasets, and one to submit: mito is everywhere, er rare, nuc in one crop."""
    rng = np.random.default_rng(0)
    paths = []
    for k in range(12):
        present = {"mito": int(rng.integers(50, 150)), "er": 40 if k in (1, 5, 9) else 0, "nuc": 7 if k == 2 else None}
        paths.append(describe(tmp_path, f"jrc_{'abc'[k % 3]}", f"crop{k + 1}", **present))
    return [*paths, describe(tmp_path, "jrc_a", "crop99", "predict", mito=None)]


def split(folder: Path, volumes: list[Path], **settings):
    cfg = SplitConfig(method="classes", **settings)
    names = {"datasplit": "datasplit.csv", "table": "class_voxels.tsv", "manifest": "validation_manifest.csv"}
    return split_crops(volumes, cfg, **{key: folder / "split" / name for key, name in names.items()})


def finish(folder: Path, volumes: list[Path], data: DataConfig | None = None, method: str = "classes"):
    datasplit = folder / "split" / "datasplit.csv"
    return make_datasplit(volumes, SplitConfig(method=method), folder / "split.tsv", data, datasplit)


def roles_of(found) -> dict[str, str]:
    return {crop.volume: crop.role for crop in found}


def test_three_files_tell_the_same(tmp_path, crops):
    found = split(tmp_path, crops, validate_fraction=0.3)
    roles = roles_of(found)
    assert set(roles.values()) == {"train", "validate"}
    entries = read_datasplit(tmp_path / "split" / "datasplit.csv")
    assert {f"{entry.dataset}.{entry.crop}": entry.usage for entry in entries} == roles
    assert {entry.crop: entry.classes for entry in entries}["crop3"] == ("mito", "er", "nuc")
    assert {entry.crop: entry.classes for entry in entries}["crop1"] == ("mito", "er")
    rows = read_manifest(tmp_path / "split" / "validation_manifest.csv")
    assert {(row.dataset, row.crop, row.label, row.grid) for row in rows} == {
        (crop.dataset, crop.crop, name, GRID) for crop in found if crop.role == "validate" for name in crop.classes
    }
    with (tmp_path / "split" / "class_voxels.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert len(table) == 12 * 3
    assert {f"{row['dataset']}.{row['crop']}": row["split"] for row in table} == roles
    assert {sum(int(row[state]) for state in ("present", "absent", "unknown")) for row in table} == {6000}


def test_classes_have_their_share_and_rare_ones_both_sides(tmp_path, crops, caplog):
    with caplog.at_level(logging.INFO):
        found = split(tmp_path, crops, validate_fraction=0.3)
    roles = {crop.crop: crop.role for crop in found}
    assert {roles[name] for name in ("crop2", "crop6", "crop10")} == {"train", "validate"}
    assert roles["crop3"] == "train"
    mito = {role: sum(crop.voxels["mito"]["present"] for crop in found if crop.role == role) for role in roles.values()}
    assert mito["validate"] / sum(mito.values()) == pytest.approx(0.3, abs=0.05)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["classes that are not validated, since one crop alone has them: nuc"]
    assert "er: 40 of 120 voxels validate (33.3%)" in caplog.text


def test_the_order_of_volumes_does_not_matter(tmp_path, crops):
    first = split(tmp_path, crops)
    text = (tmp_path / "split" / "datasplit.csv").read_bytes()
    assert split(tmp_path, crops[::-1]) == first
    assert (tmp_path / "split" / "datasplit.csv").read_bytes() == text


def test_datasets_are_kept_together(tmp_path, crops):
    found = split(tmp_path, [path for path in crops if path.parent.name != "jrc_c.crop3"], unit="dataset")
    by_dataset = {crop.dataset: {other.role for other in found if other.dataset == crop.dataset} for crop in found}
    assert sorted(len(roles) for roles in by_dataset.values()) == [1, 1, 1]
    assert {role for roles in by_dataset.values() for role in roles} == {"train", "validate"}


def test_roles_of_a_split_of_the_users_are_kept(tmp_path, caplog):
    volumes = [
        describe(tmp_path, "jrc_a", "crop1", "validate", mito=5, er=9, ld=0),
        describe(tmp_path, "jrc_a", "crop2", "train", mito=5, er=0, ld=0),
        describe(tmp_path, "jrc_a", "crop3", "train", mito=5, er=0, ld=0),
    ]
    with caplog.at_level(logging.WARNING):
        found = split(tmp_path, volumes)
    assert roles_of(found) == {"jrc_a.crop1": "validate", "jrc_a.crop2": "train", "jrc_a.crop3": "train"}
    assert [record.message for record in caplog.records] == [
        "classes that are not trained on, since one crop alone has them: er",
        "classes that are nowhere: ld",
    ]


def test_crops_without_any_class_are_left_out(tmp_path, caplog):
    volumes = [describe(tmp_path, "jrc_a", f"crop{k}", mito=5 if k else None) for k in range(3)]
    with caplog.at_level(logging.INFO):
        assert {crop.crop for crop in split(tmp_path, volumes)} == {"crop1", "crop2"}
        assert {row.volume for row in finish(tmp_path, volumes)} == {"jrc_a.crop1", "jrc_a.crop2"}
    assert caplog.text.count("none of the classes asked for is annotated in them: jrc_a.crop0") == 2


def test_where_nothing_can_validate_the_manifest_is_a_header(tmp_path, caplog):
    split(tmp_path, [describe(tmp_path, "jrc_a", "crop1", mito=5)])
    assert "nothing validates: each crop alone has some class, or has none" in caplog.text
    assert (tmp_path / "split" / "validation_manifest.csv").read_text().count("\n") == 1
    with pytest.raises(DataError, match="has no rows"):
        read_manifest(tmp_path / "split" / "validation_manifest.csv")


def test_what_is_no_crop_or_comes_twice_is_refused(tmp_path):
    path = describe(tmp_path, "jrc_a", "crop1", mito=5)
    with pytest.raises(DataError, match=r"several volumes are crop1: jrc_a\.crop1, jrc_b\.crop1"):
        split(tmp_path, [path, describe(tmp_path, "jrc_b", "crop1", mito=5)])
    with pytest.raises(DataError, match="no crop to learn from"):
        split(tmp_path, [describe(tmp_path, "jrc_a", "crop2", mito=None)])
    told = read_json(path)
    write_json(path, {key: value for key, value in told.items() if key != "crop"})
    with pytest.raises(DataError, match="describes no annotated crop"):
        split(tmp_path, [path])


def test_the_table_of_boxes_has_the_roles_of_the_split(tmp_path, crops):
    roles = roles_of(split(tmp_path, crops)) | {"jrc_a.crop99": "predict"}
    volumes = {
        name: {"raw": "x", "labels": "y", "role": "predict" if role == "predict" else "train", "source": name[:5]}
        for name, role in roles.items()
    }
    data = DataConfig.model_validate({"volumes": volumes, "mix": {"jrc_a": 1, "jrc_b": 2, "jrc_c": 1}})
    rows = finish(tmp_path, crops, data)
    assert {row.volume: row.role for row in rows} == roles
    assert {row.share for row in rows if row.role == "train"} == {1, 2}
    assert {row.share for row in rows if row.role != "train"} == {None}
    assert {row.box.size for row in rows} == {6000}
    assert read_split(tmp_path / "split.tsv") == rows


def test_crops_of_a_tree_that_moved_are_known_by_name(tmp_path, crops):
    split(tmp_path, crops)
    entries = read_datasplit(tmp_path / "split" / "datasplit.csv")
    moved = (tmp_path / "tree").rename(tmp_path / "elsewhere")
    text = (tmp_path / "split" / "datasplit.csv").read_text().replace(f"{tmp_path}/tree/", f"{moved}/")
    (tmp_path / "split" / "datasplit.csv").write_text(text)
    roles = {row.volume: row.role for row in finish(tmp_path, crops)}
    assert all(roles[f"{entry.dataset}.{entry.crop}"] == entry.usage for entry in entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"has no row for .*crop12 \(volume 'jrc_c.crop12'\)"),
        (lambda lines: [*lines, lines[0].replace("crop1/", "crop77/")], "row 13: no volume is the crop .*crop77"),
        (lambda lines: [*lines, lines[0].replace("/tree/", "/copy/")], r"row 13: the volume 'jrc_a.crop1' is in row 1"),
    ],
)
def test_rows_and_volumes_that_do_not_match_are_named(tmp_path, crops, change, message):
    split(tmp_path, crops)
    for group in (
        f"tree/{LABELS[5:].format('jrc_a', 'crop77')}",
        LABELS.replace("tree", "copy").format("jrc_a", "crop1"),
    ):
        (tmp_path / group).mkdir(parents=True)
    (tmp_path / RAW.replace("tree", "copy").format("jrc_a")).mkdir(parents=True)
    path = tmp_path / "split" / "datasplit.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataError, match=message):
        finish(tmp_path, crops)


def test_the_method_and_the_table_go_together(tmp_path, crops):
    split(tmp_path, crops)
    with pytest.raises(ConfigError, match=r"split\.method role; expected datasplit\.csv with classes"):
        finish(tmp_path, crops, method="role")
    with pytest.raises(ConfigError, match=r"split\.method classes"):
        make_datasplit(crops, SplitConfig(method="classes"), tmp_path / "split.tsv")


def test_a_split_without_training_is_refused(tmp_path, crops):
    split(tmp_path, crops)
    path = tmp_path / "split" / "datasplit.csv"
    write_datasplit(path, [type(e)("validate", e.raw, e.labels, e.classes) for e in read_datasplit(path)])
    with pytest.raises(DataError, match="no volume to train on"):
        finish(tmp_path, crops)
