"""How fast stages are, and what they leave on the disk, where no stage estimates it of itself.

Speeds are those of earlier jobs, by the provenance that they left beside their results (`measure_rates`). Where there
was none, defaults. Of decoders: README's table, 256^3 voxels on one core of a Xeon; `affinity_cc` with its reading and
writing in blocks, which takes most of its time. Prediction and training: `predict.cost`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.errors import ConnectomakeError
from connectomake.files import read_json
from connectomake.volumes.store import LEVEL

DEFAULTS = {
    "ingest": 50.0,  # read, checked and, where the format is slow, written again
    "measure": 50.0,  # labels and truth
    "submit": 50.0,  # of each class
    **{f"decode {name}": decoder.mvoxel_per_s for name, decoder in DECODERS.items()},
}
"""Kind of work -> Mvoxel a second and core."""

TRAINING_THREADS = 8  # of rule train_model
TRAINING_PASSES = 3  # forwards, and backwards for values and for weights
TRAINING_COPIES = 4  # of the weights on the disk: checkpoint, average and Adam's two moments

PYRAMID = 8 / 7  # of all levels to the finest
LABEL_BYTES = 4
START_MIN = 0.2  # of a job, besides what its stage needs to start: two Snakemakes on a node, and the queue's next look

LEAST_SECONDS = 30.0  # of a core: what takes less tells of starting and compiling
WHOLE = {"ingest_volume": "ingest", "measure_segmentation": "measure", "decode_affinities": "decode"}
BLOCKS = ("label_blocks", "stitch_blocks", "relabel_blocks", "finish_labels")
"""Rules of which one job does all of a volume, and those that decode one together."""


@dataclass(frozen=True)
class Rate:
    """A speed, and how many earlier jobs it was measured in; none = it is a default."""

    mvoxel_per_s: float
    jobs: int = 0

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        if not self.jobs:
            return "default rate"
        return f"measured in {self.jobs} earlier job{'s' if self.jobs > 1 else ''}"


Rates = Mapping[str, Rate]


def choose_rate(kind: str, measured: Rates) -> Rate:
    """Return the measured rate of a kind of work, or the default."""
    return measured.get(kind) or Rate(DEFAULTS[kind])


def measure_rates(results: Path) -> dict[str, Rate]:
    """Read from the provenance of earlier jobs how many voxels a core did in a second.

    Parameters
    ----------
    results
        The folder of results. What was purged, or took less than half a minute of a core, tells nothing. Paths in a
        provenance start at the working folder, as they did for the job.

    Returns
    -------
    dict
        Kind of work, as in `DEFAULTS` -> its rate: all voxels by all seconds.
    """
    jobs: dict[tuple[str, Path], list[Mapping[str, Any]]] = {}
    for told in _read_provenance(results):
        store = _store_of(told)
        if store is not None:
            jobs.setdefault((_kind_of(told), store), []).append(told)
    sums: dict[str, tuple[float, float, int]] = {}
    for (kind, store), of_volume in jobs.items():
        seconds, voxels = sum(map(_core_seconds, of_volume)), _count_voxels(store)
        if kind in DEFAULTS and seconds >= LEAST_SECONDS and voxels and _is_whole(of_volume):
            before = sums.get(kind, (0.0, 0.0, 0))
            sums[kind] = (before[0] + voxels, before[1] + seconds, before[2] + len(of_volume))
    return {kind: Rate(voxels / 1e6 / seconds, n) for kind, (voxels, seconds, n) in sums.items()}


def _read_provenance(results: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what was written of each job whose rule tells a rate; stores are not looked into."""
    for stage in ("ingest", "decode", "measure"):
        for folder, inside, files in os.walk(results / stage):
            inside[:] = [name for name in inside if not name.endswith(".zarr")]
            for name in files if Path(folder).name == "provenance" else ():
                try:
                    told = read_json(Path(folder, name))
                    if told["stage"] in (*WHOLE, *BLOCKS) and _core_seconds(told) > 0:
                        yield told
                except (ConnectomakeError, OSError, KeyError, TypeError, ValueError):
                    continue  # of another version, or cut off: a plan can do without


def _kind_of(told: Mapping[str, Any]) -> str:
    kind = WHOLE.get(told["stage"], "decode")
    return f"decode {told['arguments'].get('cfg', {}).get('decoder')}" if kind == "decode" else kind


def _store_of(told: Mapping[str, Any]) -> Path | None:
    """Return the store that tells how many voxels there were; None where the job names none."""
    given = told["arguments"]
    if told["stage"] == "ingest_volume":
        return Path(given["volume_json"]).parent / "raw.zarr"  # missing where the voxels were left where they are
    return Path(given["labels"].removesuffix("/zarr.json")) if "labels" in given else None


def _count_voxels(store: Path) -> int:
    try:
        return prod(read_json(store / LEVEL / "zarr.json")["shape"][-3:])
    except (ConnectomakeError, OSError, KeyError, TypeError):
        return 0


def _core_seconds(told: Mapping[str, Any]) -> float:
    """Return the seconds that a job took of a core; where it started processes, those count by the time they took."""
    return max(float(told["seconds"]), float(told["cpu_seconds"]))


def _is_whole(jobs: list[Mapping[str, Any]]) -> bool:
    """Return whether these are all jobs of a volume: of one that is not finished, voxels and seconds do not fit."""
    stages = {told["stage"] for told in jobs}
    if stages <= WHOLE.keys():
        return True
    done = {rule: [told["arguments"] for told in jobs if told["stage"] == rule] for rule in BLOCKS}
    shares = [done["label_blocks"], done["relabel_blocks"]]
    return all(done.values()) and all(len(share) == max(given["jobs"] for given in share) for share in shares)
