"""Pictures of the worst errors, and their page: the right place in the right plane, exact ids, links that open."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from array_volume import ArrayVolume

from connectomake.draw.errors.figure import LOST, OBJECT, draw_errors
from connectomake.draw.errors.page import write_error_page
from connectomake.draw.errors.views import FoundError, edges_near, field_nm, read_errors, read_views
from connectomake.draw.figure import save_figure
from connectomake.draw.volume.slices import Layers
from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.geometry import Box, Triple
from connectomake.measure.contingency import contingency
from connectomake.measure.error_table import COLUMNS
from connectomake.measure.worst_errors import find_errors
from connectomake.measure.worst_voxel_errors import find_voxel_errors
from connectomake.tables import write_columns
from connectomake.volumes.nodes import segment_at_nodes
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

SCRIPTS = Path(__file__).parents[2] / "scripts"
VOXEL_NM = (40.0, 10.0, 10.0)
OFFSET_NM = (80.0, 0.0, 500.0)
SHAPE = (12, 60, 80)
BIG = 2**60 + 1
PNG = b"\x89PNG"


in_memory = partial(ArrayVolume, voxel_size_zyx_nm=VOXEL_NM, offset_zyx_nm=OFFSET_NM)


def make_truth() -> np.ndarray:
    """Four bars along x, labelled 11 to 14."""
    return np.broadcast_to((np.arange(60) // 15 + 11)[:, None], SHAPE).astype(np.uint32)


def make_labels() -> np.ndarray:
    """Cut the first bar at z 6, and join the fourth to the third."""
    labels = make_truth().astype(np.uint64)
    labels[:6][labels[:6] == 11] = BIG
    labels[labels == 14] = 13
    return labels


def make_skeletons() -> Skeletons:
    """Return a line along x for each bar; the first, in bar 11, turns along z through the cut."""
    edges, ids, places = [], [], []
    for bar in range(4):
        line = [(6, 7 + 15 * bar, x) for x in range(5, 75, 5)]
        line += [(z, 7, 70) for z in range(5, -1, -1)] if bar == 0 else []
        first = len(places)
        edges += [(first + k, first + k + 1) for k in range(len(line) - 1)]
        places += line
        ids += [bar + 1] * len(line)
    return Skeletons(np.array(edges), np.array(ids), np.array(places) * VOXEL_NM + OFFSET_NM)


@pytest.fixture
def layers() -> Layers:
    raw = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    affinities = np.full((3, *SHAPE), 200, np.uint8)
    arrays = (raw, affinities, make_labels(), make_truth())
    return Layers(*(in_memory(array) for array in arrays))


def split_at(voxel: Triple, **changes: object) -> FoundError:
    """Return the cut of the first bar, as found by voxels."""
    position = tuple(v * s + o for v, s, o in zip(voxel, VOXEL_NM, OFFSET_NM, strict=True))
    error = FoundError("split", 1, position, voxel, (11, 11), (11, BIG), None, 5400)
    return replace(error, **changes)


def merge_at(voxel: Triple, **changes: object) -> FoundError:
    return replace(split_at(voxel), **({"kind": "merge", "truth": (13, 14), "segment": (13, 13)} | changes))


def pixels_of(picture: np.ndarray, colour: str) -> np.ndarray:
    """Mark the pixels whose hue is that of a colour: its brightest channel leads by far."""
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    lead, low = int(np.argmax(rgb)), int(np.argmin(rgb))
    values = picture.astype(int)
    return values[..., lead] - values[..., low] > 60


def test_a_field_is_two_micrometres_or_so() -> None:
    assert field_nm((40.0, 4.0, 4.0)) == 1500
    assert field_nm((8.0, 8.0, 8.0)) == 2048
    assert field_nm((40.0, 16.0, 16.0)) == 2500


def test_the_plane_shows_both_parts(layers: Layers) -> None:
    across_z, beside = read_views([split_at((6, 7, 40)), merge_at((6, 45, 40))], layers)
    assert across_z.plane.name in ("xz", "yz")  # the xy plane holds one part only
    assert {11, BIG} <= set(np.unique(across_z.labels).tolist())
    assert beside.plane.name == "xy"
    assert (beside.plane.index, beside.plane.size_nm(VOXEL_NM)) == (6, (600.0, 800.0))
    assert beside.truth_ids == (13, 14)


def test_only_planes_around_the_error_are_read() -> None:
    array = np.zeros((10, 600, 700), np.uint8)
    big = Layers(in_memory(array), labels=in_memory(array))
    view = read_views([split_at((5, 10, 690))], big)[0]
    assert view.plane.box == Box((5, 0, 450), (6, 250, 700))  # moved into the volume, not cut
    assert big.raw.reads == [250 * 250]
    assert max(big.labels.reads) == 250 * 250


def test_skeletons_tell_the_labels_and_the_plane(layers: Layers) -> None:
    error = merge_at((6, 45, 40), truth=(3, 4), lost_nm=1300.0, lost_vx=None)
    with_labels = read_views([error], layers, make_skeletons())[0]
    assert with_labels.truth_ids == (13, 14)
    alone = read_views([error], replace(layers, truth=None), make_skeletons())[0]
    assert (alone.plane.name, alone.truth) == ("xy", None)
    skeletons = make_skeletons()
    near = edges_near(skeletons, 3, alone.plane, layers)
    assert set(skeletons.node_skeleton_id[skeletons.edges[near]].ravel()) == {3}
    assert len(near) == 13
    assert len(edges_near(skeletons, None, alone.plane, layers)) > 4 * 12


def test_the_parts_wear_the_two_colours(layers: Layers) -> None:
    figure = draw_errors([merge_at((6, 45, 40))], layers, "bars")
    raw, _, labels, truth = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert raw.ndim == 2
    assert pixels_of(labels, OBJECT)[32:58].all()
    assert not pixels_of(labels, LOST)[32:58].any()
    assert pixels_of(truth, OBJECT)[32:43].all()
    assert pixels_of(truth, LOST)[47:58].all()


def test_the_cross_and_the_lines_lie_where_they_should(layers: Layers) -> None:
    error = merge_at((6, 45, 40), truth=(3, 4), lost_nm=1300.0, lost_vx=None)
    figure = draw_errors([error], layers, "bars", skeletons=make_skeletons())
    for axes in figure.axes:
        ends = np.concatenate([line.get_xydata() for line in axes.lines])
        np.testing.assert_allclose(ends.mean(axis=0), [405.0, 455.0])  # nm from the corner of the picture
    lines = [collection.get_segments() for collection in figure.axes[-1].collections]
    assert [{tuple(p[:, 1]) for p in segments} for segments in lines] == [{(525.0, 525.0)}, {(375.0, 375.0)}]
    assert not figure.axes[0].collections


def test_anisotropic_pictures_have_their_true_proportions(layers: Layers) -> None:
    figure = draw_errors([split_at((6, 7, 40)), merge_at((6, 45, 40))], layers, "bars")
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    ratio = (12 * 40) / (80 * 10)
    assert boxes[0].height / boxes[0].width == pytest.approx(ratio, rel=1e-3)
    assert boxes[4].height / boxes[4].width == pytest.approx(600 / 800, rel=1e-3)


def test_headings_name_what_happened(layers: Layers) -> None:
    errors = [split_at((6, 7, 40)), merge_at((6, 45, 40), truth=(3, 4), lost_nm=1300.0, lost_vx=None)]
    texts = [text.get_text() for text in draw_errors(errors, layers, "bars", skeletons=make_skeletons()).texts]
    for expected in (
        *("bars", "raw", "affinities", "segmentation", "truth", "split 1", "5,400 voxels lost", "merger 1"),
        *(f"truth 11: segment {BIG} is torn off segment 11", "1.3 µm lost"),
        *("segment 13: skeleton 4 is joined to skeleton 3", "xy plane at voxel z 6  y 45  x 40"),
    ):
        assert expected in texts


def test_raw_and_labels_are_enough_and_labels_are_needed(layers: Layers) -> None:
    assert len(draw_errors([split_at((6, 7, 40))], Layers(layers.raw, labels=layers.labels), "bars").axes) == 2
    with pytest.raises(DataError, match="needs labels"):
        draw_errors([split_at((6, 7, 40))], Layers(layers.raw), "bars")


def missing_at(voxel: Triple, **changes: object) -> FoundError:
    return replace(split_at(voxel), **({"kind": "missing", "truth": (12, 12), "segment": (0, 0)} | changes))


@pytest.fixture
def holed(layers: Layers) -> Layers:
    """Leave the second bar without a label from x 30 on."""
    labels = make_labels()
    labels[:, 15:30, 30:] = 0
    return replace(layers, labels=in_memory(labels))


def test_what_is_missing_is_shown_where_the_labels_have_a_hole(holed: Layers) -> None:
    figure = draw_errors([missing_at((6, 22, 50))], holed, "bars")
    raw, _, segmentation, truth = (axes.get_images()[0].get_array() for axes in figure.axes)
    assert raw.ndim == 2
    columns = [np.flatnonzero(pixels_of(np.asarray(image), LOST).any(axis=0)) for image in (segmentation, truth)]
    assert [(int(found[0]), int(found[-1])) for found in columns] == [(30, 79), (30, 79)]
    assert pixels_of(np.asarray(truth), OBJECT).any()
    texts = [text.get_text() for text in figure.texts]
    assert "missing 1" in texts
    assert "truth 12 has no label here" in texts


def test_missing_path_is_shown_without_truth_labels_too(holed: Layers) -> None:
    error = missing_at((6, 22, 50), truth=(2, 2), lost_nm=400.0, lost_vx=None)
    figure = draw_errors([error], replace(holed, truth=None), "bars", skeletons=make_skeletons())
    assert len(figure.axes) == 4
    assert "skeleton 2 has no label here" in [text.get_text() for text in figure.texts]


def test_without_errors_the_figure_says_so(layers: Layers, tmp_path: Path) -> None:
    figure = draw_errors([], layers, "bars")
    assert "no errors" in [text.get_text() for text in figure.texts]
    save_figure(figure, tmp_path / "none.png")
    assert (tmp_path / "none.png").read_bytes().startswith(PNG)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a volume of four bars, labels with one cut and one joint, and the errors that are found in them."""
    where = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": OFFSET_NM}
    arrays = {"raw": np.full(SHAPE, 90, np.uint8), "truth": make_truth(), "labels": make_labels()}
    for name, array in arrays.items():
        write_store(tmp_path / f"{name}.zarr", array, **where)
    box = [[0, 0, 0], list(SHAPE)]
    entries = {
        name: {"source": f"{name}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": dtype}
        for name, dtype in (("raw", "uint8"), ("truth", "uint32"))
    }
    volume = {"name": "bars", "role": "test", "weight": 1.0, "shape_zyx": list(SHAPE), "settings": {}, **where}
    write_json(tmp_path / "volume.json", volume | {"raw": entries["raw"], "labels": entries["truth"]})
    write_json(tmp_path / "blind.json", volume | {"raw": entries["raw"], "labels": None})
    skeletons = make_skeletons()
    save_skeletons(tmp_path / "skeletons.npz", skeletons)
    truth, labels = open_volume(tmp_path / "truth.zarr"), open_volume(tmp_path / "labels.zarr")
    segment, _ = segment_at_nodes(labels, skeletons.node_pos_nm)
    write_columns(tmp_path / "errors.tsv", find_errors(skeletons, segment, worst=9, **where))
    write_columns(tmp_path / "voxels.tsv", find_voxel_errors(contingency(truth, labels), truth, labels, worst=9))
    return tmp_path


