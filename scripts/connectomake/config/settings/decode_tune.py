"""Settings of tuning: which decode settings are tried, and by which number the best are chosen."""

from __future__ import annotations

import re
from math import exp
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, PositiveInt, ValidationError, model_validator

from connectomake.config.engine.explain import fields_at, nearest
from connectomake.config.section import Section
from connectomake.config.settings.measure import HIGHEST_IS_BEST, MeasureConfig, VoxelMetric
from connectomake.errors import ConfigError

BANIS_THRESHOLDS = tuple(1 / (1 + exp(-0.2 * k)) for k in range(-1, 12))
"""Those that BANIS tries: 0.45 to 0.90, sigmoid(0.2 k), closer together where affinities crowd near 1."""

VOXEL_CRITERIA: dict[str, VoxelMetric] = {
    "voxel_voi_sum": "voi",
    "adapted_rand_error": "adapted_rand",
    "average_precision_50": "matching",
    "panoptic_quality_50": "matching",
    "foreground_dice": "foreground",
}
"""Criteria over voxels, and the entry of `measure.voxel_metrics` that gives each."""
CRITERIA = ("nerl", "nerl_inf", "voi_sum", *VOXEL_CRITERIA)
_NERL_K = re.compile(r"nerl_[1-9][0-9]*")

Number = TypeVar("Number", int, float)
Value = str | bool | int | float | None


def _check_criterion(name: str) -> str:
    if name not in CRITERIA and not _NERL_K.fullmatch(name):
        raise ValueError(
            f"there is no criterion {name!r}, {nearest(name, CRITERIA)}; "
            f"known: {', '.join(CRITERIA)}, and nerl_K for each K of measure.ignored_merger_nodes"
        )
    return name


def _check_range(bounds: tuple[Number, Number]) -> tuple[Number, Number]:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"a range is [low, high] with low below high, got {list(bounds)}")
    return bounds


def _check_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"each value is tried once, got {list(values)}")
    return values


class Choices(Section):
    """Values of which one is taken."""

    choices: Annotated[tuple[Value, ...], AfterValidator(_check_distinct)] = Field(
        min_length=2, description="the values to choose from"
    )


Range = (
    Annotated[tuple[int, int], AfterValidator(_check_range)]
    | Annotated[tuple[float, float], AfterValidator(_check_range)]
)
Threshold = Annotated[float, Field(ge=0, lt=1)]


class TuneConfig(Section):
    """Try decode settings on the validation volumes and keep those that come out best."""

    criterion: Annotated[str, AfterValidator(_check_criterion)] = Field(
        "nerl",
        description="number to choose by, the highest nerl, nerl_K or nerl_inf, or the lowest voi_sum (all need "
        "skeletons), voxel_voi_sum or adapted_rand_error (need truth labels)",
    )
    method: Literal["thresholds", "optuna"] = Field(
        "thresholds",
        description="thresholds = every value of `thresholds`, the other settings as they are; optuna = `trials` "
        "points of `search`, where each point is chosen by what those before it gave (needs the package optuna)",
    )
    thresholds: Annotated[tuple[Threshold, ...], AfterValidator(_check_distinct)] = Field(
        BANIS_THRESHOLDS,
        min_length=1,
        description="values of `threshold` to try; by default the 13 of BANIS, 0.45 to 0.90",
    )
    search: dict[str, Range | Choices] = Field(
        default_factory=dict,
        description="for optuna: key of these decode settings, dotted where nested, -> [low, high], both included, or "
        "choices: [value, ...]",
    )
    trials: PositiveInt = Field(50, description="for optuna: how many points are tried")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="for optuna: seed of the search")

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        """Reject a search that nobody would make, and optuna without one."""
        if self.method == "optuna" and not self.search:
            raise ValueError("method: optuna needs a search, for instance search: {threshold: [0.3, 0.9]}")
        if self.method == "thresholds" and self.search:
            raise ValueError("a search is made by method: optuna; method: thresholds tries the values of thresholds")
        return self


def is_highest_best(criterion: str) -> bool:
    """Return whether the highest value of a criterion is the best; all scores named nerl are such."""
    return HIGHEST_IS_BEST.get(criterion, True)


def check_criterion(criterion: str, measure: MeasureConfig) -> None:
    """Reject a criterion that is not measured.

    Parameters
    ----------
    criterion
        `TuneConfig.criterion`.
    measure
        What is.

    Raises
    ------
    ConfigError
        With what to add to the settings of measuring.
    """
    where = f"decode.tune.criterion: {criterion} is not measured"
    ignored = criterion.removeprefix("nerl_")
    if ignored.isdecimal() and int(ignored) not in measure.ignored_merger_nodes:
        raise ConfigError(
            where,
            expected=f"one of nerl, nerl_inf, {', '.join(f'nerl_{k}' for k in measure.ignored_merger_nodes)}",
            hint=f"add {ignored} to measure.ignored_merger_nodes",
        )
    metric = VOXEL_CRITERIA.get(criterion)
    if metric and metric not in measure.voxel_metrics:
        raise ConfigError(where, got=list(measure.voxel_metrics), hint=f"add {metric} to measure.voxel_metrics")
    if criterion.endswith("_50") and 0.5 not in measure.iou_thresholds:
        raise ConfigError(where, got=list(measure.iou_thresholds), hint="add 0.5 to measure.iou_thresholds")


def check_search(settings: Section, search: dict[str, Any]) -> None:
    """Reject a search that leads to settings that there are not.

    Parameters
    ----------
    settings
        The decode settings that the search starts from; each end of a range and each choice is laid over them and
        checked alone.
    search
        `TuneConfig.search`.

    Raises
    ------
    ConfigError
        A key is not known, is `tune` itself, or does not take a value; a range of whole numbers is given as floats.
    """
    for dotted, space in search.items():
        keys = dotted.split(".")
        known = fields_at(type(settings), keys[:-1]) - {"tune"}
        if keys[-1] not in known or keys[0] == "tune":
            raise ConfigError(f"tune.search: unknown key {dotted!r}", hint=nearest(keys[-1], known))
        for value in space.choices if isinstance(space, Choices) else space:
            _check_value(settings, keys, value, isinstance(space, Choices))


def lay_over(settings: Section, values: dict[str, Any]) -> dict[str, Any]:
    """Return settings, without their `tune`, as plain values with some dotted keys set to others."""
    plain = settings.model_dump(exclude={"tune"})
    for dotted, value in values.items():
        *path, last = dotted.split(".")
        place = plain
        for key in path:
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
        place[last] = value
    return plain


def _check_value(settings: Section, keys: list[str], value: Value, is_choice: bool) -> None:
    dotted = ".".join(keys)
    try:
        found: Any = type(settings).model_validate(lay_over(settings, {dotted: value}))
    except ValidationError as error:
        said = str(error.errors(include_url=False)[0]["msg"])
        raise ConfigError(f"tune.search: {dotted} does not take {value!r}: {said}") from None
    for key in keys:
        found = getattr(found, key)
    if not is_choice and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise ConfigError(f"tune.search: {dotted} is no number", expected="choices: [value, ...]", got=f"up to {value}")
    if not is_choice and isinstance(found, int) != isinstance(value, int):
        kind = "whole numbers" if isinstance(found, int) else "numbers with a decimal point"
        raise ConfigError(f"tune.search: a range of {dotted}", expected=kind, got=value)
