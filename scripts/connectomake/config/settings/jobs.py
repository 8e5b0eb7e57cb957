"""How many jobs a volume is divided among, from its shape alone: known before anything runs, and without numpy.

A job that lasts minutes is worth its start (5 to 10 s on a cluster) and loses little when it is killed; tens to a few
hundred of them keep a cluster busy, and Snakemake's scheduler quick. Larger volumes get longer jobs, up to 12 times as
long (4 hours instead of 20 minutes); the largest get more jobs, as many as a graph of jobs can hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, prod
from typing import Literal, Protocol

from connectomake.config.settings.predict_regions import RegionConfig

AUTO: Literal["auto"] = "auto"
GOOD_MIN, SHORTEST_MIN, LONGEST_MIN = 20, 3, 240
FEW_JOBS, MOST_JOBS = 500, 10_000
LONGER = LONGEST_MIN // GOOD_MIN


class Divided(Protocol):
    """Settings of a stage that goes through a volume block by block, in jobs."""

    @property
    def jobs(self) -> int | Literal["auto"]:
        """How many, where it is fixed."""

    @property
    def mvoxel_per_job(self) -> float:
        """Million voxels of one job, where it is not."""

    @property
    def block_zyx_vx(self) -> tuple[int, int, int] | None:
        """Blocks in voxels."""


def count_jobs(
    cfg: Divided,
    shape_zyx: Sequence[int] | None,
    voxel_size_zyx_nm: Sequence[float] | None = None,
    region: RegionConfig | None = None,
) -> int:
    """Return the number of jobs that a volume is divided among.

    Parameters
    ----------
    cfg
        The settings of the stage; with ``jobs: auto`` the number follows from what is covered.
    shape_zyx
        The volume's shape in voxels; None = a crop of a challenge, which is one job.
    voxel_size_zyx_nm
        Of the volume; needed where the region is told in nm.
    region
        The part that is predicted. A table of crops is not opened, and a mask not either: the box around counts.

    Returns
    -------
    int
        At least 1, and with ``jobs: auto`` at most one job for each block.
    """
    if cfg.jobs != AUTO:
        return cfg.jobs
    if shape_zyx is None or cfg.block_zyx_vx is None:
        return 1
    boxes = list_boxes(region, shape_zyx, voxel_size_zyx_nm or (1, 1, 1))
    blocks = sum(prod(ceil(n / b) for n, b in zip(box, cfg.block_zyx_vx, strict=True)) for box in boxes)
    return divide(sum(map(prod, boxes)), 1e6 * cfg.mvoxel_per_job, blocks)


def divide(amount: float, per_job: float, blocks: int) -> int:
    """Divide an amount of work (voxels, minutes) among jobs, of which none has less than a block.

    Examples
    --------
    >>> divide(1e12, 1e9, 100_000), divide(1e14, 1e9, 100_000), divide(1e12, 1e9, 3)
    (500, 8334, 3)
    """
    jobs = ceil(amount / per_job)
    if jobs > FEW_JOBS:
        jobs = min(MOST_JOBS, max(FEW_JOBS, ceil(jobs / LONGER)))
    return max(1, min(jobs, blocks))


def list_boxes(
    region: RegionConfig | None, shape_zyx: Sequence[int], voxel_size_zyx_nm: Sequence[float]
) -> list[list[int]]:
    """Return the sides in voxels of the crops, or of the box, that are predicted of a volume; see `count_jobs`."""
    found: list[list[int]] = []
    if region is not None and region.has_crops and not region.crops_file:
        found = _sides(region.crops_zyx_vx, (1, 1, 1)) + _sides(region.crops_zyx_nm, voxel_size_zyx_nm)
    elif region is not None and region.box_zyx_vx is not None:
        found = _sides([region.box_zyx_vx], (1, 1, 1))
    elif region is not None and region.box_zyx_nm is not None:
        found = _sides([region.box_zyx_nm], voxel_size_zyx_nm)
    return [
        [max(1, min(side, n)) for side, n in zip(box, shape_zyx, strict=True)] for box in found or [list(shape_zyx)]
    ]


def _sides(
    boxes: Iterable[tuple[Sequence[float], Sequence[float]]], voxel_size_zyx: Sequence[float]
) -> list[list[int]]:
    """Return the sides of boxes in voxels of a size in the boxes' unit."""
    return [[ceil((b - a) / size) for a, b, size in zip(*box, voxel_size_zyx, strict=True)] for box in boxes]
