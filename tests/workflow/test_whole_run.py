"""The whole workflow at small size: it finishes, has nothing left to do, and survives being killed."""

import csv
import hashlib
import json
from pathlib import Path
from threading import Thread
from urllib.parse import unquote
from urllib.request import urlopen

import pytest
import torch

from connectomake.models.checkpoint import load_checkpoint
from connectomake.view.server import make_server

pytestmark = pytest.mark.slow("starts Snakemake, which runs the whole workflow and is killed twice")


@pytest.fixture
def project(checkout):
    """Return a checkout of its own: runs are killed here."""
    return checkout


def digest_of_store(results: Path) -> str:
    """Hash what a prediction computed: every chunk file of every store, and no record of when."""
    digest = hashlib.sha256()
    stores = sorted(results.glob("predict/**/affinities.zarr"))
    assert stores
    for file in sorted(file for store in stores for file in (store / "s0").rglob("*") if file.is_file()):
        digest.update(str(file.relative_to(results)).encode() + file.read_bytes())
    return digest.hexdigest()


def weights_of(results: Path) -> dict[str, torch.Tensor]:
    """Read the weights of the one network that a run trained."""
    (checkpoint,) = results.glob("train/**/model.ckpt")
    return load_checkpoint(checkpoint)[0].state_dict()


def check_results_can_be_looked_at(results: Path) -> None:
    """Follow the link to a segmentation: every layer that it names is served."""
    assert "serve_volumes.py" in (results / "report/phantom/errors.html").read_text(encoding="utf-8")
    assert len(list(results.glob("report/errors/**/errors.png"))) == 2
    with next(results.glob("report/view/**/links.tsv")).open(encoding="utf-8", newline="") as file:
        whole = next(csv.DictReader(file, delimiter="\t"))
    assert whole["kind"] == "whole"
    state = json.loads(unquote(whole["link"].partition("#!")[2]))
    named = {layer["name"]: layer["source"] for layer in state["layers"] if layer["name"] != "errors"}
    assert set(named) == {"raw", "affinities", "labels", "truth", "skeletons"}
    sources = [source["url"] if isinstance(source, dict) else source for source in named.values()]
    with make_server(results, port=0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for source in sources:
            kind, _, address = source.partition("://")
            address = address.replace("http://127.0.0.1:9000", server.address).rstrip("/")
            with urlopen(f"{address}/{'info' if kind == 'precomputed' else 'zarr.json'}") as answer:
                assert json.load(answer)
        server.shutdown()


def test_run_kill_and_run_again(snakemake, kill_snakemake_when, small_config, tmp_path):
    results = tmp_path / "results"
    whole = snakemake("--configfile", small_config)
    assert whole.returncode == 0, whole.stderr
    numbers = json.loads((results / "report/phantom/metrics.json").read_text())
    assert numbers["rows"]
    page = (results / "report/report.html").read_text(encoding="utf-8")
    assert "VOI" in page
    assert (results / "report/phantom/overview.png").stat().st_size > 10_000
    check_results_can_be_looked_at(results)

    again = snakemake("--configfile", small_config, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr

    expected = digest_of_store(results)
    weights = weights_of(results)
    other = tmp_path / "killed"
    options = ["--configfile", small_config, "--config", f"results={other}"]

    def training_begun():
        return len(list(other.glob("train/**/run/states/*"))) >= 1

    def prediction_begun():
        return any(file.stat().st_size > 2 for file in other.glob("predict/**/ledger/*-of-*.json"))

    assert kill_snakemake_when(training_begun, *options), "the run ended before it could be killed in training"
    assert not list(other.glob("train/**/model.ckpt"))
    assert kill_snakemake_when(prediction_begun, *options), "the run ended before it could be killed in prediction"
    assert len(list(other.glob("predict/**/affinities.zarr/zarr.json"))) < 2
    end = snakemake(*options)
    assert end.returncode == 0, end.stderr
    resumed = weights_of(other)
    assert all(torch.equal(resumed[name], weight) for name, weight in weights.items())
    assert digest_of_store(other) == expected
