"""Show what the stages' results take on the disk, and remove those of one stage."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from connectomake.errors import ConfigError

BULKY = ("phantom", "ingest", "train", "predict", "decode")

log = logging.getLogger(__name__)


def measure_folders(results: Path) -> dict[str, int]:
    """Add up the files below each stage's folder.

    Parameters
    ----------
    results
        The folder that everything is written to.

    Returns
    -------
    dict
        Stage -> bytes, for the stages that have results.
    """
    return {stage: _bytes_below(results / stage) for stage in BULKY if (results / stage).is_dir()}


def purge(results: Path, stages: Iterable[str] = ()) -> dict[str, int]:
    """Remove the results of some stages, ALL OF THEM, and log what each stage takes.

    Parameters
    ----------
    results
        The folder that everything is written to.
    stages
        Which stages' results to remove; none = only show their sizes.

    Returns
    -------
    dict
        Stage -> bytes that its results took.

    Raises
    ------
    ConfigError
        A stage is not one of those that hold bulk.
    """
    chosen = list(stages)
    for stage in chosen:
        if stage not in BULKY:
            raise ConfigError("purge: no such stage", expected=", ".join(BULKY), got=stage)
    sizes = measure_folders(results)
    for stage, size in sizes.items():
        log.info("%8s  %10.1f MB  %s", stage, size / 1e6, results / stage)
    for stage in chosen:
        if stage in sizes:
            shutil.rmtree(results / stage)
            log.info("removed %s", results / stage)
    if not chosen:
        log.info("to remove a stage's results: snakemake purge --config purge=predict")
    return sizes


def _bytes_below(folder: Path) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)
