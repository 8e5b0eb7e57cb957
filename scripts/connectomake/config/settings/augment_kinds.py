"""What every augmentation says of itself, and the kinds of values that their settings share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from connectomake.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Side = Annotated[float, Field(gt=0, le=1)]
Fill = Literal["mean", "black", "random"]


def _check_order(limits: tuple[float, float]) -> tuple[float, float]:
    """Reject a range that ends before it begins."""
    if limits[0] > limits[1]:
        raise ValueError(f"the least comes first, then the most, got {list(limits)}")
    return limits


Sides = Annotated[tuple[Side, Side], AfterValidator(_check_order)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_check_order)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], AfterValidator(_check_order)]


class AugmentationConfig(Section):
    """Settings of one augmentation; a subclass says how often it acts by default, and what else it can be told."""

    probability: Share


@dataclass(frozen=True)
class Augmentation:
    """One way to change a training patch.

    Parameters
    ----------
    settings
        Its section of `AugmentConfig`.
    act
        Function of a `Patch`, which it changes, the settings, a generator of random numbers and a `GreyScale`. It
        imports numpy and what else it computes with by itself: settings are read where nothing is computed.
    description
        What it does, in the words of the table of settings.
    """

    settings: type[AugmentationConfig]
    act: Callable[[Any, Any, Any, Any], None]
    description: str
