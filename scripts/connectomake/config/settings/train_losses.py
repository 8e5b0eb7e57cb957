"""Settings of the losses: how a network is told how wrong it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from connectomake.channels import Channel
from connectomake.config.engine.explain import nearest
from connectomake.config.registries import LOSSES
from connectomake.config.section import Section

_SLICE = re.compile(r"(?P<at>-?\d+)|(?P<start>-?\d+)?:(?P<stop>-?\d+)?")


def find_loss(name: str) -> str:
    """Return our name of a loss, of ours or of one that it has elsewhere.

    Raises
    ------
    ValueError
        There is none; the nearest name is suggested.
    """
    aliases = {alias: own for own, loss in LOSSES.items() for alias in loss.aliases}
    name = aliases.get(name, name)
    if name not in LOSSES:
        hint = nearest(name, [*LOSSES, *aliases])
        raise ValueError(f"there is no loss {name!r}: {hint if hint.startswith('did') else nearest(name, LOSSES)}")
    return name


class LossTerm(Section):
    """One loss. The loss of a step is the sum of all terms, each times its weight."""

    loss: str = Field(
        "balanced_bce",
        description=f"name of the loss: {', '.join(LOSSES)}; or what PyTorch, MONAI or PyTorch Connectomics "
        "call it, as in DiceLoss",
    )
    weight: PositiveFloat = Field(1.0, description="factor of this loss in the sum")
    target: str | None = Field(None, description="the target whose channels it sees; null = all channels")
    prediction: str | None = Field(
        None, description='slice of these channels that it sees, as in "0:3" or "-1:"; null = all'
    )
    truth: str | None = Field(None, description="the same of the truth, where it differs from `prediction`")
    options: dict[str, float] = Field(
        default_factory=dict,
        description="settings of the loss, where it has any: "
        + ", ".join(
            sorted({f"{key} ({option.default:g})" for own in LOSSES.values() for key, option in own.options.items()})
        ),
    )

    @field_validator("loss")
    @classmethod
    def _translate(cls, name: str) -> str:
        """Return our name of the loss."""
        return find_loss(name)

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        """Reject options that the loss does not have, values that make no sense, and channels that it cannot choose."""
        loss = LOSSES[self.loss]
        known = loss.options
        for key, value in self.options.items():
            if key not in known:
                raise ValueError(f"{self.loss} has no option {key!r}: {nearest(key, known)}")
            if not known[key].least <= value <= known[key].most:
                raise ValueError(
                    f"{self.loss}: expected {key} from {known[key].least:g} to {known[key].most:g}, got {value:g}"
                )
        if loss.sees and (self.target or self.prediction or self.truth):
            raise ValueError(f"{self.loss} finds {' and '.join(loss.sees)} by itself: leave out the channels")
        if not loss.compares and self.truth:
            raise ValueError(f"{self.loss} compares with no truth: leave out `truth`")
        return self

    @property
    def label(self) -> str:
        """What this term is called in a history, as in ``dice.affinity.0:3``."""
        return ".".join(part for part in (self.loss, self.target, self.prediction) if part)

    @property
    def settings(self) -> dict[str, float]:
        """All options of the loss, with the defaults of those that are not given."""
        return {key: option.default for key, option in LOSSES[self.loss].options.items()} | self.options

    def channels_of(self, channels: Sequence[Channel]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Find the channels that this loss compares.

        Parameters
        ----------
        channels
            All channels of the network, and of its targets.

        Returns
        -------
        tuple of tuple
            Indices into `channels`, of the prediction and of the truth, equally many.

        Raises
        ------
        ValueError
            A slice is empty or reaches out of the channels, the two differ in length, the target is not there, or the
            loss does not suit its channels.
        """
        if LOSSES[self.loss].sees:
            seen = _find_named(LOSSES[self.loss].sees, channels)
            return seen, seen
        own = self._find_target(channels)
        outputs = _slice(own, self.prediction, "prediction")
        truths = outputs if self.truth is None else _slice(own, self.truth, "truth")
        if len(outputs) != len(truths):
            raise ValueError(f"prediction has {len(outputs)} channels, and truth {len(truths)}")
        for indices in (outputs, truths):
            _check_suits(self.loss, indices, channels)
        return outputs, truths

    def _find_target(self, channels: Sequence[Channel]) -> tuple[int, ...]:
        """Return the indices of the channels of the target; of all where there is none."""
        own = tuple(i for i, channel in enumerate(channels) if self.target in (None, channel.target))
        if not own:
            names = {channel.target for channel in channels}
            raise ValueError(f"there is no target {self.target!r}: {nearest(str(self.target), names)}")
        return own


