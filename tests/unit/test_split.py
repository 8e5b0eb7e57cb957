"""Splits: no voxel with two roles, none lost, and clear words where it cannot be done."""

import logging

import numpy as np
import pytest
from small_volume import write_description

from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.errors import ConfigError, DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.split.datasplit import join_boxes, make_datasplit
from connectomake.split.table import COLUMNS, SplitRow, read_split, write_split


def describe(folder, name="a", role="train", shape=(60, 50, 40), weight=1.0, labels=True):
    told = {
        "name": name,
        "role": role,
        "weight": weight,
        "shape_zyx": shape,
        "labels": {"source": "x", "axes": "zyx", "box_zyx_vx": [(0, 0, 0), shape], "dtype": "uint8"}
        if labels
        else None,
    }
    return write_description(folder / f"{name}.json", told)


def divide(folder, volumes, **settings):
    return make_datasplit(volumes, SplitConfig(**settings), folder / "split.tsv")


def describe_data(mix, **sources):
    """Return a data config with volumes name=source; those called v... validate."""
    volumes = {
        name: {"raw": "x", "labels": "y", "role": "validate" if name[0] == "v" else "train", "source": source}
        for name, source in sources.items()
    }
    return DataConfig.model_validate({"volumes": volumes, "mix": mix})


def paint(rows, shape):
    """Count how often each voxel is in a row."""
    count = np.zeros(shape, int)
    for row in rows:
        count[row.box.slices] += 1
    return count


def test_roles_are_those_of_the_volumes(tmp_path, caplog):
    volumes = [
        describe(tmp_path, "a", weight=2.5),
        describe(tmp_path, "b", "validate", (10, 10, 10)),
        describe(tmp_path, "c", "test", labels=False),
        describe(tmp_path, "d", "predict", labels=False),
    ]
    with caplog.at_level(logging.INFO):
        rows = divide(tmp_path, volumes)
    assert [(r.volume, r.role, r.weight) for r in rows] == [
        ("a", "train", 2.5), ("b", "validate", 1.0), ("c", "test", 1.0), ("d", "predict", 1.0)
    ]  # fmt: skip
    assert rows[0].box == Box.of_shape((60, 50, 40))
    assert read_split(tmp_path / "split.tsv") == rows
    assert "train: 1 boxes, 120,000 voxels" in caplog.text


@pytest.mark.parametrize(("axis", "fraction", "stop"), [("z", 0.2, (48, 50, 40)), ("x", 0.5, (60, 50, 20))])
def test_slab_cuts_the_far_end(tmp_path, axis, fraction, stop):
    rows = divide(tmp_path, [describe(tmp_path)], method="slab", axis=axis, validate_fraction=fraction)
    assert [row.role for row in rows] == ["train", "validate"]
    assert rows[0].box == Box((0, 0, 0), stop)
    assert (paint(rows, (60, 50, 40)) == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_blocks_cover_everything_once(tmp_path, seed):
    volumes = [describe(tmp_path), describe(tmp_path, "t", "test")]
    rows = divide(tmp_path, volumes, method="blocks", block_zyx_vx=(18, 16, 20), validate_fraction=0.25, seed=seed)
    ours = [row for row in rows if row.volume == "a"]
    assert (paint(ours, (60, 50, 40)) == 1).all()
    kept = [row for row in ours if row.role == "validate"]
    assert len(kept) == round(3 * 3 * 2 * 0.25)
    assert all(s >= b for row in kept for s, b in zip(row.box.shape_zyx, (18, 16, 20), strict=True))
    assert rows[-1] == SplitRow("t", "test", tmp_path / "t.json", Box.of_shape((60, 50, 40)))


def test_seed_decides_the_blocks(tmp_path):
    settings = {"method": "blocks", "block_zyx_vx": (10, 10, 10)}
    volumes = [describe(tmp_path)]
    first, again, other = (divide(tmp_path, volumes, seed=seed, **settings) for seed in (1, 1, 2))
    assert first == again != other


def test_volumes_without_labels_are_split(tmp_path):
    rows = divide(tmp_path, [describe(tmp_path, labels=False), describe(tmp_path, "v", "validate", labels=False)])
    assert [row.role for row in rows] == ["train", "validate"], "generators learn from images alone"


def test_joined_boxes_are_the_same_voxels():
    grid = [Box((z, y, x), (z + 1, y + 1, x + 1)) for z in range(3) for y in range(4) for x in range(5)]
    assert join_boxes(grid) == [Box.of_shape((3, 4, 5))]
    rest = [box for box in grid if box.start_zyx != (1, 1, 1)]
    joined = join_boxes(rest)
    count = np.zeros((3, 4, 5), int)
    for box in joined:
        count[box.slices] += 1
    expected = np.ones((3, 4, 5), int)
    expected[1, 1, 1] = 0
    np.testing.assert_array_equal(count, expected)
    assert len(joined) < 10


def test_what_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="no volume to train on"):
        divide(tmp_path, [describe(tmp_path, role="test")])
    with pytest.raises(DataError, match="two volumes are called 'a'"):
        divide(tmp_path, [describe(tmp_path)] * 2)
    with pytest.raises(DataError, match="no voxels"):
        divide(tmp_path, [describe(tmp_path, shape=(0, 5, 5))])
    with pytest.raises(ConfigError, match="'v' has the role validate"):
        divide(tmp_path, [describe(tmp_path), describe(tmp_path, "v", "validate")], method="slab")
    for method in ("slab", "blocks"):
        with pytest.raises(DataError, match="too small"):
            divide(tmp_path, [describe(tmp_path, shape=(1, 5, 5))], method=method)
    with pytest.raises(MissingDataError):
        divide(tmp_path, [tmp_path / "absent.json"])


