"""Try decode settings on validation volumes, and keep those that come out best."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import TuneConfig, check_criterion, is_highest_best
from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import DataError
from connectomake.tune.candidates import FullDecodes, sweep_volume, why_not_sweep
from connectomake.tune.optuna_search import search_best
from connectomake.tune.scores import Candidate, Numbers, choose, pool, tabulate
from connectomake.tune.volumes import TuningVolume, open_tuning_volumes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Parameters
    ----------
    criterion
        The number that was chosen by.
    best
        The settings chosen: dotted decode key -> value.
    value
        The criterion there, over all volumes.
    volumes
        Names of the volumes.
    table
        Column -> values; see `tabulate`. With optuna the first column is `trial`.
    chosen
        The row of the best settings over all volumes.
    """

    criterion: str
    best: dict[str, Any]
    value: float
    volumes: list[str]
    table: dict[str, list[Any]]
    chosen: int


def tune_decoding(
    affinities: Sequence[Path],
    volumes: Sequence[Path],
    skeletons: Sequence[Path],
    cfg: DecodeConfig,
    measure: MeasureConfig,
    *,
    study: Path | None = None,
    threads: int = 1,
) -> Tuned:
    """Try the settings that `cfg.tune` speaks of, and choose the best over all volumes.

    Thresholds of `affinity_cc` without filling are tried in one sweep, at about the cost of a decode; all else is
    decoded in full, one after the other. Of equally good thresholds, the one nearest to the middle of the longest
    stretch of them is chosen.

    Parameters
    ----------
    affinities, volumes, skeletons
        See `open_tuning_volumes`.
    cfg
        What to try, and the number to choose by, in its `tune` (its defaults, where that is None); the settings that
        are not tuned.
    measure
        How to measure.
    study
        Where optuna keeps its trials; a search that was stopped goes on from there. None keeps none.
    threads
        The result does not depend on it.

    Returns
    -------
    Tuned
        The same for the same inputs.

    Raises
    ------
    ConfigError
        See `open_tuning_volumes`; a search leads to settings that there are not, or the criterion is not measured.
    DataError
        The criterion is not defined (NaN) whatever the settings.
    ResumeMismatchError
        The study holds trials of another search.
    MissingPackageError
        The search needs optuna, or a decoder a package, that is not installed.
    """
    tune = cfg.tune or TuneConfig()
    check_criterion(tune.criterion, measure)
    opened = open_tuning_volumes(affinities, volumes, skeletons, tune)
    full = FullDecodes(cfg, measure, threads)
    if tune.method == "optuna":
        tried = _search(opened, tune, full, study)
        return _choose(tune, opened, ["trial", *tune.search], *tried)
    thresholds = sorted(tune.thresholds)
    numbers = _try_thresholds(opened, thresholds, tune, full)
    tuned = _choose(tune, opened, ["threshold"], [{"threshold": t} for t in thresholds], numbers, thresholds)
    _warn_of_end(thresholds.index(tuned.best["threshold"]), thresholds)
    return tuned


def _choose(
    tune: TuneConfig,
    volumes: Sequence[TuningVolume],
    keys: Sequence[str],
    candidates: Sequence[Candidate],
    numbers: Sequence[Sequence[Numbers]],
    places: Sequence[float] | None = None,
) -> Tuned:
    """Pool over volumes, choose, and put all into the table."""
    pooled = [pool(of_volumes) for of_volumes in numbers]
    highest = is_highest_best(tune.criterion)
    at = choose([found.get(tune.criterion, nan) for found in pooled], highest, places)
    names = [volume.name for volume in volumes]
    if at < 0:
        raise DataError(
            f"{tune.criterion} is not defined on these volumes whatever the settings",
            got=", ".join(names),
            hint="look whether their skeletons have edges inside the volume, and their labels any object",
        )
    table = tabulate(keys, candidates, names, numbers, pooled)
    best = {key: value for key, value in candidates[at].items() if key != "trial"}
    value = pooled[at][tune.criterion]
    log.info("best: %s, %s %.6g", ", ".join(f"{k} {v}" for k, v in best.items()), tune.criterion, value)
    return Tuned(tune.criterion, best, value, names, table, at * (len(names) + 1) + len(names))


def _try_thresholds(
    volumes: Sequence[TuningVolume], thresholds: Sequence[float], tune: TuneConfig, full: FullDecodes
) -> list[list[Numbers]]:
    """Return the numbers of each threshold on each volume."""
    reason = why_not_sweep(full.cfg, tune)
    log.info(
        "trying %d thresholds on %d volumes %s",
        len(thresholds),
        len(volumes),
        f"by decoding each in full: {reason}" if reason else "in one sweep",
    )
    by_volume: list[list[Numbers]] = []
    for volume in volumes:
        if reason:
            found = [full.measure_on(volume, {"threshold": threshold}) for threshold in thresholds]
            extremes = full.extremes()
        else:
            found, extremes = sweep_volume(volume, full.cfg, thresholds, full.measure, full.threads)
        by_volume.append(list(found))
        if full.cfg.decoder == "affinity_cc":
            _warn_of_range(volume.name, thresholds, extremes)
    return [list(of_threshold) for of_threshold in zip(*by_volume, strict=True)]


def _search(
    volumes: Sequence[TuningVolume], tune: TuneConfig, full: FullDecodes, study: Path | None
) -> tuple[list[Candidate], list[list[Numbers]]]:
    """Let optuna choose candidates; give them, with their trials, and their numbers on each volume."""

    def evaluate(candidate: Candidate) -> tuple[float, list[dict[str, float]]]:
        numbers = [full.measure_on(volume, candidate) for volume in volumes]
        return pool(numbers).get(tune.criterion, nan), numbers

    fixed = {
        "decode": full.cfg.model_dump(
            mode="json", exclude={"tune", "block_zyx_vx", "block_halo_vx", "chunk_zyx_vx", *full.cfg.effort}
        ),
        "tune": tune.model_dump(mode="json", exclude={"trials", "thresholds"}),
        "measure": full.measure.model_dump(mode="json", exclude={"block_vx"}),
        "volumes": {v.name: v.prediction.checkpoint_hash for v in volumes},
    }
    log.info("trying %d settings on %d volumes, each decoded in full", tune.trials, len(volumes))
    highest = is_highest_best(tune.criterion)
    return search_best(tune.search, evaluate, tune.trials, tune.seed, highest, fixed, study)


def _warn_of_end(at: int, places: Sequence[float]) -> None:
    if len(places) > 1 and at in (0, len(places) - 1):
        end, further = ("lowest", "lower") if at == 0 else ("highest", "higher")
        log.warning(
            "the best threshold, %.4g, is the %s that was tried: add %s ones to decode.tune.thresholds",
            places[at],
            end,
            further,
        )


def _warn_of_range(name: str, thresholds: Sequence[float], extremes: tuple[float, float]) -> None:
    low, high = extremes
    outside = [f"{t:.4g}" for t in thresholds if t >= high or t < low]
    if outside and not isnan(low):
        log.warning(
            "the affinities of %s lie between %.4g and %.4g: the thresholds %s make every edge count, or none",
            name,
            low,
            high,
            ", ".join(outside),
        )
