"""Sweeps in dry runs: what is listed, and that a new value computes only what is new."""

import os
import re
import time
from pathlib import Path

import pytest
import yaml


def arguments(tmp_path, seeds, thresholds):
    """Write an experiment on the phantom, and give the arguments that ask for its numbers."""
    sweep = {"decode.threshold": thresholds, "train.seed": seeds}
    experiment = {"data": "phantom", "train": "demo", "predict": "demo", "decode": "dense", "sweep": sweep}
    config = {"experiments": {"mine": experiment}, "results": str(tmp_path / "results")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    return ["evaluate", "--configfile", tmp_path / "mine.yaml"]


def plan(snakemake, *asked):
    """Plan; give the number of jobs of each rule, and what stderr said."""
    told = snakemake("-n", *asked)
    assert told.returncode == 0, told.stdout + told.stderr
    table = told.stdout.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}, told.stderr


@pytest.mark.slow("starts Snakemake thrice")
def test_a_new_value_of_a_sweep_computes_only_what_is_new(snakemake, tmp_path):
    summary = snakemake("--summary", *arguments(tmp_path, [1], [0.5, 0.8]))
    files = [line.split("\t")[0] for line in summary.stdout.splitlines() if line.startswith(str(tmp_path))]
    assert sum(path.endswith("labels.zarr/zarr.json") for path in files) == 4 + 3  # segmentations, and the phantoms'
    now = time.time()  # later than all code, and of equal age nothing is out of date
    for path in (
        Path(file) for file in files if "/report/" not in file
    ):  # Snakemake has no record of the table's inputs
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (now, now))

    jobs, said = plan(snakemake, *arguments(tmp_path, [1], [0.5, 0.7, 0.8]))
    assert jobs == {"decode_affinities": 2, "measure_segmentation": 2, "compare_variants": 1, "evaluate": 1}
    assert "mine: 3 variants over decode.threshold, train.seed: 2 done, 1 new\n" in said
    assert "  data 1 (1 done), train 1 (1 done), predict 1 (1 done), decode 3 (2 done), measure 3 (2 done)\n" in said
    assert "  new: threshold=0.7, seed=1\n" in said

    jobs, _ = plan(snakemake, *arguments(tmp_path, [1, 2], [0.5, 0.8]))
    assert (jobs["train_model"], jobs["predict_affinities"], jobs["decode_affinities"]) == (1, 2, 4)
    assert not jobs.keys() & {"make_phantom", "ingest_volume", "make_skeletons", "make_datasplit"}
