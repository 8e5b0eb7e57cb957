"""Decoding in blocks as jobs of the workflow: the labels of the whole volume, after a kill too; and tuned settings."""

import numpy as np
import pytest
import yaml

from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume

pytestmark = pytest.mark.slow("starts Snakemake, which trains and decodes in three ways, and is killed")

GROW = {"decode.threshold": 0.75, "decode.min_size_vx": 20, "decode.fill_distance_vx": 3}
IN_BLOCKS = {"decode.block_zyx_vx": [16, 32, 16], "decode.chunk_zyx_vx": [16, 16, 16], "decode.jobs": 3}
TUNED = {**IN_BLOCKS, "decode.tune.thresholds": [0.7, 0.75, 0.8]}
# Enough for many objects, whatever the first weights are.
LEARNT = {
    "train.max_steps": 60,
    "train.validate_every_steps": 30,
    "train.checkpoint_every_steps": 30,
    "train.optimizer.learning_rate": 0.02,
    "train.ema_decay": 0,
}
EXPERIMENTS = {
    "whole": {"decode": "blocks", "override": {**GROW, "decode.block_zyx_vx": None, "decode.jobs": 1}},
    "blocks": {"decode": "blocks", "override": {**GROW, **IN_BLOCKS}},
    "tuned": {"decode": "tuned", "override": TUNED},
}


@pytest.fixture
def project(checkout):
    """Return a checkout of its own: runs are killed here."""
    return checkout


@pytest.fixture
def config(small_config, tmp_path):
    """Write a config of three experiments that share one small model."""
    small = yaml.safe_load(small_config.read_text())
    small["override"] |= LEARNT
    experiments = {name: {"data": "phantom", "train": "demo", **rest} for name, rest in EXPERIMENTS.items()}
    path = tmp_path / "three.yaml"
    path.write_text(yaml.safe_dump({**small, "experiments": experiments}))
    return path


def test_blocks_as_jobs_give_the_labels_of_the_whole(snakemake, kill_snakemake_when, config, tmp_path):
    def labelling_begun():
        return any(tmp_path.glob("results/decode/**/parts/*/labels.zarr/ledger/*-of-*.json"))

    assert kill_snakemake_when(labelling_begun, "segment", "--configfile", config), "it ended before it could be killed"
    end = snakemake("segment", "--configfile", config)
    assert end.returncode == 0, end.stderr
    for volume in ("validate", "test"):
        found = {}
        for store in tmp_path.glob(f"results/decode/**/{volume}/labels.zarr"):
            settings = read_attributes(store)["settings"]
            found[settings["fill"], settings["block_zyx_vx"] is None] = open_volume(store).read()
        whole, blocks = found["grow", True], found["grow", False]
        assert len(np.unique(whole)) > 2
        np.testing.assert_array_equal(blocks, whole)
        assert ("none", False) in found  # the tuned one
    (best,) = tmp_path.glob("results/decode/**/best.yaml")
    assert yaml.safe_load(best.read_text())["threshold"] in TUNED["decode.tune.thresholds"]
    assert not list(tmp_path.glob("results/decode/**/parts"))
    # Neither again nor with another number of jobs is anything made that is there.
    settings = yaml.safe_load(config.read_text())
    settings["override"]["predict.jobs"] = "auto"
    for name in ("blocks", "tuned"):
        settings["experiments"][name]["override"]["decode.jobs"] = 2
    config.write_text(yaml.safe_dump(settings))
    again = snakemake("segment", "--configfile", config, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