def test_sources_and_their_shares_reach_the_table(tmp_path):
    data = describe_data({"real": 0.1, "synthetic": 2 / 3}, a="real", b="real", c="synthetic", v="other")
    volumes = [describe(tmp_path, name, "validate" if name == "v" else "train") for name in data.volumes]
    rows = make_datasplit(volumes, SplitConfig(), tmp_path / "split.tsv", data)
    assert [(row.source, row.share) for row in rows] == [
        ("real", 0.1), ("real", 0.1), ("synthetic", 2 / 3), ("other", None)
    ]  # fmt: skip
    assert read_split(tmp_path / "split.tsv") == rows


def test_volume_of_a_source_without_a_share_is_not_cut(tmp_path):
    data = describe_data({"real": 1, "synthetic": 0}, a="real", c="synthetic")
    volumes = [describe(tmp_path, name) for name in data.volumes]
    rows = make_datasplit(volumes, SplitConfig(method="slab"), tmp_path / "split.tsv", data)
    assert [(row.volume, row.role, row.share) for row in rows] == [
        ("a", "train", 1), ("a", "validate", None), ("c", "train", 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (
            {"real": 1, "synthetic": 1, "syntetic": 1},
            "no train volume has the source 'syntetic': did you mean 'synthetic",
        ),
        (
            {"real": 1, "synthetic": 1, "other": 1},
            "no train volume has the source 'other': sources of train volumes: r",
        ),
        ({"real": 1}, "train volume 'c' .* its source 'synthetic' is not in mix; sources in mix: real"),
        ({"real": 0, "synthetic": 0}, "sum to a positive number"),
        ({"real": -1, "synthetic": 2}, "greater than or equal to 0"),
    ],
)
def test_mix_that_makes_no_sense_is_refused(mix, message):
    with pytest.raises(ValueError, match=message):
        describe_data(mix, a="real", c="synthetic", v="other")


def test_volume_without_a_source_cannot_be_mixed():
    with pytest.raises(ValueError, match=r"train volume 'b' .* it has no source; sources in mix: real"):
        describe_data({"real": 1}, a="real", b="")


def test_volume_that_the_data_config_does_not_know_is_refused(tmp_path):
    data = describe_data({}, volume="real")
    with pytest.raises(DataError, match="no volume 'volum'; did you mean 'volume'"):
        make_datasplit([describe(tmp_path, "volum")], SplitConfig(), tmp_path / "split.tsv", data)


def test_table_of_an_earlier_version_is_read(tmp_path):
    cells = ["a", "train", "a.json", "0,0,0", "5,5,5", "2.5"]
    (tmp_path / "split.tsv").write_text("\t".join(COLUMNS) + "\n" + "\t".join(cells) + "\n")
    (row,) = read_split(tmp_path / "split.tsv")
    assert (row.weight, row.source, row.share) == (2.5, "", None)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([("real", 1), ("real", 2)], "'b' has another share than its source 'real'"),
        ([("real", 1), ("synthetic", None)], "cannot be mixed"),
        ([("real", 0), ("synthetic", 0)], "positive sum"),
    ],
)
def test_shares_that_cannot_be_mixed_are_refused(tmp_path, shares, message):
    path, box = tmp_path / "split.tsv", Box.of_shape((5, 5, 5))
    rows = [
        SplitRow(name, "train", tmp_path / "x.json", box, source=source, share=share)
        for name, (source, share) in zip("ab", shares, strict=True)
    ]
    write_split(path, rows)
    with pytest.raises(DataError, match=message):
        read_split(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("share", "-1"),
        ("share", "x"),
        ("role", "trian"),
        ("weight", "0"),
        ("weight", "inf"),
        ("weight", "x"),
        ("box_stop_zyx_vx", "0,0,0"),
        ("box_stop_zyx_vx", "5,5"),
    ],
)
def test_broken_rows_are_named(tmp_path, column, value):
    path = tmp_path / "split.tsv"
    write_split(path, [SplitRow("a", "train", tmp_path / "a.json", Box.of_shape((5, 5, 5)))])
    header, line = path.read_text().splitlines()
    cells = line.split("\t")
    cells[header.split("\t").index(column)] = value
    path.write_text(f"{header}\n{line}\n" + "\t".join(cells) + "\n")
    with pytest.raises(DataError, match="row 2"):
        read_split(path)


def test_table_without_its_columns_is_refused(tmp_path):
    (tmp_path / "split.tsv").write_text("volume\trole\na\ttrain\n")
    with pytest.raises(DataError, match="lacks columns"):
        read_split(tmp_path / "split.tsv")
    with pytest.raises(MissingDataError, match="no split"):
        read_split(tmp_path / "absent.tsv")