def test_the_worst_cut_and_joint_are_those_that_were_made(run: Path) -> None:
    split, merge = read_errors(run / "errors.tsv", 9)
    assert (split.kind, split.truth, split.segment, split.voxel_zyx[1:]) == ("split", (1, 1), (11, BIG), (7, 70))
    assert split.voxel_zyx[0] in (5, 6)  # cut between the two
    assert split.lost_nm == 5 * 40
    assert (merge.kind, merge.truth, merge.segment, merge.voxel_zyx[:2]) == ("merge", (3, 4), (13, 13), (6, 45))
    assert merge.lost_nm == 2 * 13 * 50
    split, merge = read_errors(run / "voxels.tsv", 9)
    assert (split.truth, split.segment, split.lost_vx) == ((11, 11), (11, BIG), 6 * 15 * 80)
    assert 2 <= split.voxel_zyx[0] < 6
    assert (merge.truth, merge.segment, merge.lost_vx) == ((13, 14), (13, 13), 12 * 15 * 80)
    assert 45 <= merge.voxel_zyx[1] < 49
    assert [error.kind for error in read_errors(run / "voxels.tsv", 1)] == ["split", "merge"]
    assert read_errors(run / "voxels.tsv", 0) == []


def test_what_is_no_table_of_errors_is_refused(run: Path) -> None:
    with pytest.raises(DataError, match="no table"):
        read_errors(run / "none.tsv", 3)
    text = (run / "errors.tsv").read_text()
    for k, wrong in enumerate((text.replace("merge", "other"), text.replace("truth_a", "truth"), "kind\nsplit\n")):
        (run / f"{k}.tsv").write_text(wrong)
        with pytest.raises(DataError, match="no table of errors"):
            read_errors(run / f"{k}.tsv", 3)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("table", "volume"), [("errors", "volume"), ("errors", "blind"), ("voxels", "volume")])
