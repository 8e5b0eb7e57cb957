"""Other content in a patch: a copy of one of its objects, or the grey values of another patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from connectomake.augment.grey import GreyScale
from connectomake.config.settings.augment_kinds import Augmentation, AugmentationConfig, Share, Shares
from connectomake.config.settings.data import UNKNOWN
from connectomake.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from connectomake.augment.patch import Patch

SMALLEST_OBJECT_VX = 64
PLACES = 16


class CopyPasteConfig(AugmentationConfig):
    """Paste a turned copy of an object somewhere else in the patch, as a new object (Ghiasi et al. 2021)."""

    probability: Share = Field(0.5, description="for each patch")
    largest_object: Share = Field(0.7, description="objects that fill more than this share of the patch are not copied")
    angles_deg: tuple[float, ...] = Field(
        tuple(range(30, 360, 30)),
        min_length=1,
        description="angles by which the copy is turned in the plane of the sections (degrees)",
    )
    border_vx: int = Field(3, ge=0, description="distance that the copy keeps from the object itself (voxels)")


class MixupConfig(AugmentationConfig):
    """Mix in the grey values of another patch of the training data; the labels stay (Zhang et al. 2018)."""

    probability: Share = Field(0.5, description="for each patch")
    weight: Shares = Field((0.7, 0.9), description="share of the patch's own grey values, least and most")


def mix_up(patch: Patch, cfg: MixupConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Mix in the grey values of another patch; `patch.raw` is changed in place.

    The labels stay those of the patch, whose share is the larger one: what is mixed in is a disturbance, nothing to be
    found (after Zhang et al. 2018, who mix the labels too).

    Raises
    ------
    DataError
        The patch has no `partner`.
    """
    import numpy as np

    if patch.partner is None:
        raise DataError("mixup needs a second patch", expected="a Patch with a partner", got="none")
    own = np.float32(rng.uniform(*cfg.weight))
    patch.raw *= own
    patch.raw += (1 - own) * patch.partner().raw


def paste_copy(patch: Patch, cfg: CopyPasteConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Paste a turned copy of an object elsewhere, as a new object; both arrays are changed in place.

    Of some places that are drawn the one is taken where the copy hides least of other objects. The copy brings its grey
    values. Its voxels get an id that is not in use, except where labels were unknown: they stay so. Nothing happens
    where no object fits (after PyTorch Connectomics and Ghiasi et al. 2021).
    """
    import numpy as np

    labels = patch.labels[patch.box.slices]
    label = _draw_object(labels, cfg.largest_object, rng)
    angle = np.deg2rad(rng.choice(cfg.angles_deg))
    if label is None:
        return
    raw, mask = _turn_object(patch.raw, labels == label, angle)
    place = _find_place(labels, labels == label, mask, cfg.border_vx, rng)
    if place is None:
        return
    patch.raw[(slice(None), *place)][:, mask] = raw[:, mask]
    labels[place][mask & (labels[place] != UNKNOWN)] = patch.labels.max() + 1


def _draw_object(labels: np.ndarray, largest: float, rng: np.random.Generator) -> int | None:
    """Draw the label of an object of at most this share of the voxels, all equally likely; None where there is none."""
    import fastremap

    ids, counts = fastremap.unique(labels, return_counts=True)
    ids = ids[(ids > 0) & (counts >= SMALLEST_OBJECT_VX) & (counts <= largest * labels.size)]
    return int(rng.choice(ids)) if ids.size else None


def _turn_object(raw: np.ndarray, mask: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn an object in the plane of the sections; give the grey values of the box around it, and where it is."""
    import numpy as np
    from scipy import ndimage

    from connectomake.augment.resample import resample_labels, resample_raw, turn_in_section

    box = ndimage.find_objects(mask.view(np.uint8))[0]
    shape = mask[box].shape
    matrix = turn_in_section(angle)
    cos, sin = matrix[1, 1], matrix[2, 1]
    turned = (shape[0], *(int(np.ceil(n * abs(cos) + m * abs(sin))) for n, m in (shape[1:], shape[:0:-1])))
    offset = (np.array(shape) - 1) / 2 - matrix @ ((np.array(turned) - 1) / 2)
    inside = resample_labels(mask[box].astype(np.int8), matrix, offset, turned) == 1
    tight = ndimage.find_objects(inside.view(np.uint8))[0]
    return resample_raw(raw[(slice(None), *box)], matrix, offset, turned)[(slice(None), *tight)], inside[tight]


def _find_place(
    labels: np.ndarray, original: np.ndarray, mask: np.ndarray, border_vx: int, rng: np.random.Generator
) -> tuple[slice, slice, slice] | None:
    """Find a place for a mask that keeps its distance from the original (Z, Y, X) bool and hides little of others."""
    import numpy as np
    from scipy import ndimage

    if any(side > n for side, n in zip(mask.shape, labels.shape, strict=True)):
        return None
    near = ndimage.maximum_filter(original, 2 * border_vx + 1)
    best, least = None, mask.size + 1
    for _ in range(PLACES):
        z, y, x = (int(rng.integers(0, n - side + 1)) for n, side in zip(labels.shape, mask.shape, strict=True))
        place = (slice(z, z + mask.shape[0]), slice(y, y + mask.shape[1]), slice(x, x + mask.shape[2]))
        hidden = int(np.count_nonzero(labels[place][mask]))
        if hidden < least and not near[place][mask].any():
            best, least = place, hidden
    return best


COPY_PASTE = Augmentation(CopyPasteConfig, paste_copy, "copied objects")
MIXUP = Augmentation(MixupConfig, mix_up, "another patch mixed in")
