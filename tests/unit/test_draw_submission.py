"""Pictures of a local score: the right bars, the right crops, the right place in them, and every case in words."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from itertools import pairwise
from math import prod, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr
from array_volume import ArrayVolume
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from small_tree import INSTANCES, write_class
from small_volume import MADE, write_description

from connectomake.cellmap.manifest import CropGrid
from connectomake.draw.figure import SCORE, SPLIT
from connectomake.draw.submission import views as submission_views
from connectomake.draw.submission.examples import COLOURS, compare, draw_examples
from connectomake.draw.submission.figure import draw_scores
from connectomake.draw.submission.page import write_score_page
from connectomake.draw.submission.score import ClassScore, PairScore, Score, read_score
from connectomake.draw.submission.sources import SubmittedCrop, open_crops, submitted_classes
from connectomake.draw.submission.views import Example, choose_examples, find_middle, read_views, sample_grid
from connectomake.errors import DataError, MissingDataError
from connectomake.files import write_json
from connectomake.volumes.store import write_store

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_submission.py"
CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap" / "scoring_cases"
PNG = b"\x89PNG"
SHAPE, SIZE_NM, CORNER_NM = (20, 48, 60), (16.0, 8.0, 8.0), (160.0, 80.0, 400.0)
GRID = CropGrid(SHAPE, SIZE_NM, (168.0, 84.0, 404.0))


def pair_of(label: str = "mito", crop: str = "crop7", **changes: Any) -> PairScore:
    found = PairScore(crop, label, label in ("mito", "ves"), 6, 2, 2, 0.5 if label == "mito" else None, "scored")
    return replace(found, **changes)


def skipped(label: str = "mito", crop: str = "crop7") -> PairScore:
    return pair_of(label, crop, tp=0, fp=0, fn=0, hausdorff=None, status="skipped_too_many_instances")


def score_of(*pairs: PairScore, **changes: Any) -> Score:
    """Make a score of pairs, without minding what their classes score."""
    labels = {pair.label: pair.is_instance for pair in pairs}
    rows = [
        ClassScore(label, kind, 0.5, {}, 0.1, tuple(pair for pair in pairs if pair.label == label))
        for label, kind in labels.items()
    ]
    return replace(Score(0.5, 0.5, 0.5, "6b9ad68", tuple(rows)), **changes)


def written(path: Path, pairs: list[PairScore], **changes: Any) -> Path:
    """Write score.json as the local score does."""
    crops: dict[str, dict[str, Any]] = {}
    scores: dict[str, dict[str, float]] = {}
    for pair in pairs:
        numbers = {"tp": pair.tp, "fp": pair.fp, "fn": pair.fn, "status": pair.status}
        if pair.is_instance:
            count = pair.fp + pair.tp + pair.fn
            numbers |= {"hausdorff_norm_sum": (pair.hausdorff or 0) * count, "n_hausdorff": count}
        crops.setdefault(pair.crop, {})[pair.label] = numbers
        parts = {"f1": 0.8, "normalized_hausdorff_distance": 0.2, "combined_score": 0.4}
        scores[pair.label] = parts if pair.is_instance else {"iou": 0.6}
    found = {"label_scores": scores, "crops": crops, "gains": dict.fromkeys(scores, 0.05), "ties": [], "skipped": []}
    overall = {"overall_score": 0.49, "overall_instance_score": 0.4, "overall_semantic_score": 0.6}
    write_json(path, {**found, **overall, "metric": "6b9ad68", **changes})
    return path


@pytest.mark.parametrize("case", ["c01", "c05", "c09"])
def test_numbers_of_pairs_pool_to_those_of_classes(case, tmp_path):
    if not CASES.is_dir():
        pytest.skip("../shared/data/cellmap is not there")
    official, extended = (
        json.loads((CASES / case / f"{name}.json").read_text()) for name in ("official", "official_extended")
    )
    crops = {name: labels for name, labels in extended.items() if name.startswith("crop")}
    write_json(
        tmp_path / "s.json", {**official, "crops": crops, "gains": {}, "ties": [], "skipped": [], "metric": "6b9ad68"}
    )
    score = read_score(tmp_path / "s.json", {})
    assert {row.label for row in score.classes} == set(official["label_scores"])
    for row in score.classes:
        pooled = pair_of(
            row.label, is_instance=row.is_instance, hausdorff=row.parts.get("normalized_hausdorff_distance")
        )
        tp, fp, fn = row.counts
        assert replace(pooled, tp=tp, fp=fp, fn=fn).score == pytest.approx(row.score, abs=1e-12)


def test_scores_of_pairs():
    assert pair_of("er").score == 0.6
    assert pair_of("mito").score == pytest.approx(sqrt(12 / 16 * 0.5))
    assert pair_of("er", tp=0, fp=0, fn=0).score == 1
    assert skipped().score is None


def test_classes_come_object_by_object_first_then_by_score(tmp_path):
    pairs = [pair_of(label) for label in ("er", "mito", "ves")]
    score = read_score(written(tmp_path / "s.json", pairs), {"ecs": False, "nuc": True, "er": False})
    assert [row.label for row in score.classes] == ["mito", "ves", "nuc", "er", "ecs"]
    assert [row.score for row in score.classes] == [0.4, 0.4, None, 0.6, None]
    assert score.classes[3].parts == {"precision": 0.75, "recall": 0.75}
    assert set(score.classes[0].parts) == {"f1", "normalized_hausdorff_distance"}
    assert score.headline == "overall 0.490   instance 0.400   semantic 0.600   metric 6b9ad68"


@pytest.mark.parametrize(
    ("pairs", "remark"),
    [
        ([pair_of()], ""),
        ([skipped()], "1 crop skipped (too many objects)"),
        ([skipped(), pair_of(crop="crop8")], "1 of 2 crops skipped (too many objects)"),
        ([pair_of(tp=0, fp=0)], "never predicted"),
        ([pair_of(tp=0, fp=0, status="missing")], "1 crop missing or not usable"),
        ([pair_of(tp=0, fn=0)], "absent from the truth, but predicted"),
        ([pair_of(tp=0, fp=0, fn=0)], "absent from the truth"),
    ],
)
def test_what_the_number_does_not_tell_is_said(pairs, remark):
    assert score_of(*pairs).classes[0].remark == remark


@pytest.mark.parametrize(("label", "missing"), [("mito", "semantic"), ("er", "instance")])
def test_one_kind_alone_is_said(label, missing):
    score = score_of(pair_of(label))
    assert score.missing_kinds == [missing]
    assert "(0 without classes of both kinds)" in score.headline
    assert f"No {missing} class was scored" in write_score_page(score)
    assert len(draw_scores(score).axes) == 2


def test_what_is_no_score_is_refused(tmp_path):
    write_json(tmp_path / "s.json", {"label_scores": {}})
    with pytest.raises(DataError, match=r"s\.json is no local score"):
        read_score(tmp_path / "s.json", {})
    with pytest.raises(MissingDataError):
        read_score(tmp_path / "none.json", {})


def test_bars_are_as_long_as_scores_and_gains():
    score = score_of(pair_of("mito"), skipped("ves"), pair_of("er"))
    score = replace(score, classes=(*score.classes, ClassScore("ecs", False, None, {}, None, ())))
    figure = draw_scores(score, "a title")
    for axes, colour, length in zip(figure.axes, (SCORE, SPLIT) * 2, (0.5, 0.1) * 2, strict=True):
        assert {bar.get_width() for bar in axes.patches} == {length}
        assert {to_hex(bar.get_facecolor()) for bar in axes.patches} <= {colour, "#ffffff"}
    names = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes]
    assert names == [["mito", "ves"], ["", ""], ["er", "ecs"], ["", ""]]
    assert [bool(bar.get_hatch()) for bar in figure.axes[0].patches] == [False, True]  # all crops of ves are skipped
    assert "no truth" in {text.get_text() for text in figure.axes[3].texts}
    assert figure.texts[0].get_text() == "a title"


@pytest.mark.parametrize("count", [1, 48])
def test_rows_of_many_classes_do_not_overlap(count):
    score = score_of(*(pair_of(f"class_{k}", f"crop{c}") for k in range(count) for c in range(40 if count > 1 else 1)))
    figure = draw_scores(score)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(boxes) == count
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) > 0
    assert max(text.get_window_extent().x1 for axes in figure.axes for text in axes.texts) < figure.bbox.width


def test_a_score_without_classes_is_drawn():
    assert draw_scores(score_of()).axes == []
    assert "no instance class" in score_of().headline


def in_memory(crop: str) -> SubmittedCrop:
    return SubmittedCrop("jrc_x", crop, GRID, ArrayVolume(np.zeros(SHAPE, np.uint8)), None, Path("nowhere"))


def test_examples_are_of_different_classes_and_skipped_ones_come_first(monkeypatch):
    monkeypatch.setattr(SubmittedCrop, "has_truth", lambda self, label: label != "blind")
    pairs = [
        pair_of("er", "crop1", tp=1),
        pair_of("er", "crop2", tp=2),
        pair_of("pm", "crop1", tp=3),
        pair_of("none", "crop1", tp=0, fp=0),
        skipped("ves", "crop2"),
        pair_of("blind", "crop1", tp=0),
        pair_of("pm", "crop9", tp=0),
        pair_of("ecs", "crop1", fp=0, fn=0),
    ]
    crops = {name: in_memory(name) for name in ("crop1", "crop2")}
    found = [(e.name, e.pair.label, e.pair.crop) for e in choose_examples(score_of(*pairs), crops, worst=4, best=1)]
    worst = [("ves", "crop2"), ("er", "crop1"), ("pm", "crop1"), ("none", "crop1")]
    assert found == [*((f"worst {k}", *pair) for k, pair in enumerate(worst, 1)), ("best 1", "ecs", "crop1")]
    assert choose_examples(score_of(*pairs), {}) == []
    more = choose_examples(score_of(*pairs), crops, worst=9, best=9)
    names = ["worst 1 ves", "worst 2 er", "worst 3 none", "best 1 ecs", "best 2 pm", "best 3 er"]
    assert [f"{e.name} {e.pair.label}" for e in more] == names  # no more than half are the best


def test_the_middle_of_the_largest_error_is_found():
    there = np.zeros((40, 80, 80), bool)
    there[2:4, 2:4, 2:4] = True
    there[10:30, 40:60, 50:70] = True
    grid = CropGrid((40, 80, 80), (8.0, 8.0, 8.0), (0.0, 0.0, 0.0))
    place = np.array(find_middle(there, grid, (1, 1, 1)))
    assert (np.abs(place - (19.5, 49.5, 59.5)) <= 2).all()
    assert find_middle(np.zeros((3, 4, 5), bool), grid, (1, 1, 1)) == (1, 2, 2)


@given(st.tuples(*[st.integers(1, 60)] * 3), st.integers(1, 5000))
def test_samples_are_voxels_of_the_crop(shape, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submission_views, "MOST_SAMPLED", most)
        coarse, step = sample_grid(CropGrid(shape, SIZE_NM, CORNER_NM))
    assert prod(coarse.shape_zyx) <= most or 1 in coarse.shape_zyx
    for first, size, start, count, n, s in zip(
        coarse.offset_zyx_nm, SIZE_NM, CORNER_NM, coarse.shape_zyx, shape, step, strict=True
    ):
        voxels = (first - start) / size + s * np.arange(count)
        assert voxels == pytest.approx(np.round(voxels))
        assert voxels[0] >= 0
        assert voxels[-1] <= n - 1


@given(arrays(np.int64, (5, 6), elements=st.integers(-1, 3)), arrays(np.int64, (5, 6), elements=st.integers(0, 3)))
def test_each_pixel_has_one_colour(truth, labels):
    labels = np.where(truth < 0, 0, labels)
    found = compare(truth, labels)
    assert list(found) == list(COLOURS)
    total = sum(mask.astype(int) for mask in found.values())
    np.testing.assert_array_equal(total, (truth > 0) | (labels > 0))
    assert not (total.astype(bool) & (truth < 0)).any()


def put(path: Path, array: np.ndarray) -> None:
    """Write one submitted array."""
    made = zarr.create_array(path, shape=array.shape, dtype=array.dtype, chunks=(16,) * 3, zarr_format=2)
    made[...] = array
    made.attrs.update({"voxel_size": SIZE_NM, "translation": GRID.offset_zyx_nm, "shape": array.shape})


def make_truth() -> dict[str, np.ndarray]:
    """Return three mitochondria, and ER whose last sections are unknown."""
    mito, er = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)
    mito[2:18, 4:20, 4:20], mito[2:18, 4:20, 20:30], mito[6:14, 30:44, 30:56] = 1, 2, 300
    er[:, 22:26], er[16:] = 1, 255
    return {"mito": mito, "er": er}


@pytest.fixture
def run(tmp_path) -> dict[str, Any]:
    """Write a crop as the stages do: images of coarser voxels, truth in the tree, and a submission without ER.

    Of the mitochondria two that touch are joined, and the third is missed.
    """
    truth = make_truth()
    tree = tmp_path / "tree"
    for name, array in truth.items():
        kind = {"annotation": INSTANCES | {"encoding": {"absent": 0}}} if name == "mito" else {}
        group = write_class(tree, "jrc_x", "crop7", name, array, SIZE_NM, CORNER_NM, levels=2, **kind)
    own = tmp_path / "ingest"
    raw = np.where(truth["mito"] > 0, 60, 180).astype(np.uint8)[:, ::2, ::2]
    coarse = {"voxel_size_zyx_nm": (16.0, 16.0, 16.0), "offset_zyx_nm": (168.0, 88.0, 408.0)}
    write_store(own / "raw.zarr", raw, **coarse)
    entry = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], raw.shape], "dtype": "uint8"}
    said = {"dataset": "jrc_x", "crop": "crop7", "labels_group": "../tree/" + group.relative_to(tree).as_posix()}
    volume = {"name": "jrc_x.crop7", "shape_zyx": raw.shape, **coarse, "raw": entry, "labels": None, "crop": said}
    write_description(own / "volume.json", volume)
    labels = np.where(truth["mito"] == 300, 0, truth["mito"] > 0).astype(np.uint32) * 70_000
    put(tmp_path / "submit" / "crop7" / "mito", labels)
    grid = {"shape_zyx": SHAPE, "voxel_size_zyx_nm": SIZE_NM, "offset_zyx_nm": GRID.offset_zyx_nm}
    classes = {"mito": MADE | {"instances": True}, "er": MADE, "ecs": MADE}
    crop = {"dataset": "jrc_x", "crop": "crop7", "folder": "crop7", **grid, "classes": classes}
    write_json(tmp_path / "submit" / "crop.json", crop)
    pairs = [pair_of("mito", tp=1, fp=0, fn=2), pair_of("er", tp=0, fp=0, fn=30)]
    inputs = {"scores": written(tmp_path / "score.json", pairs), "volumes": [own / "volume.json"]}
    return {**inputs, "crops": [tmp_path / "submit" / "crop.json"]}


def test_a_view_shows_what_was_missed_and_joined(run):
    crops = open_crops(run["volumes"], run["crops"])
    view = read_views([Example("worst 1", pair_of("mito"))], crops)[0]
    found = compare(view.truth, view.labels)
    box = view.plane.box.slices
    truth = make_truth()["mito"][box].squeeze(view.plane.axis)
    np.testing.assert_array_equal(found["missed"], truth == 300)
    assert found["missed"].any()
    assert not found["too much"].any()
    assert view.gray[truth > 0].mean() < 20 < 230 < view.gray[truth == 0].mean()  # images lie on the crop's voxels


def test_a_joined_object_is_another_object(run):
    crops = open_crops(run["volumes"], run["crops"])
    crop = crops["crop7"]
    zarr.open_array(crop.arrays / "mito", mode="r+")[6:14, 30:44, 30:56] = 9
    view = read_views([Example("worst 1", pair_of("mito"))], crops)[0]
    found = compare(view.truth, view.labels)
    truth = make_truth()["mito"][view.plane.box.slices].squeeze(view.plane.axis)
    np.testing.assert_array_equal(found["other object"], truth == 2)  # the smaller of the two that were joined
    assert found["other object"].any()


def test_what_is_unknown_is_no_error(run):
    crops = open_crops(run["volumes"], run["crops"])
    view = read_views([Example("worst 1", pair_of("er"))], crops)[0]
    truth = make_truth()["er"][view.plane.box.slices].squeeze(view.plane.axis)
    assert (truth == 255).any()
    np.testing.assert_array_equal(view.truth < 0, truth == 255)
    np.testing.assert_array_equal(compare(view.truth, view.labels)["missed"], truth == 1)
    everywhere = crops["crop7"].read_truth("er", GRID)
    np.testing.assert_array_equal(everywhere, np.select([make_truth()["er"] == n for n in (255, 1)], [-1, 1]))


def test_masked_truth_is_unknown(run):
    crop = open_crops(run["volumes"], run["crops"])["crop7"]
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :5] = 0
    put(crop.truth / "mito_mask", mask)
    assert (crop.read_truth("mito", GRID)[:, :5] == -1).all()
    np.testing.assert_array_equal(crop.read_truth("mito", GRID)[:, 5:], make_truth()["mito"][:, 5:])


def test_the_place_is_found_from_few_voxels(run, monkeypatch):
    monkeypatch.setattr(submission_views, "MOST_SAMPLED", 500)
    view = read_views([Example("worst 1", pair_of("mito"))], open_crops(run["volumes"], run["crops"]))[0]
    assert compare(view.truth, view.labels)["missed"].any()


def test_pictures_have_the_shape_of_the_crop(run):
    crops = open_crops(run["volumes"], run["crops"])
    score = read_score(run["scores"], submitted_classes(run["crops"]))
    figure = draw_examples(read_views(choose_examples(score, crops), crops), "crops")
    figure.canvas.draw()
    assert len(figure.axes) == 4 * 2
    for axes in figure.axes:
        across, down = np.diff(axes.get_xlim())[0], -np.diff(axes.get_ylim())[0]
        assert axes.bbox.height / axes.bbox.width == pytest.approx(down / across, rel=0.01)
    assert [bool(axes.patches) for axes in figure.axes] == [True, False, False, False] * 2  # the scale bars


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_submission", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_draws_all_three(run, tmp_path):
    out = {"figure": tmp_path / "a" / "f.png", "slices": tmp_path / "s.png", "page": tmp_path / "b" / "p.html"}
    load_script().main(**run, **out)
    assert out["figure"].read_bytes().startswith(PNG)
    assert out["slices"].read_bytes().startswith(PNG)
    assert "no truth" in out["page"].read_text()  # of ecs


def test_truth_may_lie_as_a_submission_does(run, tmp_path):
    volume = json.loads(run["volumes"][0].read_text())
    volume["crop"]["labels_group"] = None
    write_json(run["volumes"][0], volume)
    blind = open_crops(run["volumes"], run["crops"])["crop7"]
    assert not blind.has_truth("mito")
    with pytest.raises(DataError, match="crop7 has no labels of mito"):
        blind.read_truth("mito", GRID)
    put(tmp_path / "truth.zarr" / "crop7" / "mito", make_truth()["mito"])
    crop = open_crops(run["volumes"], run["crops"], tmp_path / "truth.zarr")["crop7"]
    np.testing.assert_array_equal(crop.read_truth("mito", GRID), make_truth()["mito"])


def test_a_crop_without_a_volume_is_named(run):
    with pytest.raises(DataError, match=r"crop\.json: there is no volume"):
        open_crops([], run["crops"])


def test_nothing_to_show_is_said():
    assert "nothing to show" in {text.get_text() for text in draw_examples([]).texts}


def test_the_page_has_every_number_and_says_what_was_skipped():
    pairs = [pair_of("mito", tp=1234567), skipped("ves", "crop10"), pair_of("a<b", "crop9")]
    skip = {"crop": "crop10", "class": "ves", "status": "skipped_too_many_instances", "reason": "999 objects for 1"}
    score = score_of(*pairs, ties={("crop7", "mito"): 0.25}, left_out=(skip,))
    page = write_score_page(score, "x & y")
    assert "<h1>x &amp; y</h1>" in page
    assert "a&lt;b" in page
    assert "1,234,567" in page
    assert 'skipped too many instances</td><td class="text">999 objects for 1</td>' in page
    assert "mito in crop7 (by 0.25)" in page
    places = [page.index(f"<summary>{crop}<") for crop in ("crop7", "crop9", "crop10")]
    assert places == sorted(places)
    assert page.count("<details>") == 3