def test_draw_errors_from_files(run: Path, table: str, volume: str) -> None:
    load_script("draw_errors").main(
        errors=run / f"{table}.tsv",
        volume=run / f"{volume}.json",
        labels=run / "labels.zarr" / "zarr.json",
        skeletons=run / "skeletons.npz" if table == "errors" else None,
        figure=run / "report" / "errors.png",
        title="default",
    )
    assert (run / "report" / "errors.png").read_bytes().startswith(PNG)


def test_gather_errors_from_files(run: Path) -> None:
    (run / "links.tsv").write_text('kind\trank\tlink\nwhole\t0\thttp://all\nsplit\t1\thttp://one/#!{"a":"<b>"}\n')
    load_script("gather_errors").main(
        errors=[run / "errors.tsv", run / "voxels.tsv"],
        variants=["a/first", "a/second"],
        volumes=["bars", "bars"],
        links=[run / "links.tsv"] * 2,
        table=run / "all.tsv",
        page=run / "new" / "errors.html",
        title="bars",
        command="python scripts/serve.py --results a&b",
    )
    header, *rows = (run / "all.tsv").read_text().splitlines()
    assert header.split("\t") == ["variant", "volume", *COLUMNS, "link"]
    assert [row.split("\t")[:3] for row in rows] == [
        [f"a/{variant}", "bars", kind] for kind in ("split", "merge") for variant in ("first", "second")
    ]
    page = (run / "new" / "errors.html").read_text()
    assert page.count('<a href="http://one/#!{&#34;a&#34;:&#34;&lt;b&gt;&#34;}" target="_blank"') == 2
    assert page.count(">open all of it</a>") == 2
    assert "<code>python scripts/serve.py --results a&amp;b</code>" in page
    assert re.findall(r"<details( open)?><summary>(\w+)", page) == [(" open", "first"), ("", "second")]
    assert "<td>1.3 µm</td><td>13</td><td>3</td><td>4</td><td>6, 45, " in page
    assert f"<td>{BIG}</td>" in page


