"""The figure of class voxels: right sums, lacking classes marked, cells of the right colour."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from connectomake.draw.class_voxels import ANNOTATED, LACKS, ClassVoxels, draw_class_voxels
from connectomake.draw.tables import Table, read_table
from connectomake.errors import DataError

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_class_voxels.py"
COLUMNS = ("dataset", "crop", "split", "class", "present", "absent", "unknown")
ROWS = (
    ("jrc_b", "crop1", "train", "er", 0, 100, 0),
    ("jrc_b", "crop1", "train", "mito", 60, 40, 0),
    ("jrc_a", "crop2", "train", "er", 10, 90, 0),
    ("jrc_a", "crop2", "train", "mito", 25, 75, 0),
    ("jrc_a", "crop3", "validate", "mito", 15, 85, 0),
    ("jrc_a", "crop3", "validate", "er", 0, 0, 100),
    ("jrc_a", "crop3", "validate", "ld", 0, 100, 0),
)


def make_table(rows=ROWS) -> Table:
    return {name: np.array([row[k] for row in rows]) for k, name in enumerate(COLUMNS)}


def many(n_classes: int, n_datasets: int) -> Table:
    rng = np.random.default_rng(0)
    rows = [
        (
            f"jrc_mus-liver-zon-{d}",
            f"crop{d}{c}",
            "validate" if rng.random() < 0.2 else "train",
            f"class_{c}",
            10 ** (1 + c % 8),
            5,
            0,
        )
        for d in range(n_datasets)
        for c in range(n_classes)
    ]
    return make_table(rows)


def texts_of(figure: Figure) -> dict[str, str]:
    """Return what is written where, with its colour."""
    found = [text for axes in figure.axes for text in (*axes.texts, *axes.get_yticklabels())]
    return {text.get_text(): text.get_color() for text in found}


def test_voxels_are_summed_by_class_dataset_and_split():
    shown = ClassVoxels.of_table(make_table())
    assert shown.classes == ["mito", "er", "ld"]
    assert shown.datasets == ["jrc_a", "jrc_b"]
    np.testing.assert_array_equal(shown.present[0], [[25, 60], [10, 0], [0, 0]])
    np.testing.assert_array_equal(shown.present[1], [[15, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(shown.annotated[1], [[True, False], [False, False], [True, False]])


def test_lacking_classes_are_marked():
    figure = draw_class_voxels(make_table(), "cellmap")
    texts = texts_of(figure)
    assert (texts["no validation"], texts["er"], texts["no voxels"], texts["ld"]) == (LACKS,) * 4
    assert LACKS not in (texts["15 %"], texts["mito"])
    assert "3 classes, 1 without validation, 1 without a voxel" in [text.get_text() for text in figure.texts]


def test_bars_are_as_long_as_there_are_voxels():
    bars, cells = draw_class_voxels(make_table(), "cellmap").axes[:2]
    assert [patch.get_width() for patch in bars.patches] == [85, 10, 0, 15, 0, 0]
    assert bars.get_xscale() == "log"
    image = cells.images[0].get_array()
    assert image.shape == (3, 4, 3)
    grey = [int(ANNOTATED[1:3], 16) / 255] * 3
    np.testing.assert_allclose(image[1, 2], grey)  # er in training of jrc_b: annotated, none there
    np.testing.assert_allclose(image[1, 1], 1)  # and in validation of jrc_a: unknown
    assert image[0, 2].sum() < image[0, 0].sum() < 2.9  # mito: the more voxels, the darker


@pytest.mark.parametrize(("n_classes", "n_datasets"), [(1, 1), (3, 2), (48, 22)])
def test_names_do_not_run_into_each_other(n_classes, n_datasets):
    figure = draw_class_voxels(many(n_classes, n_datasets), "cellmap")
    figure.canvas.draw()
    for labels, axis in ((figure.axes[0].get_yticklabels(), 1), (figure.axes[1].get_xticklabels(), 0)):
        boxes = sorted(label.get_window_extent().get_points()[:, axis].tolist() for label in labels)
        assert all(before[1] <= after[0] for before, after in pairwise(boxes))
    whole = figure.bbox
    for axes in figure.axes:
        (x0, y0), (x1, y1) = axes.get_tightbbox().get_points()
        assert 0 <= x0 < x1 <= whole.x1
        assert 0 <= y0 < y1 <= whole.y1
    assert all(text.get_window_extent().x1 <= whole.x1 for text in figure.texts)


def test_a_table_without_any_voxel_is_drawn():
    figure = draw_class_voxels(make_table([row for row in ROWS if row[3] == "ld"]), "cellmap")
    assert "no voxels" in texts_of(figure)


def test_the_script_draws_what_the_split_wrote(tmp_path):
    lines = ["\t".join(map(str, row)) for row in (COLUMNS, *ROWS)]
    (tmp_path / "class_voxels.tsv").write_text("\n".join(lines) + "\n")
    spec = importlib.util.spec_from_file_location("draw_class_voxels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(table=tmp_path / "class_voxels.tsv", figure=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_that_cannot_be_drawn_is_refused(tmp_path):
    (tmp_path / "class_voxels.tsv").write_text("\t".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match="cannot be drawn"):
        draw_class_voxels(read_table(tmp_path / "class_voxels.tsv"), "cellmap")
