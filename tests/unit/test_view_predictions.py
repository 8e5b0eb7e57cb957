"""A prediction is shown as what it is: its own name, channels, voxel size, levels, and float16 too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_volume import write_description

from connectomake.geometry import Box
from connectomake.view.links import Files, write_views
from connectomake.view.routes import Site
from connectomake.volumes import levels as levels_module
from connectomake.volumes.pyramid import create_pyramid
from connectomake.volumes.store import finish_store, list_levels, write_store
from connectomake.volumes.volume import open_volume

SHAPE = (6, 20, 30)
WHERE = {"voxel_size_zyx_nm": (30.0, 8.0, 4.0), "offset_zyx_nm": (90.0, -16.0, 402.0)}
ADDRESS = "http://127.0.0.1:9000"
SIGNED = {
    "offsets_zyx_vx": [None] * 3,
    "channels": ["flow z", "flow y", "foreground"],
    "activations": ["tanh", "tanh", "sigmoid"],
}


def write_run(results: Path, attributes: dict, dtype: type, *, voxel_size_zyx_nm: tuple = (30, 8, 4)) -> Files:
    """Write a volume, labels and a prediction with levels."""
    volume = results / "ingest" / "d" / "v" / "volume.json"
    write_store(volume.with_name("raw.zarr"), np.zeros(SHAPE, np.uint8), **WHERE)
    raw = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], SHAPE], "dtype": "uint8"}
    write_description(volume, {"name": "v", "shape_zyx": SHAPE, **WHERE, "raw": raw, "labels": None})
    labels, store = results / "decode" / "x" / "v" / "labels.zarr", results / "predict" / "maps.zarr"
    write_store(labels, np.ones(SHAPE, np.uint32), **WHERE)
    channels = len(attributes["offsets_zyx_vx"])
    values = np.random.default_rng(0).random((channels, *SHAPE)) * (255 if dtype is np.uint8 else 1)
    where = {**WHERE, "voxel_size_zyx_nm": voxel_size_zyx_nm}
    layout = {"chunk_zyx": (4, 16, 16), "shard_zyx": (8, 32, 32)}
    pyramid = create_pyramid(store, shape=values.shape, dtype=dtype, **layout, **where)
    pyramid.write_block(Box.of_shape(SHAPE), values.astype(dtype))
    pyramid.fill_coarse()
    finish_store(store, attributes={"edge_convention": "source", **attributes})
    return Files(volume, labels / "zarr.json", store / "zarr.json")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels_module, "LONGEST_VX", 8)


def view(files: Files, folder: Path) -> dict:
    write_views(files, folder / "state.json", folder / "links.tsv", results=folder / "results", address=ADDRESS)
    return json.loads((folder / "state.json").read_text())


def maps_layer(state: dict) -> dict:
    return next(layer for layer in state["layers"] if "shader" in layer)


def test_maps_that_are_no_affinities_wear_their_names(tmp_path):
    state = view(write_run(tmp_path / "results", SIGNED, np.uint8), tmp_path)
    layer = maps_layer(state)
    assert layer["name"] == "flow z, flow y, foreground"
    assert [panel["layers"] for row in state["layout"]["children"] for panel in row["children"]] == [
        ["raw", "labels"],
        ["raw", "flow z, flow y, foreground"],
        ["raw", "labels"],
    ]
    assert layer["shader"] == (
        "void main() { emitRGB(vec3(toNormalized(getDataValue(2)), toNormalized(getDataValue(1)), "
        "toNormalized(getDataValue(0)))); }"
    )


def test_no_two_layers_have_one_name(tmp_path):
    attributes = {"offsets_zyx_vx": [None], "channels": ["labels"]}
    state = view(write_run(tmp_path / "results", attributes, np.uint8), tmp_path)
    assert [layer["name"] for layer in state["layers"]] == ["raw", "labels (predicted)", "labels"]


def test_two_channels_are_shown_as_their_mean(tmp_path):
    attributes = {"offsets_zyx_vx": [None] * 2, "channels": ["binary", "contour"]}
    layer = maps_layer(view(write_run(tmp_path / "results", attributes, np.uint8), tmp_path))
    mean = "(toNormalized(getDataValue(0)) + toNormalized(getDataValue(1))) / 2.0"
    assert layer["shader"] == f"void main() {{ emitGrayscale({mean}); }}"


def test_a_prediction_of_another_voxel_size_keeps_it(tmp_path):
    files = write_run(tmp_path / "results", SIGNED, np.uint8, voxel_size_zyx_nm=(30, 16, 8))
    state = view(files, tmp_path)
    spatial = maps_layer(state)["source"]["transform"]["outputDimensions"]
    assert spatial == {"c^": [1, ""], "z": [30 * 1e-9, "m"], "y": [16 * 1e-9, "m"], "x": [8 * 1e-9, "m"]}
    assert state["dimensions"]["x"] == [4 * 1e-9, "m"]


def test_floats_of_16_bits_are_served_as_32_at_all_levels(tmp_path):
    files = write_run(tmp_path / "results", SIGNED, np.float16)
    layer = maps_layer(view(files, tmp_path))
    assert "0.5 + 0.5 * toNormalized(getDataValue(1)), 0.5 + 0.5 * toNormalized(getDataValue(0))" in layer["shader"]
    assert "vec3(toNormalized(getDataValue(2))," in layer["shader"], "a sigmoid is drawn from 0 to 1"
    path = layer["source"]["url"].removeprefix(f"zarr3://{ADDRESS}")
    assert path == "/predict/maps.zarr/float32/"
    copy, site = tmp_path / "copy.zarr", Site(tmp_path / "results")
    store = files.affinities.parent
    for level in list_levels(store):
        described = json.loads(site.find(f"{path}{level.name}/zarr.json").body)
        counts = [-(-n // c) for n, c in zip(described["shape"], _chunk(described), strict=True)]
        for key in [f"{level.name}/c/{'/'.join(map(str, i))}" for i in np.ndindex(*counts)]:
            (copy / key).parent.mkdir(parents=True, exist_ok=True)
            (copy / key).write_bytes(site.find(path + key).body)
        assert site.find(f"{path}{level.name}/c/{'/'.join(map(str, counts))}") is None
        (copy / level.name / "zarr.json").write_text(json.dumps(described))
    (copy / "zarr.json").write_bytes(site.find(f"{path}zarr.json").body)
    assert len(list_levels(copy)) == 4
    for level in list_levels(store):
        found, expected = open_volume(f"{copy}::{level.name}"), open_volume(f"{store}::{level.name}")
        assert (found.dtype, found.offset_zyx_nm) == (np.float32, expected.offset_zyx_nm)
        np.testing.assert_array_equal(found.read(), expected.read().astype(np.float32))
    for key in ("s9/zarr.json", "s0", "s0/c", "ledger/zarr.json"):
        assert site.find(path + key) is None


def test_neuroglancer_knows_the_state(tmp_path):
    neuroglancer = pytest.importorskip("neuroglancer", reason="the package neuroglancer checks states")
    for dtype in (np.uint8, np.float16):
        folder = tmp_path / dtype.__name__
        state = view(write_run(folder / "results", SIGNED, dtype), folder)
        read = neuroglancer.ViewerState(state)
        layer = read.layers["flow z, flow y, foreground"]
        assert layer.source[0].url == maps_layer(state)["source"]["url"]
        assert json.loads(json.dumps(read.to_json()))["layers"][1]["shader"] == maps_layer(state)["shader"]


def _chunk(described: dict) -> list[int]:
    return described["chunk_grid"]["configuration"]["chunk_shape"]
