"""The distance of voxels to the skeleton of their object, traced patch by patch by kimimaro.

It makes a distance map that is as high in a thin neurite as in a soma (Lin et al. 2023, skeleton-aware distance
transform). kimimaro is GPL-3: it is imported here and where truth skeletons are traced, inside functions, and nowhere
else. It takes by far the most time of all targets: in cells of 20 voxels 2 s for a patch of 64^3 with its context, 8 s
for one of 128^3, on one core, so that a GPU waits for it; nothing is kept between patches.
"""

from __future__ import annotations

from types import ModuleType

import edt
import numpy as np
from scipy.ndimage import find_objects

from connectomake.config.settings.data import SkeletonConfig
from connectomake.errors import MissingPackageError
from connectomake.geometry import TripleNm
from connectomake.targets.target import number_objects


def distance_to_skeletons(labels: np.ndarray, voxel_size_zyx_nm: TripleNm, is_2d: bool = False) -> np.ndarray:
    """Measure how far each voxel of an object is from the nearest voxel of the object's skeleton.

    The skeletons are those of TEASAR (Sato et al. 2000) with the settings that the truth skeletons have by default. An
    object too small to have one is its own skeleton.

    Parameters
    ----------
    labels
        (Z, Y, X) int64, objects above 0.
    voxel_size_zyx_nm
        In nm.
    is_2d
        Trace the objects of each section by themselves.

    Returns
    -------
    ndarray
        (Z, Y, X) float32, in nm; 0 on skeletons and outside objects.

    Raises
    ------
    MissingPackageError
        kimimaro is not installed.
    """
    ids, _ = number_objects(labels, is_2d)
    skeleton = _trace(ids, voxel_size_zyx_nm)
    distance = np.zeros(labels.shape, np.float32)
    for number, box in enumerate(find_objects(ids), start=1):
        if box is None:
            continue
        inside = ids[box] == number
        on_skeleton = inside & skeleton[box]
        if on_skeleton.any():
            away = edt.edt(~on_skeleton, anisotropy=voxel_size_zyx_nm, parallel=1)
            distance[box][inside] = away[inside]
    return distance


def _trace(ids: np.ndarray, voxel_size_zyx_nm: TripleNm) -> np.ndarray:
    """Mark the voxels on the skeleton of an object; (Z, Y, X) bool."""
    cfg, size_nm = SkeletonConfig(), np.array(voxel_size_zyx_nm, np.float32)
    found = _import_kimimaro().skeletonize(
        np.asfortranarray(ids),
        teasar_params={
            "scale": cfg.scale,
            "const": cfg.const_nm,
            "soma_detection_threshold": cfg.soma_detection_nm,
            "soma_acceptance_threshold": cfg.soma_acceptance_nm,
        },
        anisotropy=size_nm,  # the array is z, y, x: so are kimimaro's vertices
        dust_threshold=0,
        fix_borders=False,
        fill_holes=False,
        in_place=True,
        progress=False,
    )
    marked = np.zeros(ids.shape, bool)
    for skeleton in found.values():
        marked[tuple(np.rint(skeleton.vertices / size_nm).astype(np.int64).T)] = True
    return marked


def _import_kimimaro() -> ModuleType:
    try:
        import kimimaro
    except ImportError as error:
        raise MissingPackageError(
            "train.targets.distance.kind: skeleton needs kimimaro, which is not installed",
            hint="pip install kimimaro, or take kind: instance",
        ) from error
    return kimimaro
