"""The targets that settings can name, and all targets of one training together.

A new target is a module in this package, a field of `TargetsConfig`, and a line in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connectomake.config.targets import TargetsConfig
from connectomake.geometry import Box, Triple, to_triple
from connectomake.targets.affinity import AffinityTarget
from connectomake.targets.channels import Channel, Target

TARGETS: dict[str, Callable[[Any], Target]] = {
    "affinity": AffinityTarget,
}


class Targets:
    """All targets of a training as one: their channels one after another.

    Parameters
    ----------
    cfg
        Which targets, and their settings.
    """

    def __init__(self, cfg: TargetsConfig) -> None:
        self.parts = [TARGETS[name](getattr(cfg, name)) for name in type(cfg).model_fields]

    @property
    def channels(self) -> list[Channel]:
        """The channels of the network's output; their number is the network's `out_channels`."""
        return [channel for part in self.parts for channel in part.channels]

    @property
    def context(self) -> tuple[Triple, Triple]:
        """The largest context that any target needs before and after a patch, in voxels."""
        contexts = [part.context for part in self.parts]
        before, after = ([max(c[side][axis] for c in contexts) for axis in range(3)] for side in (0, 1))
        return to_triple(before), to_triple(after)

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute values and mask of all channels; see `Target.make`."""
        made = [part.make(labels, patch) for part in self.parts]
        return np.concatenate([values for values, _ in made]), np.concatenate([mask for _, mask in made])
