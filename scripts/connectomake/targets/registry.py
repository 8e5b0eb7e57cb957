"""The targets that settings can name, and all targets of one training together.

A new target is a module in this package, a field of `TargetsConfig`, and a line in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connectomake.channels import Channel
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.targets.affinity import AffinityTarget
from connectomake.targets.binary import BinaryTarget
from connectomake.targets.classes import ClassesTarget, NamedClassesTarget
from connectomake.targets.combinations import Combinations
from connectomake.targets.contour import ContourTarget
from connectomake.targets.descriptors import DescriptorTarget
from connectomake.targets.distance import DistanceTarget
from connectomake.targets.flow import FlowTarget
from connectomake.targets.target import Target, crop_to_context

TARGETS: dict[str, Callable[[Any, TripleNm], Target]] = {
    "affinity": AffinityTarget,
    "binary": BinaryTarget,
    "contour": ContourTarget,
    "distance": DistanceTarget,
    "flow": FlowTarget,
    "descriptors": DescriptorTarget,
    "classes": ClassesTarget,
}


class Targets:
    """All targets of a training as one: their channels one after another.

    Parameters
    ----------
    cfg
        Which targets, and their settings.
    voxel_size_zyx_nm
        Of the labels, in nm: distances are measured in nm.
    combinations
        What the labels are numbers of, where classes of crops are learnt; None = they are objects, or values.

    Raises
    ------
    DataError
        Classes are learnt by name, and the labels do not say which they hold.
    """

    def __init__(
        self, cfg: TargetsConfig, voxel_size_zyx_nm: TripleNm, combinations: Combinations | None = None
    ) -> None:
        self.parts = [_make(cfg, name, voxel_size_zyx_nm, combinations) for name in cfg.names]

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
        made = [part.make(*crop_to_context(labels, patch, part.context)) for part in self.parts]
        if len(made) == 1:
            return made[0]
        return np.concatenate([values for values, _ in made]), np.concatenate([mask for _, mask in made])


def _make(cfg: TargetsConfig, name: str, voxel_size_zyx_nm: TripleNm, combinations: Combinations | None) -> Target:
    if name != "classes" or cfg.classes is None or not cfg.classes.named:
        return TARGETS[name](getattr(cfg, name), voxel_size_zyx_nm)
    if combinations is None:
        raise DataError("train.targets.classes.named: the labels do not say which classes they hold")
    return NamedClassesTarget(cfg.classes, combinations)
