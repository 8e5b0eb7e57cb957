"""Objects grow from seeds over a foreground, and meet where the maps say.

The three methods are those of PyTorch Connectomics for mitochondria and nuclei (MitoEM, Wei et al. 2020; NucMM, Lin et
al. 2021). Different here: seeds are joined by faces alone, because corners leak through thin contours; the flood reads
what the network says about borders, not the foreground, which is flat inside objects.
"""

from __future__ import annotations

from collections.abc import Mapping

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.seeded_watershed import SeededWatershedConfig
from connectomake.decode.channels import Channels
from connectomake.decode.maps import as_floats, check_maps
from connectomake.decode.postprocess import count_voxels

Maps = Mapping[str, NDArray[np.float32]]


def label_by_flood(
    maps: NDArray, channels: Channels, cfg: SeededWatershedConfig, threads: int = 1
) -> NDArray[np.uint32]:
    """Label by a watershed from seeds.

    Parameters
    ----------
    maps
        (C, Z, Y, X).
    channels
        Name them binary, contour and distance, those of the method.
    cfg
        Method and thresholds.
    threads
        The labels do not depend on it.

    Returns
    -------
    ndarray
        (Z, Y, X), 0 in the background, and in foreground without a seed.
    """
    check_maps(maps, channels)
    kinds = zip(channels.names, maps, channels.activations, strict=True)
    named = {name: as_floats(values, activation=activation) for name, values, activation in kinds}
    foreground = find_foreground(named, cfg)
    seeds = find_seeds(named, cfg)
    return _flood(_make_landscape(named, foreground, cfg, threads), seeds, foreground) if seeds.any() else seeds


def find_foreground(maps: Maps, cfg: SeededWatershedConfig) -> NDArray[np.bool_]:
    """Mark the voxels of objects: binary above `foreground_binary`, and distance above `foreground_distance`.

    Parameters
    ----------
    maps
        Name -> (Z, Y, X), of the channels that the method reads.
    cfg
        The thresholds.
    """
    foreground = maps["binary"] > cfg.foreground_binary
    if "distance" in maps:
        foreground &= maps["distance"] > cfg.foreground_distance
    return foreground


def find_seeds(maps: Maps, cfg: SeededWatershedConfig) -> NDArray[np.uint32]:
    """Label the components (by faces) of voxels that are surely inside: binary and distance high, contour low.

    Parameters are those of `find_foreground`. Components of fewer than `min_seed_vx` voxels are left out.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, 0 = no seed.
    """
    inside = maps["binary"] > cfg.seed_binary
    if "contour" in maps:
        inside &= maps["contour"] < cfg.seed_contour
    if "distance" in maps:
        inside &= maps["distance"] > cfg.seed_distance
    if not inside.any():
        return np.zeros(inside.shape, np.uint32)
    seeds = cc3d.connected_components(inside, connectivity=6, out_dtype=np.uint32)
    kept = count_voxels(seeds) >= cfg.min_seed_vx
    kept[0] = False
    return np.where(kept, np.arange(len(kept)), 0).astype(np.uint32)[seeds]


def _make_landscape(maps: Maps, foreground: NDArray[np.bool_], cfg: SeededWatershedConfig, threads: int) -> NDArray:
    """Return the map to flood, low where objects are sure and high where they meet."""
    if cfg.method == "binary_contour":
        return maps["contour"]
    if cfg.method == "binary_contour_distance":
        return -maps["distance"]
    # Where there is no background at all, the distance to it is infinite.
    return -np.nan_to_num(edt.edt(foreground, anisotropy=cfg.sampling_zyx, parallel=threads), posinf=0)


def _flood(landscape: NDArray, seeds: NDArray[np.uint32], foreground: NDArray[np.bool_]) -> NDArray[np.uint32]:
    from skimage.segmentation import watershed

    # Through corners too (connectivity 3): the border of an object is one such step from its inside, all around, so
    # that two objects share a plateau between them as they should.
    return watershed(landscape, seeds, mask=foreground, connectivity=3).astype(np.uint32, copy=False)
