"""One job's share of the blocks of a volume, as its plan says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from connectomake.config.settings.predict import PredictConfig
from connectomake.errors import MissingPackageError, ResumeMismatchError
from connectomake.files import write_json
from connectomake.ledger import Ledger, job_name
from connectomake.models.device import choose_device, keep_freed_memory
from connectomake.predict.block_work import BlockWork
from connectomake.predict.cost.estimate import warn_of_length
from connectomake.predict.network.evaluate import Ensemble, build_ensemble
from connectomake.predict.network.members import hash_members, open_members
from connectomake.predict.plan_file import Plan, read_plan
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.predict.windows.steps import Step, blocks_of_job, plan_steps
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.pyramid import Pyramid, create_pyramid
from connectomake.volumes.scale import open_working
from connectomake.volumes.volume import Readable, fingerprint

log = logging.getLogger(__name__)

AGAIN = "remove {} and run plan_prediction again"


def predict_blocks(
    plan_json: Path,
    volume_json: Path,
    checkpoints: Sequence[Path],
    store: Path,
    cfg: PredictConfig,
    *,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
    marker: Path | None = None,
) -> None:
    """Predict those blocks of one job (`blocks_of_job`) that are not in the store's ledger yet.

    Parameters
    ----------
    plan_json
        What is to be done, as `plan_prediction` decided.
    volume_json
        The volume, as ingest describes it.
    checkpoints
        The network, or several whose values are averaged.
    store
        Where the (C, Z, Y, X) values go; made if need be, shared by all jobs. Its ledger lies in ``store/ledger``.
    cfg
        Of which only ``device``, ``batch`` and ``codec_pipeline`` count: the rest is in the plan.
    job, jobs
        Which job this is, from 0, and how many there are.
    threads
        Threads of the network on a CPU; reading and writing take little more. The last bits of a network's output
        depend on it.
    marker
        A small file that says the job is done, and at what speed; written last.

    Raises
    ------
    ResumeMismatchError
        The store was begun with other settings, or the plan was made for another volume or other checkpoints.
    ModelError
        A checkpoint cannot be used, or its network gives NaN.
    DataError
        The volume cannot be read, or the store not be written.
    """
    torch.set_num_threads(threads)
    device = choose_device(cfg.device)
    if device.type == "cpu":
        keep_freed_memory(one_heap=True)
    plan = read_plan(plan_json)
    with use_codecs(cfg.codec_pipeline):
        volume = open_planned(plan, plan_json, IngestedVolume.read(volume_json))
        ensemble = load_ensemble(plan, plan_json, checkpoints, device)
        mine = blocks_of_job(plan.blocks, job, jobs)
        ledger = Ledger(store / "ledger", plan.settings.as_plain())
        done = ledger.done()
        todo = [block for block in mine if block not in done]
        steps = plan_steps(plan.windows, plan.region, plan.blocks, todo)
        warn_of_length(plan.needs, len(plan.blocks), job, jobs)
        log.info("this job has %d blocks, %d finished before", len(mine), len(mine) - len(todo))
        for block in sorted(set(todo) - {step.block for step in steps}):  # nothing is wanted of them: they stay 0
            ledger.mark(block, job_name(job, jobs))
        sliding = SlidingWindow(ensemble, plan.windows, batch=cfg.batch if ensemble.device.type == "cuda" else 1)
        work = BlockWork(
            volume, plan.region, plan.blocks, sliding, ledger, open_store(store, plan), job_name(job, jobs)
        )
        started = time.monotonic()
        work.run(steps)
        speed = measure_speed(steps, ensemble, time.monotonic() - started)
    if marker is not None:
        counts = {"blocks": len(mine), "computed": len(steps), **speed}
        write_json(marker, {"job": job, "jobs": jobs, "settings_hash": ledger.settings_hash, **counts})


def open_planned(plan: Plan, plan_json: Path, volume: IngestedVolume) -> Readable:
    """Open the working volume of a plan.

    Raises
    ------
    ResumeMismatchError
        It is not the volume that the plan was made for.
    """
    if fingerprint(open_working(volume, plan.settings.level.name)) != plan.settings.fingerprint:
        raise ResumeMismatchError(
            f"the voxels of {volume.path} are not those that {plan_json} was made for", hint=AGAIN.format(plan_json)
        )
    return plan.open(volume)


def load_ensemble(plan: Plan, plan_json: Path, checkpoints: Sequence[Path], device: torch.device) -> Ensemble:
    """Load the networks of a plan.

    The order in which several are averaged, which decides the last bits, is that of their hashes, not that in which
    they are named.

    Raises
    ------
    ResumeMismatchError
        They are not those that the plan was made for.
    ModelError
        One cannot be used.
    """
    members = open_members(checkpoints)
    found = hash_members(members)
    if len(members) != len(plan.recipes) or found != plan.settings.checkpoint_hash:
        raise ResumeMismatchError(
            f"{' and '.join(map(str, checkpoints))}: not what {plan_json} was made for",
            expected=f"{len(plan.recipes)} with the hash {plan.settings.checkpoint_hash}",
            got=f"{len(members)} with {found}",
            hint=f"give those checkpoints back, or {AGAIN.format(plan_json)}",
        )
    ensemble = build_ensemble(
        [member.network.to(device) for member in members],
        plan.recipes,
        device=device,
        in_channels=members[0].meta.in_channels,
        precision=plan.settings.precision,
        compile=plan.settings.compile,
        tta=plan.settings.tta,
        window_zyx=plan.windows.window_zyx,
        edge_convention=plan.settings.prediction.edge_convention,
    )
    log.info("networks on %s in %s", device, " and ".join(map(str, ensemble.dtypes)))
    return ensemble


def open_store(store: Path, plan: Plan) -> Pyramid:
    """Make the store of a plan, or open it where another job made it."""
    settings = plan.settings
    return create_pyramid(
        store,
        shape=(len(settings.prediction.channels), *plan.blocks.shape_zyx),
        dtype=settings.dtype,
        chunk_zyx=settings.chunk_zyx_vx,
        shard_zyx=settings.block_zyx_vx,
        voxel_size_zyx_nm=settings.voxel_size_zyx_nm,
        offset_zyx_nm=settings.offset_zyx_nm,
        coarser=settings.prediction.has_pyramid,
    )


def measure_speed(steps: Sequence[Step], ensemble: Ensemble, seconds: float) -> dict[str, Any]:
    """Return how fast blocks were computed, and log how much of the time was the networks' own.

    Returns
    -------
    dict
        ``windows``, ``seconds`` from the first block's reading to the last one's writing, ``network_seconds``,
        ``mvoxel_per_s`` (million voxels of blocks in a second), ``device`` and ``dtype``.
    """
    windows, voxels = sum(len(step.windows) for step in steps), sum(step.core.size for step in steps)
    network = ensemble.seconds
    rate = voxels / 1e6 / seconds if seconds else 0.0
    if steps:
        log.info(
            "%d windows in %.1f s, %.3g million voxels per s; %.1f %% of the time was the networks'",
            windows,
            seconds,
            rate,
            100 * network / seconds,
        )
    return {
        "windows": windows,
        "seconds": round(seconds, 3),
        "network_seconds": round(network, 3),
        "mvoxel_per_s": float(f"{rate:.3g}"),
        "device": str(ensemble.device),
        "dtype": ", ".join(map(str, ensemble.dtypes)),
    }


@contextmanager
def use_codecs(name: str) -> Iterator[None]:
    """Choose what encodes and decodes Zarr chunks in the body.

    ``zarrs``, which is in Rust, reads raw 1.3 times as fast (measured: 256^3 voxels in shards, one core). Stores are
    written by Zarr's own codecs in any case: a store that syncs what it writes is none that zarrs knows.

    Parameters
    ----------
    name
        ``zarr`` or ``zarrs``.

    Raises
    ------
    MissingPackageError
        zarrs is not installed.
    """
    import zarr

    if name == "zarr":
        yield
        return
    try:
        import zarrs  # type: ignore[import-not-found] # noqa: F401
    except ImportError as error:
        hint = "pip install zarrs, or set predict.codec_pipeline: zarr"
        raise MissingPackageError("predict.codec_pipeline: zarrs needs the package zarrs", hint=hint) from error
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield
