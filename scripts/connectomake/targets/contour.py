"""Contours: voxels at the border of objects, on both of its sides.

A voxel is 1 where a voxel of another label lies in the box of `thickness_vx` around it (2d: in its section), corners
included, else 0; with `between: objects` only where both labels are objects'. It is known where such a voxel is there,
where the box holds nothing unknown (-1, or beyond the array), and with `between: objects` in all background.
The thin borders are those that MitoEM's networks learn (Wei et al. 2020). Read by the decoder seeded_watershed.
"""

from __future__ import annotations

from collections.abc import Callable

import fastremap
import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from connectomake.config.settings.data import UNKNOWN
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.targets.kinds.contour import ContourConfig

NO_LABEL = np.iinfo(np.int32).max


class ContourTarget:
    """The contours of objects.

    Parameters
    ----------
    cfg
        Between what, in which planes, and how thick.
    voxel_size_zyx_nm
        Not looked at.
    """

    def __init__(self, cfg: ContourConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.only_objects = cfg.between == "objects"
        self.reach_zyx: Triple = (cfg.thickness_vx if cfg.planes == "3d" else 0, cfg.thickness_vx, cfg.thickness_vx)

    @property
    def context(self) -> tuple[Triple, Triple]:
        """The thickness, on each axis that is looked along."""
        return self.reach_zyx, self.reach_zyx

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the contours inside a patch; see `Target.make`."""
        known = labels != UNKNOWN
        counts = labels > 0 if self.only_objects else known
        ids = fastremap.renumber(np.ascontiguousarray(labels), preserve_zero=False)[0].astype(np.int32)
        # Labels differ in a box where the least is not the greatest; what does not count is neither.
        least = self._filter(minimum_filter1d, np.where(counts, ids, NO_LABEL), NO_LABEL)
        greatest = self._filter(maximum_filter1d, np.where(counts, ids, -NO_LABEL), -NO_LABEL)
        sure = self._filter(minimum_filter1d, known.view(np.uint8), 0)[patch.slices] == 1
        values = (least < greatest)[patch.slices] & counts[patch.slices]
        mask = known[patch.slices] & (sure | values | ~counts[patch.slices])
        return values.astype(np.uint8)[None], mask[None]

    def _filter(self, extreme: Callable[..., np.ndarray], array: np.ndarray, beyond: int) -> np.ndarray:
        """Return the extreme in the box around each voxel."""
        for axis, reach in enumerate(self.reach_zyx):
            if reach:
                array = extreme(array, 2 * reach + 1, axis=axis, mode="constant", cval=beyond)
        return array
