"""Labels of volumes that are made together with a distance map: by the pipeline's own decoder."""

from __future__ import annotations

import numpy as np

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.synth import SynthLabelsConfig
from connectomake.decode.channels import Channels
from connectomake.decode.registry import decode


def label_map(distances: np.ndarray, cfg: SynthLabelsConfig, threads: int = 1) -> np.ndarray:
    """Make labels from a distance map, by the decoder `seeded_watershed`.

    The channels that it reads follow from the map: binary is 1 inside objects, 0 outside (-1 in the map), and 0.5
    half-way to the voxels at an object's border (0 in the map); contour is 1 at those, and falls to both sides.

    Parameters
    ----------
    distances
        (Z, Y, X) floats, as of `connectomake.synth.distance.distance_map`; beyond [-1, 1] the nearest.
    cfg
        The decoder's settings, and the smallest object.
    threads
        The labels do not depend on it.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, 0 = background, ids 1..n.
    """
    distances = np.clip(distances, -1, 1).astype(np.float32, copy=False)
    maps = {"binary": np.minimum(distances + 1, 1), "contour": 1 - np.abs(distances), "distance": distances}
    names = cfg.decoder.channels
    settings = DecodeConfig.model_validate(
        {"decoder": "seeded_watershed", "seeded_watershed": cfg.decoder, "min_size_vx": cfg.min_size_vx}
    )
    channels = Channels(names, (None,) * len(names))
    labels = decode(np.stack([maps[name] for name in names]), settings, channels=channels, threads=threads)
    return labels.astype(np.uint32, copy=False)
