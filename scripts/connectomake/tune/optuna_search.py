"""Search decode settings with several knobs by Optuna (Akiba et al. 2019), an optional package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from connectomake.config.settings.decode_tune import Choices
from connectomake.errors import MissingPackageError
from connectomake.ledger import fix_settings
from connectomake.tune.scores import Candidate

log = logging.getLogger(__name__)

Evaluate = Callable[[Candidate], tuple[float, list[dict[str, float]]]]


def search_best(
    search: Mapping[str, Any],
    evaluate: Evaluate,
    trials: int,
    seed: int,
    highest: bool,
    fixed: Mapping[str, Any],
    journal: Path | None = None,
) -> tuple[list[Candidate], list[list[Mapping[str, float]]]]:
    """Try points of a search space, each chosen by what those before it gave (TPE, Bergstra et al. 2011).

    A point depends on the seed, on how many there were before it and on what they gave, so that a search that was
    stopped and one that was not find the same.

    Parameters
    ----------
    search, evaluate
        `TuneConfig.search`; and what gives the number to optimise with what to remember of each volume.
    trials, seed, highest
        Points in all, those in the journal included; seed of the search; whether the highest number is best.
    fixed, journal
        Plain data that decide over the numbers, and the file for trials that were made with them; None keeps none.

    Returns
    -------
    candidates, remembered
        Of all trials in order; a candidate has its number as the key `trial`.

    Raises
    ------
    MissingPackageError
        Optuna is not installed.
    ResumeMismatchError
        The journal holds another search.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingPackageError(
            "decode.tune.method: optuna needs the package optuna, which is not installed",
            hint="pip install optuna, or take method: thresholds",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every trial, past our log
    storage = None
    if journal is not None:
        fix_settings(journal.parent, dict(fixed))
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    direction: Any = "maximize" if highest else "minimize"
    study = optuna.create_study(study_name="decoding", storage=storage, direction=direction, load_if_exists=True)
    finished = _run_trials(optuna, study, search, evaluate, trials, seed)
    candidates: list[Candidate] = [{"trial": n, **trial.params} for n, trial in enumerate(finished, 1)]
    return candidates, [trial.user_attrs["volumes"] for trial in finished]


def _run_trials(optuna: Any, study: Any, search: Mapping, evaluate: Evaluate, trials: int, seed: int) -> list[Any]:
    """Try points until there are `trials` of them, and give these."""
    for killed in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(killed.number, state=optuna.trial.TrialState.FAIL)
    space = {key: _distribution(optuna, values) for key, values in search.items()}
    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while (done := len(study.get_trials(deepcopy=False, states=over))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=(seed + 7919 * done) % 2**32, constant_liar=False)
        trial = study.ask(space)
        value, remembered = evaluate(trial.params)
        trial.set_user_attr("volumes", remembered)
        study.tell(trial, *((None, optuna.trial.TrialState.PRUNED) if isnan(value) else (value,)))
        log.info("trial %d of %d: %.6g at %s", done + 1, trials, value, trial.params)
    return study.get_trials(states=over)[:trials]


def _distribution(optuna: Any, values: Any) -> Any:
    if isinstance(values, Choices):
        return optuna.distributions.CategoricalDistribution(values.choices)
    kinds = optuna.distributions
    return (kinds.IntDistribution if isinstance(values[0], int) else kinds.FloatDistribution)(*values)
