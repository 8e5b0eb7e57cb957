"""One training patch as each augmentation by itself leaves it, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectomake.augment.placement import draw_placement
from connectomake.augment.registry import augment
from connectomake.config.settings.augment import AugmentConfig
from connectomake.geometry import TripleNm
from connectomake.train.patches import TrainingPatches
from connectomake.train.sampling import draw_place
from connectomake.train.volumes import reach

_EXAMPLES = 7  # tells its generators from others of the same seed
DRAWS = 8
NOTHING = ((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True)
class Example:
    """A patch before and after one augmentation.

    Parameters
    ----------
    name, settings
        The augmentation: its key in `AugmentConfig`, and what is under it.
    raw, labels
        (Z, Y, X) float32, the mean of the channels, and (Z, Y, X) integers, -1 = unknown.
    changed_raw, changed_labels
        The same, afterwards.
    voxel_size_zyx_nm
        In nm.
    """

    name: str
    settings: Mapping[str, Any]
    raw: np.ndarray
    labels: np.ndarray
    changed_raw: np.ndarray
    changed_labels: np.ndarray
    voxel_size_zyx_nm: TripleNm


def make_examples(patches: TrainingPatches) -> list[Example]:
    """Let each augmentation act alone, and certainly, on one patch of the training data.

    Of a few draws the one is taken that changes most, so that one sees how far an augmentation goes.
    """
    cfg, rng = patches.augment_cfg, np.random.default_rng((patches.cfg.seed, _EXAMPLES))
    chosen, cell = patches.draw(rng)
    box = patches.boxes[chosen]
    place, _ = draw_place(rng, box, patches.patch_zyx, NOTHING, patches.cfg.sampling, cell)

    def read(settings: AugmentConfig, attempt: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((patches.cfg.seed, _EXAMPLES, attempt))
        placement = draw_placement(rng, settings, box.voxel_size_zyx_nm, patches.patch_zyx)
        labels = box.read_labels(reach(place, *placement.label_margin))
        patch = patches.read_patch(attempt, chosen, place, placement, labels)
        augment(patch, settings, rng)
        placed = placement.apply(patch)
        return placed.raw.mean(0), placed.labels

    raw, labels = read(AugmentConfig(), 0)
    examples = []
    for name in cfg.names:
        draws = [read(_certain(cfg, name), attempt) for attempt in range(DRAWS)]
        changed = max(draws, key=lambda draw: float(abs(draw[0] - raw).mean()))
        examples.append(Example(name, getattr(cfg, name).model_dump(), raw, labels, *changed, box.voxel_size_zyx_nm))
    return examples


def _certain(cfg: AugmentConfig, name: str) -> AugmentConfig:
    """Leave one augmentation, and let it act on every patch."""
    section = getattr(cfg, name).model_copy(update={"probability": 1.0})
    return AugmentConfig(grey_unit=cfg.grey_unit, read_beyond=cfg.read_beyond, **{name: section})
