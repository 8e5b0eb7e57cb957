"""What one channel of a network means, and what a target is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from connectomake.geometry import Box, Triple


@dataclass(frozen=True)
class Channel:
    """One channel of a network's output.

    Parameters
    ----------
    name
        Unique within the network, such as ``affinity z+1``.
    offset_zyx_vx
        Of affinities: the edge goes from a voxel to the one at this offset. None for channels of other targets.
    activation
        What turns the network's output (logits) into the quantity; ``sigmoid`` for probabilities.
    """

    name: str
    offset_zyx_vx: Triple | None = None
    activation: str = "sigmoid"

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for a checkpoint or a store's attributes."""
        value = asdict(self)
        value["offset_zyx_vx"] = None if self.offset_zyx_vx is None else list(self.offset_zyx_vx)
        return value


class Target(Protocol):
    """Something to learn, that can be computed from instance labels."""

    @property
    def channels(self) -> list[Channel]:
        """The channels that it fills, in order."""

    @property
    def context(self) -> tuple[Triple, Triple]:
        """How many voxels of labels it needs before and after a patch (z, y, x each) to be exact up to its border."""

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the target inside a patch.

        Parameters
        ----------
        labels
            (Z, Y, X) int64, 0 = background, -1 = unknown: the patch and what is known around it.
        patch
            The patch, in voxels of `labels`.

        Returns
        -------
        tuple of ndarray
            The values (C, Z, Y, X) uint8, 0 or 1, and the mask (C, Z, Y, X) bool that is true where they are known.
        """
