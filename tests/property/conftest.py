"""What several property tests share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.blocks.label import label_blocks
from connectomake.decode.blocks.relabel import finish_labels, relabel_blocks
from connectomake.decode.blocks.stitch import stitch_blocks
from connectomake.volumes.volume import open_volume


@pytest.fixture(scope="session")
def decode_in_blocks() -> Callable[..., np.ndarray]:
    """Take a store of affinities or maps through all jobs of decoding in blocks, and give the labels."""

    def decode(store: Path, cfg: DecodeConfig, jobs: int = 1, threads: int = 1) -> np.ndarray:
        labels, stitched = store.parent / "labels.zarr", store.parent / "ids.json"
        for job in range(jobs):
            label_blocks(store, labels, cfg, job=job, jobs=jobs, threads=threads)
        stitch_blocks(store, labels, cfg, stitched)
        for job in reversed(range(jobs)):
            relabel_blocks(store, labels, stitched, cfg, job=job, jobs=jobs)
        finish_labels(store, labels, stitched, cfg)
        return open_volume(labels).read()

    return decode
