"""What every loss says of itself: its options, its other names, and the channels that it can be used on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Option(NamedTuple):
    """A setting of a loss: its default, and the least and the most that make sense."""

    default: float
    least: float
    most: float


class Suits(NamedTuple):
    """What channels a loss can be used on: by activation, only those that are 0 or 1, all of a target, how many.

    Where it takes what is above 0 for the inside of an object, `instead_of_flow` names the loss to use on flows.
    """

    activations: tuple[str, ...] = ("identity", "sigmoid", "tanh", "softmax")
    binary: bool = False
    whole_target: bool = False
    channels: range = range(1, 10_000)
    instead_of_flow: str = ""


ANY_CHANNELS = Suits()


@dataclass(frozen=True)
class Loss:
    """One loss.

    Parameters
    ----------
    compute
        Function of `losses.seen.Seen`, and of the options by keyword, that returns a number (Tensor). It imports torch
        by itself: settings are read where nothing is computed.
    suits
        The channels that it can be used on.
    options
        Its settings.
    sees
        Names of the channels that it finds by itself; empty = the settings choose.
    compares
        Whether it sees the truth; one that does not teaches nothing by itself.
    aliases
        What PyTorch, MONAI and PyTorch Connectomics call it.
    """

    compute: Callable[..., Any]
    suits: Suits = ANY_CHANNELS
    options: Mapping[str, Option] = field(default_factory=dict)
    sees: tuple[str, ...] = ()
    compares: bool = True
    aliases: tuple[str, ...] = ()
