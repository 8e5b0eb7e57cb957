"""The stage scripts draw from the files that the stages write."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from connectomake.draw.sources import head, open_layers, read_nodes
from connectomake.draw.volume.slices import Layers
from connectomake.files import write_json
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import write_store

SCRIPTS = Path(__file__).parents[2] / "scripts"
CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
VOXEL_NM = (20.0, 10.0, 10.0)
OFFSET_NM = (0.0, 0.0, 500.0)
PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path) -> Path:
    """Write the results of one run: a volume of four bars, its affinities, labels and skeletons."""
    shape = (8, 24, 32)
    truth = np.broadcast_to(np.arange(32) // 8 + 1, shape).astype(np.uint16)
    raw = (truth * 30 + np.indices(shape).sum(0)).astype(np.uint8)
    affinities = np.stack([np.full(shape, v, np.uint8) for v in (10, 20, 30, 40)])
    where = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": OFFSET_NM}
    write_store(tmp_path / "raw.zarr", raw, **where)
    write_store(tmp_path / "truth.zarr", truth, **where)
    write_store(tmp_path / "labels.zarr", (truth * 5).astype(np.uint32), **where)
    offsets = [[0, 0, 9], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    write_store(
        tmp_path / "affinities.zarr",
        affinities,
        attributes={"offsets_zyx_vx": offsets, "edge_convention": "source"},
        **where,
    )
    nodes = np.array([OFFSET_NM, OFFSET_NM])
    save_skeletons(tmp_path / "skeletons.npz", Skeletons(np.array([[0, 1]]), np.array([1, 1]), nodes))
    write_json(tmp_path / "volume.json", describe(shape, labels=True))
    write_json(tmp_path / "blind.json", describe(shape, labels=False))
    write_json(tmp_path / "metrics.json", {"nerl": 0.5, "voi_split": None, "per_volume": {"volume": "bars"}})
    return tmp_path


def describe(shape: tuple[int, int, int], *, labels: bool) -> dict:
    box = [[0, 0, 0], list(shape)]
    entries = {
        name: {"source": f"{name}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": dtype}
        for name, dtype in (("raw", "uint8"), ("truth", "uint16"))
    }
    return {
        "name": "bars",
        "role": "test",
        "weight": 1.0,
        "shape_zyx": list(shape),
        "voxel_size_zyx_nm": VOXEL_NM,
        "offset_zyx_nm": OFFSET_NM,
        "raw": entries["raw"],
        "labels": entries["truth"] if labels else None,
        "settings": {},
    }


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layers_are_opened_from_the_files_of_the_stages(run):
    layers = open_layers(run / "volume.json", run / "affinities.zarr" / "zarr.json", run / "labels.zarr")
    assert layers.shown.channels == (1, 2, 3)
    assert layers.labels.shape_zyx == layers.truth.shape_zyx == (8, 24, 32)
    blind = open_layers(run / "blind.json")
    assert blind == Layers(blind.raw, name="bars")
    assert head(layers.name, "default") == "bars   default"
    assert read_nodes(run / "skeletons.npz").shape == (2, 3)
    assert read_nodes(None) is None


@pytest.mark.parametrize("volume", ["volume", "blind"])
def test_draw_slices(run, volume):
    figure = run / "report" / "slices.png"
    load_script("draw_slices").main(
        volume=run / f"{volume}.json",
        figure=figure,
        affinities=run / "affinities.zarr" / "zarr.json",
        labels=run / "labels.zarr" / "zarr.json",
        skeletons=run / "skeletons.npz",
        title="default",
    )
    assert figure.read_bytes().startswith(PNG)


def test_draw_slices_of_raw_alone(run):
    load_script("draw_slices").main(volume=run / "blind.json", figure=run / "raw.png")
    assert (run / "raw.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("with_metrics", [True, False])
def test_draw_overview(run, with_metrics):
    load_script("draw_overview").main(
        volume=run / "volume.json",
        affinities=run / "affinities.zarr" / "zarr.json",
        labels=run / "labels.zarr" / "zarr.json",
        metrics=run / "metrics.json" if with_metrics else None,
        figure=run / "overview.png",
    )
    assert (run / "overview.png").read_bytes().startswith(PNG)


def test_draw_metrics(tmp_path):
    (tmp_path / "metrics.tsv").write_text(
        "variant\tvolume\trole\tsetting\tnerl\tvoi_split\nv\ta\tvalidate\tv\t0.5\t\nw\ta\tvalidate\tw\t0.75\t1\n"
    )
    (tmp_path / "comparison.tsv").write_text(
        "setting\tmetric\tmean\tn\tn_volumes\tn_seeds\tn_missing\trole\n"
        "v\tnerl\t0.5\t1\t1\t1\t0\tvalidate\nw\tnerl\t0.75\t1\t1\t1\t0\tvalidate\n"
    )
    load_script("draw_metrics").main(
        table=tmp_path / "metrics.tsv",
        comparison=tmp_path / "comparison.tsv",
        figure=tmp_path / "metrics.png",
        page=tmp_path / "new" / "metrics.html",
    )
    assert (tmp_path / "metrics.png").read_bytes().startswith(PNG)
    assert '<td class="best">0.750</td>' in (tmp_path / "new" / "metrics.html").read_text()


def test_draw_curves(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,1.0\n9,0.5\n")
    load_script("draw_curves").main(metrics=tmp_path / "metrics.csv", figure=tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["draw_slices", "draw_curves", "draw_metrics", "draw_overview"])
def test_scripts_are_seams(name):
    module = load_script(name)
    assert len(inspect.getsource(module).splitlines()) <= 40
    assert module.__doc__.startswith("Draw")


def test_no_figure_stays_behind_in_pyplot(run):
    import matplotlib.pyplot as plt

    load_script("draw_slices").main(volume=run / "volume.json", figure=run / "a.png")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("experiments", ["phantom", ["phantom", "fib25"], {"mine": {}}])
@pytest.mark.parametrize("caption", sorted(path.name for path in CAPTIONS.glob("*.rst")))
def test_captions_are_valid(caption, experiments):
    jinja2 = pytest.importorskip("jinja2", reason="comes with snakemake")
    docutils = pytest.importorskip("docutils.core", reason="comes with snakemake")

    job = {
        "config": {"experiments": experiments},
        "wildcards": {"volume": "bars", "experiment": "phantom", "synth": "tiny"},
    }
    text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string((CAPTIONS / caption).read_text())
    parts = docutils.publish_parts(
        text.render(snakemake=job), writer="html", settings_overrides={"report_level": 1, "halt_level": 2}
    )
    assert len(parts["body"]) > 200