def table_of(rows: int, **columns: str) -> dict[str, list[str]]:
    values = dict.fromkeys(("variant", "volume", *COLUMNS), "1") | {"link": "", "kind": "split", "lost_nm": ""}
    return {name: [value] * rows for name, value in (values | columns).items()}


def test_a_page_needs_nothing_else_and_runs_nothing() -> None:
    page = write_error_page(table_of(2, link="javascript:alert(1)", variant="<v>"), "a <b> c")
    assert "<script" not in page
    assert "href" not in page
    assert "http" not in page
    assert "a &lt;b&gt; c" in page
    assert "&lt;v&gt;" in page
    assert "Links need" not in page


def test_a_page_of_many_errors_shows_the_worst() -> None:
    whole = {(f"v{k}", "a"): "" for k in range(100)}
    page = write_error_page(table_of(50, variant="v7", volume="a"), "many", whole=whole)
    assert page.count("<details") == 100
    assert page.count("<tr><td>") == 6
    assert "the worst 6 of 50 splits" in page
    assert page.count("no splits") == 99
    assert page.count("no errors") == 99


def test_the_heading_of_a_variant_names_its_worst() -> None:
    few, many = table_of(1, variant="v", volume="a", lost_vx="5"), table_of(1, variant="v", volume="b", lost_vx="7000")
    page = write_error_page({name: few[name] + many[name] for name in few}, "two volumes")
    assert "<summary>v<span>worst split 7,000 voxels</span></summary>" in page
