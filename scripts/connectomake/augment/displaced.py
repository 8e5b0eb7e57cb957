"""Sections that lie elsewhere in their plane than they should: shifted, slipped, turned.

Labels move along. They become unknown (-1) where the image, or they themselves, came in from another side, so that
nothing is learnt there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from connectomake.augment.grey import GreyScale
from connectomake.augment.sections import SectionsConfig, draw_sections
from connectomake.config.settings.augment_kinds import Augmentation, AugmentationConfig, Share
from connectomake.config.settings.data import UNKNOWN

if TYPE_CHECKING:
    import numpy as np

    from connectomake.augment.patch import Patch


class MisalignmentConfig(AugmentationConfig):
    """Displace one section, or all from one on, inside their plane."""

    probability: Share = Field(0.3, description="for each patch")
    distance_vx: int = Field(16, ge=1, description="largest displacement along either axis (voxels)")
    slip: Share = Field(0.5, description="how often it is one section; else all from one on")
    rotate: Share = Field(
        0.0, description="how often the sections are turned instead, by what moves their corners that far"
    )
    axis: Literal["z", "any"] = Field("z", description="sections lie across z, or across an axis drawn for each patch")


class ShiftSectionsConfig(SectionsConfig):
    """Displace single sections inside their plane, each by its own distance."""

    distance_vx: int = Field(8, ge=1, description="largest displacement along either axis (voxels)")
    labels: Literal["follow", "stay"] = Field(
        "follow", description="whether the labels move with the image, or stay where they are (BANIS)"
    )


def shift_sections(patch: Patch, cfg: ShiftSectionsConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Shift single sections, each by its own distance; what leaves on one side enters on the other.

    Both arrays are changed in place; labels follow, or stay where `cfg.labels` says so. BANIS's, except that it
    shifts channels instead of the third axis for sections across two of the axes.
    """
    axis, chosen = draw_sections(patch, cfg, rng)
    for section in chosen:
        steps = rng.integers(-cfg.distance_vx, cfg.distance_vx + 1, 2)
        _shift(patch, axis, slice(section, section + 1), steps, follow=cfg.labels == "follow")


def misalign(patch: Patch, cfg: MisalignmentConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Shift or turn one section, or all from one on; both arrays are changed in place, labels follow.

    After PyTorch Connectomics. What a shift moves out on one side enters on the other; what a turn needs from beyond
    the patch is mirrored; labels are unknown in both.
    """
    import numpy as np

    axis = 0 if cfg.axis == "z" else int(rng.integers(3))
    first = int(rng.integers(patch.raw.shape[axis + 1]))
    sections = slice(first, first + 1 if rng.random() < cfg.slip else None)
    steps, direction = rng.integers(-cfg.distance_vx, cfg.distance_vx + 1, 2), rng.uniform(-1, 1)
    if rng.random() < cfg.rotate:
        height, width = (n for a, n in enumerate(patch.raw.shape[1:]) if a != axis)
        _turn(patch, axis, sections, direction * min(np.pi / 2, cfg.distance_vx / (np.hypot(height, width) / 2)))
    else:
        _shift(patch, axis, sections, steps, follow=True)


def _sections_of(patch: Patch, axis: int, sections: slice) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return views of some sections of raw (C, N, H, W) and labels (M, H', W'), and where the first lie in the second.

    Sections up to the end include the labels after the patch.
    """
    import numpy as np

    before = [b for a, b in enumerate(patch.before_zyx) if a != axis]
    in_labels = slice(*(None if i is None else i + patch.before_zyx[axis] for i in (sections.start, sections.stop)))
    raw, labels = np.moveaxis(patch.raw, axis + 1, 1)[:, sections], np.moveaxis(patch.labels, axis, 0)[in_labels]
    return raw, labels, (before[0], before[1])


def _shift(patch: Patch, axis: int, sections: slice, steps: np.ndarray, *, follow: bool) -> None:
    import numpy as np

    raw, labels, before = _sections_of(patch, axis, sections)
    raw[:] = np.roll(raw, steps, (2, 3))
    if follow:
        labels[:] = np.roll(labels, steps, (1, 2))
        _forget(labels, steps[0], before[0], raw.shape[2])
        _forget(np.swapaxes(labels, 1, 2), steps[1], before[1], raw.shape[3])


def _forget(labels: np.ndarray, step: int, before: int, length: int) -> None:
    """Make the rows of shifted sections (M, H, W) unknown that came, here or in the image, from the other side."""
    if step > 0:
        labels[:, : before + step] = UNKNOWN
    elif step < 0:
        labels[:, max(0, before + length + step) :] = UNKNOWN


def _turn(patch: Patch, axis: int, sections: slice, angle: float) -> None:
    """Turn sections by an angle (radians) about the middle of the image."""
    import numpy as np

    from connectomake.augment.resample import resample_labels, resample_raw, turn_in_section

    raw, labels, before = _sections_of(patch, axis, sections)
    matrix = turn_in_section(angle)
    middle = np.array([0, *((n - 1) / 2 for n in raw.shape[2:])])
    offset, origin = middle - matrix @ middle, np.array([0, *before])
    in_labels = origin + offset - matrix @ origin
    rows, columns = np.indices(raw.shape[2:])
    source = np.tensordot(matrix[1:, 1:], np.stack([rows, columns]), 1) + offset[1:, None, None]
    invented = np.any([(c < -0.5) | (c >= n - 0.5) for c, n in zip(source, raw.shape[2:], strict=True)], 0)
    raw[:] = resample_raw(np.ascontiguousarray(raw), matrix, offset, raw.shape[1:])
    labels[:] = resample_labels(np.ascontiguousarray(labels), matrix, in_labels, labels.shape)
    inside = labels[:, before[0] : before[0] + raw.shape[2], before[1] : before[1] + raw.shape[3]]
    inside[:, invented] = UNKNOWN


MISALIGNMENT = Augmentation(MisalignmentConfig, misalign, "one displaced section, or all from one on")
SHIFT_SECTIONS = Augmentation(ShiftSectionsConfig, shift_sections, "displaced sections")
