"""All targets of one training together.

A new target is a `TargetKind` in a file of `targets.kinds`, and a line in `config.registries.TARGETS`. What computes it
stands in a module of this package, and may stand in the same file if it imports numpy within functions.
"""

from __future__ import annotations

import numpy as np

from connectomake.channels import Channel
from connectomake.config.registries import TARGETS
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.targets.classes import NamedClassesTarget
from connectomake.targets.combinations import Combinations
from connectomake.targets.target import Target, crop_to_context


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
    section = cfg.section(name)
    assert section is not None, "only targets that are learnt are made"
    if section is not cfg.classes or not cfg.classes.named:
        target: Target = TARGETS[name].make(section, voxel_size_zyx_nm)
        return target
    if combinations is None:
        raise DataError("train.targets.classes.named: the labels do not say which classes they hold")
    return NamedClassesTarget(cfg.classes, combinations)
