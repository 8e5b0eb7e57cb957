"""Foreground: whether a voxel is in any object; with erosion, whether it is well inside.

1 where the label is an object's after `erode_labels`, else 0. Known where the label is, and where nothing unknown is so
near that erosion could come from there. Read by the decoders seeded_watershed, flow and (as a class) semantic.
"""

from __future__ import annotations

import numpy as np

from connectomake.config.settings.data import UNKNOWN
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.targets.erosion import erode_labels
from connectomake.targets.kinds.binary import BinaryConfig


class BinaryTarget:
    """The foreground of labels, eroded first where the settings say so.

    Parameters
    ----------
    cfg
        Erosion.
    voxel_size_zyx_nm
        Not looked at.
    """

    def __init__(self, cfg: BinaryConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.erosion_zyx = to_triple(cfg.erosion_zyx_vx)

    @property
    def context(self) -> tuple[Triple, Triple]:
        """What erosion looks at."""
        return self.erosion_zyx, self.erosion_zyx

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the foreground inside a patch; see `Target.make`."""
        inside = erode_labels(labels, self.erosion_zyx)[patch.slices]
        return (inside > 0).astype(np.uint8)[None], (inside != UNKNOWN)[None]
