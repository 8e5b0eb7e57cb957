"""Training patches and validation patches, each a function of its number alone.

Patch i is drawn from a generator seeded with (seed, i): it is the same whichever process makes it, in whatever order,
before or after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.augment.orientation import Orientation, draw_orientation
from connectomake.augment.registry import augment
from connectomake.config.augment import AugmentConfig
from connectomake.config.train import TrainConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.targets.affinity import UNKNOWN
from connectomake.targets.registry import Targets
from connectomake.train.volumes import LabelledBox

LEAST_KNOWN = 0.1
ATTEMPTS = 10
MEASURED_PATCHES = 64
_MEASURE, _TRAIN = 0, 1  # tell the generators of the two apart

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Normalisation:
    """Grey values to network input: (raw - mean) / std."""

    mean: float
    std: float

    def apply(self, raw: np.ndarray) -> None:
        """Normalise float32 grey values in place."""
        raw -= np.float32(self.mean)
        raw /= np.float32(self.std)


class TrainingPatches:
    """An endless sequence of random patches with their targets.

    Parameters
    ----------
    boxes
        Where patches come from; one of n voxels and weight w is chosen with a probability proportional to n w.
    cfg, augment_cfg
        Settings.
    targets
        What is computed from the labels.
    normalisation
        Of the grey values.

    Raises
    ------
    DataError
        A box is smaller than a patch.
    """

    def __init__(
        self,
        boxes: Sequence[LabelledBox],
        cfg: TrainConfig,
        augment_cfg: AugmentConfig,
        targets: Targets,
        normalisation: Normalisation,
    ) -> None:
        self.boxes, self.cfg, self.augment_cfg, self.targets = boxes, cfg, augment_cfg, targets
        self.normalisation = normalisation
        self.chances = chances_of(boxes)

    def __getitem__(self, index: int) -> Sample:
        """Make patch `index`.

        Returns
        -------
        dict
            ``raw`` (C, Z, Y, X) float32; ``values`` (C', Z, Y, X) uint8 and ``mask`` (C', Z, Y, X) bool of the targets.
        """
        rng = np.random.default_rng((self.cfg.seed, _TRAIN, index))
        patch_zyx = to_triple(self.cfg.patch_zyx_vx)
        box = self.boxes[rng.choice(len(self.boxes), p=self.chances)]
        orientation = draw_orientation(
            rng, self.augment_cfg.flip, self.augment_cfg.rotate, box.voxel_size_zyx_nm, patch_zyx
        )
        before, after = self.targets.context if self.cfg.read_context else ((0, 0, 0), (0, 0, 0))
        in_source = orientation.context_in_source(before, after)
        for _ in range(ATTEMPTS):  # sparsely labelled volumes are unknown nearly everywhere
            patch = box.read(draw_box(rng, box.shape_zyx, patch_zyx), *in_source)
            if np.mean(patch.labels[patch.box.slices] != UNKNOWN) >= LEAST_KNOWN:
                break
        self.normalisation.apply(patch.raw)
        augment(patch, self.augment_cfg, rng)
        return make_sample(patch.raw, patch.labels, orientation, Box.of_shape(patch_zyx).shift(before), self.targets)


class ValidationPatches:
    """A few patches of the validation volumes, always the same, spread evenly over them.

    Parameters
    ----------
    boxes
        The validation volumes; one smaller than a patch is mirrored at its borders, and unknown there.
    cfg, targets, normalisation
        As for training.
    """

    def __init__(
        self, boxes: Sequence[LabelledBox], cfg: TrainConfig, targets: Targets, normalisation: Normalisation
    ) -> None:
        self.targets, self.normalisation = targets, normalisation
        patch_zyx = to_triple(cfg.patch_zyx_vx)
        places = [(box, tile) for box in boxes for tile in tile_boxes(box.shape_zyx, patch_zyx)]
        chosen = np.linspace(0, len(places) - 1, min(cfg.validate_patches, len(places))).round().astype(int)
        self.places = [places[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """Make patch `index`; see `TrainingPatches`."""
        box, tile = self.places[index]
        before, after = self.targets.context
        patch = box.read(tile, before, after)
        self.normalisation.apply(patch.raw)
        return make_sample(patch.raw, patch.labels, Orientation(), patch.box, self.targets)


def make_sample(raw: np.ndarray, labels: np.ndarray, orientation: Orientation, patch: Box, targets: Targets) -> Sample:
    """Turn a patch and its labels, then compute the targets; `patch` is its place in the turned labels."""
    values, mask = targets.make(np.ascontiguousarray(orientation.apply(labels)), patch)
    return {"raw": np.ascontiguousarray(orientation.apply(raw)), "values": values, "mask": mask}


def chances_of(boxes: Sequence[LabelledBox]) -> np.ndarray:
    """Give the probability of each box to be drawn from: proportional to its voxels times its weight."""
    shares = np.array([Box.of_shape(box.shape_zyx).size * box.weight for box in boxes], float)
    return shares / shares.sum()


def draw_box(rng: np.random.Generator, shape_zyx: Sequence[int], patch_zyx: Sequence[int]) -> Box:
    """Draw a place for a patch, all equally likely."""
    start = [int(rng.integers(0, side - patch + 1)) for side, patch in zip(shape_zyx, patch_zyx, strict=True)]
    return Box.of_shape(patch_zyx).shift(start)


def tile_boxes(shape_zyx: Triple, patch_zyx: Triple) -> list[Box]:
    """Cover a volume with patches side by side, the last of each axis moved inwards; one at 0 where it is too small."""
    starts = [
        [min(start, max(0, side - patch)) for start in range(0, side, patch)]
        for side, patch in zip(shape_zyx, patch_zyx, strict=True)
    ]
    return [Box.of_shape(patch_zyx).shift((z, y, x)) for z in starts[0] for y in starts[1] for x in starts[2]]


def check_sizes(boxes: Sequence[LabelledBox], cfg: TrainConfig) -> None:
    """Refuse training volumes that hold no patch.

    Raises
    ------
    DataError
        Names the volume, and the largest patch that fits.
    """
    for box in boxes:
        if any(side < patch for side, patch in zip(box.shape_zyx, cfg.patch_zyx_vx, strict=True)):
            fits = [
                min(patch, side // d * d)
                for side, patch, d in zip(box.shape_zyx, cfg.patch_zyx_vx, cfg.model.divisor_zyx, strict=True)
            ]
            raise DataError(
                f"the training part of volume {box.name} is smaller than a patch",
                expected=f"at least {list(cfg.patch_zyx_vx)} voxels (train.patch_zyx_vx)",
                got=list(box.shape_zyx),
                hint=f"a patch of {fits} fits" if min(fits) > 0 else "leave this volume out",
            )


def measure_grey_values(boxes: Sequence[LabelledBox], cfg: TrainConfig) -> Normalisation:
    """Take mean and standard deviation from the settings, or measure them on random patches of the training data.

    Raises
    ------
    DataError
        All grey values are equal, or some are not finite.
    """
    if cfg.raw_mean is not None and cfg.raw_std is not None:
        return Normalisation(cfg.raw_mean, cfg.raw_std)
    rng = np.random.default_rng((cfg.seed, _MEASURE))
    count, total, squares = 0, 0.0, 0.0
    none = (0, 0, 0)
    for index in rng.choice(len(boxes), MEASURED_PATCHES, p=chances_of(boxes)):
        raw = boxes[index].read(draw_box(rng, boxes[index].shape_zyx, cfg.patch_zyx_vx), none, none).raw
        count, total = count + raw.size, total + float(raw.sum(dtype=np.float64))
        squares += float(np.square(raw, dtype=np.float64).sum())
    mean = total / count
    std = float(np.sqrt(max(0.0, squares / count - mean**2)))
    if not np.isfinite(std) or std <= 1e-6 * max(1.0, abs(mean)):
        raise DataError(
            "the grey values of the training data cannot be normalised",
            expected="finite values that differ",
            got=f"mean {mean:g}, sd {std:g}",
            hint="check raw of the train volumes",
        )
    return Normalisation(mean if cfg.raw_mean is None else cfg.raw_mean, std if cfg.raw_std is None else cfg.raw_std)
