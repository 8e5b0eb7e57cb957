"""Links open the right place, with the right objects, in layers that the server has."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from small_volume import write_description

from connectomake.errors import DataError, MissingDataError
from connectomake.files import write_json
from connectomake.view.links import Files, find_contrast, served_at, write_views
from connectomake.view.routes import Site
from connectomake.volumes.affinities import nearest_channels
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.skeletons import Skeletons, label_under, save_skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

SCRIPTS = Path(__file__).parents[2] / "scripts"
ADDRESS = "http://127.0.0.1:9000"
SHAPE = (6, 20, 30)
VOXEL_NM = (30.0, 8.0, 4.0)
OFFSET_NM = (90.0, -16.0, 402.0)
BIG = 2**60 + 1
TABLE = f"""\
kind rank z_nm y_nm x_nm z_vx y_vx x_vx truth_a truth_b segment_a segment_b lost_nm lost_vx
split 1 150.0 0.0 406.0 2 2 1 71 71 5 {BIG} 1234.5 -
merge 1 90.0 -16.0 402.0 0 0 0 71 72 9 9 100.0 -
split 2 90.0 -16.0 402.0 0 0 0 1 1 5 0 - 4200
"""


@pytest.fixture
def files(tmp_path) -> Files:
    """Write the results of one segmentation: two slabs of truth, skeletons numbered otherwise, affinities, labels."""
    results = tmp_path / "results"
    volume = results / "ingest" / "d" / "v@a=1" / "volume.json"
    truth = np.ones(SHAPE, np.uint16)
    truth[:, 10:] = 2
    where = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": OFFSET_NM}
    entries = {}
    for name, values in (("raw", np.full(SHAPE, 9, np.uint8)), ("labels", truth)):
        write_store(volume.with_name(f"{name}.zarr"), values, **where)
        box = [[0, 0, 0], SHAPE]
        entries[name] = {"source": f"{name}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": values.dtype.name}
    write_description(volume, {"name": "slabs", "shape_zyx": SHAPE, **where, **entries})
    nodes = np.array([[0, 2, 1], [5, 2, 1], [0, 12, 1], [5, 12, 1]]) * VOXEL_NM + OFFSET_NM
    save_skeletons(volume.with_name("skeletons.npz"), Skeletons([[0, 1], [2, 3]], [71, 71, 72, 72], nodes))
    labels = results / "decode" / "dense@x=1,y=2" / "v" / "labels.zarr"
    write_store(labels, truth.astype(np.uint32), **where)
    affinities = results / "predict" / "affinities.zarr"
    offsets = [[0, 0, 9], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    write_store(
        affinities,
        np.zeros((4, *SHAPE), np.uint8),
        attributes={"offsets_zyx_vx": offsets, "edge_convention": "source"},
        **where,
    )
    errors = tmp_path / "errors.tsv"
    errors.write_text(TABLE.replace(" -\n", " \n").replace(" - ", "  ").replace(" ", "\t"))
    labels, affinities = labels / "zarr.json", affinities / "zarr.json"
    return Files(volume, labels, affinities, volume.with_name("skeletons.npz"), errors)


def write(files: Files, folder: Path, **options: str) -> tuple[dict, list[tuple[str, str, str]]]:
    """Write the view; give the state and the rows of links."""
    write_views(
        files, folder / "state.json", folder / "links.tsv", results=folder / "results", address=ADDRESS, **options
    )
    header, *rows = (tuple(line.split("\t")) for line in (folder / "links.tsv").read_text().splitlines())
    assert header == ("kind", "rank", "link")
    return json.loads((folder / "state.json").read_text()), rows


def read_link(link: str) -> dict:
    """Read the state in a link, as neuroglancer does."""
    return json.loads(unquote(urlsplit(link).fragment.removeprefix("!")))


def layers_of(state: dict) -> dict[str, dict]:
    return {layer["name"]: layer for layer in state["layers"]}


def test_the_whole_is_the_first_link(files, tmp_path):
    state, rows = write(files, tmp_path)
    assert [row[:2] for row in rows] == [("whole", "0"), ("split", "1"), ("merge", "1"), ("split", "2")]
    assert all(row[2].startswith(f"{ADDRESS}/open#!%7B") for row in rows)
    assert read_link(rows[0][2]) == state
    layers = layers_of(state)
    assert list(layers) == ["raw", "affinities", "labels", "truth", "skeletons", "errors"]
    assert layers["skeletons"]["segments"] == ["71", "72"]
    assert state["selectedLayer"]["layer"] == "errors"
    assert state["position"] == [402 / 4 + 14.5, -16 / 8 + 9.5, 90 / 30 + 2.5]


def test_every_source_is_served(files, tmp_path):
    layers = layers_of(write(files, tmp_path)[0])
    site = Site(tmp_path / "results")
    for name in ("raw", "affinities", "labels", "truth", "skeletons"):
        source = layers[name]["source"]
        url = source if isinstance(source, str) else source["url"]
        kind, _, rest = url.partition("://")
        assert rest.startswith(f"{ADDRESS}/")
        path = rest.removeprefix(ADDRESS)
        found = site.find(f"{path}/info" if kind == "precomputed" else f"{path}zarr.json")
        stream, _ = found.open()
        with stream:
            described = json.load(stream)
        if kind == "zarr3":
            level = described["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
            assert level[0]["scale"][-3:] == list(VOXEL_NM)
            assert level[1]["translation"][-3:] == list(OFFSET_NM)


def test_a_link_opens_at_the_error_with_its_objects_selected(files, tmp_path):
    links = {row[:2]: read_link(row[2]) for row in write(files, tmp_path)[1]}
    split = links["split", "1"]
    assert split["dimensions"] == {"x": [4e-9, "m"], "y": [8e-9, "m"], "z": [30 * 1e-9, "m"]}
    assert split["position"] == [406 / 4, 0.0, 150 / 30]
    assert split["selectedLayer"] == {"layer": "labels", "visible": True}
    layers = layers_of(split)
    assert layers["labels"]["segments"] == ["5", str(BIG)]
    assert layers["skeletons"]["segments"] == ["71"]
    assert layers["truth"]["segments"] == ["1"], "the label under the skeleton, not the skeleton's id"
    (point,) = layers["errors"]["annotations"]
    assert point["point"] == split["position"]
    assert point["description"] == f"split 1: 1,234 nm lost; truth 71; segments 5 and {BIG}"
    merge = layers_of(links["merge", "1"])
    assert merge["labels"]["segments"] == ["9"]
    assert merge["skeletons"]["segments"] == ["71", "72"]
    assert merge["truth"]["segments"] == ["1", "2"]


def test_errors_between_voxels_name_truth_labels(files, tmp_path):
    layers = layers_of(read_link(write(files, tmp_path)[1][3][2]))
    assert layers["truth"]["segments"] == ["1"]
    assert layers["labels"]["segments"] == ["5"], "0 is no object"
    assert "4200 voxels lost" in layers["errors"]["annotations"][0]["description"]


def test_the_field_of_view_follows_the_voxel_size(files, tmp_path):
    whole, close = (read_link(row[2]) for row in write(files, tmp_path)[1][:2])
    extent_nm = 30 * 6
    assert whole["crossSectionScale"] == pytest.approx(extent_nm / 400 / 4)
    assert close["crossSectionScale"] == whole["crossSectionScale"], "never wider than the volume"


def test_affinities_wear_the_colours_of_the_figures(files, tmp_path):
    affinities = layers_of(write(files, tmp_path)[0])["affinities"]
    order = [affinities["shader"].index(f"getDataValue({channel})") for channel in (1, 2, 3)]
    assert order == sorted(order), "red, green, blue lead along x, y, z"
    assert list(affinities["source"]["transform"]["outputDimensions"]) == ["c^", "z", "y", "x"]


def test_panels_hold_the_layers_that_there_are(files, tmp_path):
    state, _ = write(files, tmp_path)
    top, bottom = (row["children"] for row in state["layout"]["children"])
    assert [panel["layers"][1] for panel in (*top, *bottom)] == ["labels", "truth", "affinities", "labels"]
    assert [panel["layout"] for panel in (*top, *bottom)] == ["xy", "xy", "xy", "3d"]
    named = set(layers_of(state))
    assert all(set(panel["layers"]) <= named for panel in (*top, *bottom))


def test_labels_alone_are_enough(files, tmp_path):
    volume = json.loads(files.volume.read_text())
    write_json(files.volume, {**volume, "labels": None})
    state, rows = write(Files(files.volume, files.labels), tmp_path, client="https://ng.example/")
    assert list(layers_of(state)) == ["raw", "labels"]
    assert state["layout"] == "4panel"
    assert state["selectedLayer"]["layer"] == "labels"
    assert len(rows) == 1
    assert rows[0][2].startswith("https://ng.example/#!%7B")


def test_no_skeletons_make_no_layer(files, tmp_path):
    save_skeletons(files.skeletons, Skeletons(np.empty((0, 2)), np.empty(0), np.empty((0, 3))))
    assert "skeletons" not in layers_of(write(replace(files, errors=None), tmp_path)[0])


def test_truth_under_a_skeleton_outside_the_volume_is_none(files):
    truth = open_volume(files.volume.with_name("labels.zarr"))
    skeletons = Skeletons(np.empty((0, 2)), [3, 4], [[0.0, 0.0, 0.0], [90.0, -12.1, 402.0]])
    assert label_under(truth, skeletons, 3, (90, -16, 402)) is None
    assert label_under(truth, skeletons, 4, (90, -16, 402)) == 1, "half a voxel from the first centre"
    assert label_under(truth, skeletons, 5, (90, -16, 402)) is None


def test_contrast_leaves_out_the_extremes(tmp_path, files):
    assert find_contrast(IngestedVolume.read(files.volume).open_raw()) == (9.0, 10.0)
    values = np.full((1, 200, 200), 100, np.uint8)
    values[0, 100] = np.arange(200)
    values[0, 0] = 255
    write_store(tmp_path / "x.zarr", values, voxel_size_zyx_nm=VOXEL_NM)
    low, high = find_contrast(open_volume(tmp_path / "x.zarr"))
    assert 68 <= low < 100 < high <= 131


def test_fewer_channels_than_axes():
    assert nearest_channels([[1, 0, 0], [0, 1, 0], [0, 0, 9], [0, 0, 3]]) == (0, 1, 2)
    assert nearest_channels([[0, 0, 0]]) == (0,)
    assert nearest_channels([[-1, 0, 0], [0, -1, 0], [0, 0, -1]]) == (0, 1, 2)


def test_paths_are_quoted_and_stay_below_the_results(tmp_path):
    assert served_at(tmp_path / "a b" / "c@d=1,+#", tmp_path, ADDRESS) == f"{ADDRESS}/a%20b/c%40d%3D1%2C%2B%23"
    with pytest.raises(DataError, match="cannot be served"):
        served_at(tmp_path.parent / "x", tmp_path, ADDRESS)


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    other = tmp_path / "results" / "other.npz"
    save_skeletons(other, Skeletons(np.empty((0, 2)), [1], np.zeros((1, 3))))
    with pytest.raises(DataError, match=r"other.npz cannot be served; expected .*skeletons.npz"):
        write(replace(files, skeletons=other), tmp_path)
    with pytest.raises(MissingDataError, match="no table"):
        write(replace(files, errors=tmp_path / "none.tsv"), tmp_path)
    files.errors.write_text("kind\trank\n")
    with pytest.raises(DataError, match=r"no table of errors; expected the columns .*x_nm"):
        write(files, tmp_path)
    with pytest.raises(MissingDataError, match="does not exist"):
        write(replace(files, labels=tmp_path / "results" / "no.zarr" / "zarr.json"), tmp_path)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stage_writes_state_and_links(files, tmp_path):
    state, links = tmp_path / "results" / "state.json", tmp_path / "results" / "links.tsv"
    named = {name: getattr(files, name) for name in ("volume", "labels", "affinities", "skeletons", "errors")}
    load_script("link_neuroglancer").main(**named, state=state, links=links, results=tmp_path / "results")
    assert len(links.read_text().splitlines()) == 5
    assert json.loads(state.read_text())["title"] == "slabs - dense@x=1,y=2"
