"""A prediction is complete when all its blocks are there, with levels down to a small one; killed, it is not."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import zarr

from connectomake.errors import DataError, MissingDataError, ResumeMismatchError
from connectomake.files import write_json
from connectomake.geometry import BlockGrid
from connectomake.ledger import Ledger, job_name
from connectomake.predict.finish import finish_prediction
from connectomake.predict.windows.steps import blocks_of_job
from connectomake.volumes import levels as levels_module
from connectomake.volumes.pyramid import create_pyramid
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume

SHAPE = (16, 40, 56)
SETTINGS = {
    "volume": {"shape_zyx": [99, 99, 99]},  # of which a region of SHAPE was predicted
    "voxel_size_zyx_nm": [16.0, 8.0, 8.0],
    "offset_zyx_nm": [800.0, 4.0, -4.0],
    "block_zyx_vx": [16, 16, 16],
    "chunk_zyx_vx": [8, 8, 8],
    "channels": ["affinity z+1", "binary"],
    "offsets_zyx_vx": [[1, 0, 0], None],
    "edge_convention": "source",
    "dtype": "uint8",
    "pyramid": True,
}
VALUES = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the last two levels to the end, one of them in several shards."""
    for name, value in (("LONGEST_VX", 8), ("LEAST_OF_CHUNK", 1), ("COARSE_BYTES", 1)):
        monkeypatch.setattr(levels_module, name, value)


def predict(store: Path, *, jobs: int = 2, skip: int | None = None, **change: object) -> list[Path]:
    """Do what the jobs of predict_affinities do, without a network."""
    settings = {**SETTINGS, **change}
    ledger = Ledger(store / "ledger", settings)
    pyramid = create_pyramid(
        store,
        shape=VALUES.shape,
        dtype=settings["dtype"],
        chunk_zyx=settings["chunk_zyx_vx"],
        shard_zyx=settings["block_zyx_vx"],
        voxel_size_zyx_nm=settings["voxel_size_zyx_nm"],
        offset_zyx_nm=settings["offset_zyx_nm"],
        coarser=settings["pyramid"],
    )
    blocks, markers = BlockGrid(SHAPE, settings["block_zyx_vx"]), []
    for job in range(jobs):
        mine = blocks_of_job(blocks, job, jobs)
        for block in mine:
            if block != skip:
                pyramid.write_block(blocks[block], VALUES[(slice(None), *blocks[block].slices)])
                ledger.mark(block, job_name(job, jobs))
        markers.append(store.parent / f"{store.name}-{job_name(job, jobs)}.json")
        report = {"settings_hash": ledger.settings_hash, "blocks": len(mine), "computed": len(mine), "seconds": 2.0}
        write_json(markers[-1], report)
    return markers


def read_files(path: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*.json")) if "ledger" not in f.parts
    } | {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.glob("s*/c/**/*")) if f.is_file()}


def test_a_prediction_has_levels_down_to_a_small_one(tmp_path, caplog):
    markers = predict(tmp_path / "a.zarr")
    with caplog.at_level(logging.INFO):
        finish_prediction(markers, tmp_path / "a.zarr", threads=2)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    shapes = [group[d["path"]].shape for d in group.attrs["ome"]["multiscales"][0]["datasets"]]
    assert shapes == [(2, 16, 40, 56), (2, 16, 20, 28), (2, 8, 10, 14), (2, 4, 5, 7)]
    volume = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(volume.read(), VALUES)
    assert volume.offset_zyx_nm == (800, 4, -4)
    assert read_attributes(tmp_path / "a.zarr") == SETTINGS
    assert "16 x 40 x 56 voxels (z, y, x), 2 channels, 4 levels; 0.000 GB on disk" in caplog.text
    assert "12 of 12 blocks in 4 s of all jobs: 0.009 Mvoxel/s for each" in caplog.text


def test_one_level_where_no_pyramid_was_asked_for(tmp_path):
    finish_prediction(predict(tmp_path / "a.zarr", pyramid=False), tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr" / "s1").exists()
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").read(), VALUES)


@pytest.mark.parametrize("calls", [1, 3, 5])
def test_killed_while_it_finishes_a_prediction_is_not_complete_and_then_ends_the_same(tmp_path, monkeypatch, calls):
    whole = predict(tmp_path / "whole" / "a.zarr")
    finish_prediction(whole, tmp_path / "whole" / "a.zarr")
    store = tmp_path / "killed" / "a.zarr"
    markers = predict(store)
    made, left = zarr.Array.__setitem__, [calls]

    def die_at_some_write(*arguments: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", die_at_some_write)
        with pytest.raises(KeyboardInterrupt):
            finish_prediction(markers, store)
    with pytest.raises(DataError, match="is not finished"):
        open_volume(store)
    finish_prediction(markers, store)
    assert read_files(store) == read_files(tmp_path / "whole" / "a.zarr")


def test_blocks_that_are_missing_are_named(tmp_path):
    markers = predict(tmp_path / "a.zarr", skip=5)
    with pytest.raises(DataError, match=r"lacks 1 of 12 blocks \(5\).*run predict_affinities again .*jobs.*: 0"):
        finish_prediction(markers, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr" / "zarr.json").exists()


def test_what_was_not_begun_or_has_other_settings_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match="nothing was begun there"):
        finish_prediction([], tmp_path / "a.zarr")
    markers = predict(tmp_path / "a.zarr")
    other = predict(tmp_path / "b.zarr", offset_zyx_nm=[0.0, 0.0, 0.0])
    with pytest.raises(ResumeMismatchError, match=r"with other settings than .*run its job again"):
        finish_prediction([markers[0], other[1]], tmp_path / "a.zarr")
