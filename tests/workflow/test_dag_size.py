"""Thousands of jobs are planned in seconds: nothing slow is done for each of them, and starting one loads little."""

import csv
import json
import os
import subprocess
import sys

import pytest
import yaml

from connectomake.draw.rules import BEGIN, END, draw_rules, read_edges, replace_graph
from connectomake.errors import DataError
from connectomake.volumes.store import create_store, finish_store

HEAVY = ("torch", "monai", "numpy", "pandas", "zarr", "h5py", "numba", "scipy", "skimage", "matplotlib")

# Runs Snakemake, counts calls, and notes which packages were imported by a file of the checkout.
COUNTING = """
import ast, atexit, collections, importlib.abc, json, os, sys
import pydantic

report, project, heavy = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
counts, imported = collections.Counter(), set()

def count(owner, name):
    original = getattr(owner, name)
    def counted(*args, **kwargs):
        counts[name] += 1
        return original(*args, **kwargs)
    setattr(owner, name, counted)

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe()
        while name in heavy and frame is not None:
            if frame.f_code.co_filename.startswith(project):
                imported.add(name)
            frame = frame.f_back

count(pydantic.BaseModel, "model_dump")
count(ast, "parse")
count(os, "listdir")
sys.meta_path.insert(0, Watch())
atexit.register(lambda: json.dump([counts, sorted(imported)], open(report, "w")))
from snakemake.cli import main
main(sys.argv[4:])
"""


@pytest.fixture
def count_calls(project, small_config, tmp_path):
    """Plan the small run with so many jobs a volume; give how often slow functions were called, and what was loaded."""

    def run(jobs):
        settings = yaml.safe_load(small_config.read_text())
        settings["override"]["predict.jobs"] = jobs
        small_config.write_text(yaml.safe_dump(settings))
        arguments = [tmp_path / "counts.json", project, ",".join(HEAVY), "segment", "-n", "--configfile", small_config]
        told = subprocess.run(
            [sys.executable, "-c", COUNTING, *map(str, arguments)],
            cwd=project,
            env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONWARN"))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        assert f"job {jobs - 1} of {jobs}" in told.stdout + told.stderr
        return json.loads((tmp_path / "counts.json").read_text())

    return run


@pytest.mark.slow("starts Snakemake thrice")
def test_nothing_slow_is_done_for_each_job_and_nothing_heavy_is_loaded(count_calls):
    count_calls(10)  # what is kept about the package's files is kept now
    (few, loaded), (many, loaded_again) = count_calls(20), count_calls(120)
    assert few["model_dump"] > 0
    assert all(many[name] - few[name] < 20 for name in many), (few, many)
    assert loaded == loaded_again == []


@pytest.mark.slow("starts Snakemake, which starts a job")
def test_a_hundred_teravoxel_are_planned_by_their_header(snakemake, tmp_path):
    store = tmp_path / "tera.zarr"
    place = {"voxel_size_zyx_nm": (8, 8, 8), "offset_zyx_nm": (0, 0, 0), "chunk_zyx": (128,) * 3}
    create_store(store, shape=(40_000, 50_000, 50_000), dtype="uint8", shard_zyx=(1024,) * 3, **place)
    finish_store(store, attributes={})
    override = {"data.volumes.test": {"phantom": None, "raw": str(store), "role": "predict"}}
    tera = {"data": "phantom", "train": "demo", "predict": "cluster", "decode": "blocks", "override": override}
    config = tmp_path / "tera.yaml"
    config.write_text(yaml.safe_dump({"experiments": {"tera": tera}, "results": str(tmp_path / "results")}))
    told = snakemake("plan", "--configfile", config, "--config", "plan_gpus=8")
    assert told.returncode == 0, told.stderr
    assert "hours of a GPU" in told.stdout + told.stderr
    with (tmp_path / "results/report/plan.tsv").open() as file:
        rows = {(row["stage"], row["volume"]): row for row in csv.DictReader(file, delimiter="\t")}
    assert rows["predict", "test"]["jobs"] == "8334"
    assert rows["predict", "test"]["told_by"].startswith("header")
    assert rows["predict", "validate"]["told_by"].startswith("preset")
    assert float(rows["decode", "test"]["storage_gb"]) == 8e5
    assert not (tmp_path / "results/predict").exists()


def test_the_graph_of_the_readme_is_that_of_the_rules(snakemake, project, tmp_path):
    told = snakemake("--rulegraph", "mermaid-js", "--config", f"results={tmp_path}/results")
    assert told.returncode == 0, told.stderr
    page = (project / "README.md").read_text(encoding="utf-8")
    hint = "run: python scripts/draw_rules.py --page README.md"
    assert replace_graph(page, draw_rules(read_edges(told.stdout))) == page, hint


def test_a_graph_without_detours():
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]
    assert draw_rules(edges) == "```mermaid\nflowchart LR\n    a --> b & d\n    b --> c\n```"
    assert replace_graph(f"x\n{BEGIN}\nold\n{END}\ny", "new") == f"x\n{BEGIN}\nnew\n{END}\ny"
    with pytest.raises(DataError, match="no place for the graph"):
        replace_graph("x", "new")
    with pytest.raises(DataError, match="no graph of rules"):
        read_edges("nothing")