def check_losses(terms: Sequence[LossTerm], channels: Sequence[Channel]) -> None:
    """Check that all terms find their channels, and that each channel is taught by at least one of them.

    Raises
    ------
    ValueError
        As `LossTerm.channels_of`; or a channel is seen by no loss that compares it with the truth.
    """
    taught: set[int] = set()
    for number, term in enumerate(terms):
        try:
            outputs, _ = term.channels_of(channels)
        except ValueError as error:
            raise ValueError(f"losses.{number} ({term.label}): {error}") from error
        if LOSSES[term.loss].compares:
            taught.update(outputs)
    # A softmax is one thing: what one of its channels is taught, the others learn.
    soft = {channels[i].target for i in taught if channels[i].activation == "softmax"}
    idle = [c.name for i, c in enumerate(channels) if i not in taught and c.target not in soft]
    if idle:
        raise ValueError(
            f"no loss compares {_list(idle)} with the truth: add a term that does, or leave out the target"
        )


def _find_named(names: Iterable[str], channels: Sequence[Channel]) -> tuple[int, ...]:
    """Find channels by their names."""
    present = [channel.name for channel in channels]
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"it needs the channels {' and '.join(names)}, and there is no {missing[0]}: add that target")
    return tuple(present.index(name) for name in names)


def _slice(indices: tuple[int, ...], text: str | None, key: str) -> tuple[int, ...]:
    """Choose by a slice, or a number, as in Python; but refuse what reaches beyond the ends."""
    if text is None:
        return indices
    found, count = _SLICE.fullmatch(text.replace(" ", "")), len(indices)
    if found is None:
        raise ValueError(f'{key}: expected a slice in quotes, as in "0:3" or "-1:", got {text!r}')
    numbers = {name: int(number) for name, number in found.groupdict().items() if number is not None}
    if "at" in numbers:
        numbers["start"] = numbers.pop("at")
        numbers["stop"] = numbers["start"] + 1 or count
    if any(not -count <= number <= count for number in numbers.values()):
        raise ValueError(f"{key}: {text!r} reaches out of the {count} channels (a slice is best put in quotes)")
    chosen = indices[numbers.get("start") : numbers.get("stop")]
    if not chosen:
        raise ValueError(f"{key}: {text!r} is none of the {count} channels")
    return chosen


def _check_suits(loss: str, indices: tuple[int, ...], channels: Sequence[Channel]) -> None:
    """Reject channels that a loss cannot be used on."""
    suits, seen = LOSSES[loss].suits, [channels[i] for i in indices]
    kinds = " or ".join(suits.activations)
    for channel in seen:
        if channel.activation not in suits.activations:
            raise ValueError(
                f"it suits {kinds} channels, and {channel.name!r} is {channel.activation}: give `target`, and another "
                "term to that channel, such as mse"
            )
        if suits.binary and not channel.binary:
            raise ValueError(f"it suits channels of 0 and 1, and {channel.name!r} is not: use mse or bce there")
        if suits.instead_of_flow and channel.target == "flow":
            raise ValueError(
                f"{channel.name!r} is not above 0 in objects and below outside: use {suits.instead_of_flow} there"
            )
    if len(indices) not in suits.channels:
        raise ValueError(f"it sees {suits.channels.start} or {suits.channels.stop - 1} channels, not {len(indices)}")
    if suits.whole_target and "softmax" in {channel.activation for channel in seen}:
        whole = tuple(i for i, channel in enumerate(channels) if channel.target == seen[0].target)
        if indices != whole:
            raise ValueError(f"a softmax goes over all channels of a target, here {_list(c.name for c in seen)}")


def _list(names: Iterable[str]) -> str:
    names = [repr(name) for name in names]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
