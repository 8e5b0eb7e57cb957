"""What the channels of a store of predictions are, for whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectomake.channels import NEAREST
from connectomake.volumes.prediction import Prediction


@dataclass(frozen=True)
class Shown:
    """The channels of a store that are shown, one for each of z, y, x where they are affinities.

    Parameters
    ----------
    name
        What they are (`name_shown`).
    channels
        Their numbers.
    signed
        For each, whether its values lie between -1 and 1 where they are floats; else, or where this is empty, they do
        between 0 and 1.
    """

    name: str = "affinities"
    channels: tuple[int, ...] = (0, 1, 2)
    signed: tuple[bool, ...] = ()

    @classmethod
    def of_prediction(cls, prediction: Prediction) -> Shown:
        """Choose them by what a store of predictions holds."""
        channels = nearest_channels(prediction.offsets_zyx_vx)
        name = name_shown(prediction.channels, prediction.offsets_zyx_vx)
        return cls(name, channels, tuple(prediction.activations[c] == "tanh" for c in channels))

    def in_255_steps(self, values: NDArray, stored: np.dtype) -> NDArray:
        """Bring values to 0 to 255, as a store of uint8 would hold them.

        Parameters
        ----------
        values
            (channels, ...) floats: values of the store, or means of such.
        stored
            The type of the store: what is not stored as floats is left as it is.
        """
        if stored.kind != "f":
            return values
        signed = np.reshape(self.signed or False, (-1, *[1] * (values.ndim - 1)))
        return 255 * np.clip(np.where(signed, (values + 1) / 2, values), 0, 1)


def nearest_channels(offsets_zyx_vx: Sequence[Sequence[int] | None]) -> tuple[int, ...]:
    """Find the channels of the nearest neighbours along z, y and x; the first three channels where one is missing.

    Parameters
    ----------
    offsets_zyx_vx
        The store's attribute of that name, one offset for each channel; None for one that is no affinity.

    >>> nearest_channels([[0, 0, 1], [0, 1, 0], [1, 0, 0], [9, 0, 0]])
    (2, 1, 0)
    """
    steps = [None if offset is None else tuple(abs(int(o)) for o in offset) for offset in offsets_zyx_vx]
    if all(step in steps for step in NEAREST):
        return tuple(steps.index(step) for step in NEAREST)
    return tuple(range(min(3, len(steps))))


def name_shown(names: Sequence[str], offsets_zyx_vx: Sequence[Sequence[int] | None]) -> str:
    """Return what `nearest_channels` are: affinities, or else their names.

    >>> name_shown(["binary", "contour"], [None, None])
    'binary, contour'
    """
    shown = nearest_channels(offsets_zyx_vx)
    if all(offsets_zyx_vx[channel] is not None for channel in shown):
        return "affinities"
    return ", ".join(names[channel] for channel in shown)
