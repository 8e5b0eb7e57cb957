"""Training patches and validation patches, each a function of its number alone.

Patch i is drawn from a generator seeded with (seed, i): it is the same whichever process makes it, in whatever order,
before or after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectomake.augment.patch import Patch
from connectomake.augment.placement import Placement, draw_placement
from connectomake.augment.registry import augment
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.targets.registry import Targets
from connectomake.train.checks import check_presence, check_settings, check_sizes
from connectomake.train.class_sampling import ClassPlaces
from connectomake.train.mixing import mix_boxes
from connectomake.train.normalisation import Normalisation
from connectomake.train.sampling import draw_box, draw_place, keep_labelled
from connectomake.train.volumes import LabelledBox, reach

NOTHING: Triple = (0, 0, 0)
LOOKED_AT, BEYOND = 16, 2**62
_TRAIN, _PARTNER = 1, 1  # parts of the seed: what is drawn

Sample = dict[str, np.ndarray]


class TrainingPatches:
    """An endless sequence of random patches with their targets.

    Parameters
    ----------
    boxes
        Where patches come from: `mix_boxes` says how often from which, or `ClassPlaces` where classes are balanced.
        Those without any label are left out.
    cfg, augment_cfg
        Settings.
    targets
        What is computed from the labels.
    normalisation
        Of the grey values.

    Raises
    ------
    ConfigError
        Settings of sampling or augmentation do not suit the targets.
    DataError
        A box is smaller than a patch, a volume has nothing to learn from, or a class that shall be learnt is in none.
    """

    def __init__(
        self,
        boxes: Sequence[LabelledBox],
        cfg: TrainConfig,
        augment_cfg: AugmentConfig,
        targets: Targets,
        normalisation: Normalisation,
    ) -> None:
        check_settings(cfg, augment_cfg)
        check_sizes(boxes, cfg)
        self.boxes = keep_labelled(boxes, cfg.sampling)
        check_presence(self.boxes, cfg)
        self.cfg, self.augment_cfg, self.targets = cfg, augment_cfg, targets
        self.mixture = mix_boxes(self.boxes)
        self.normalisations = normalisation.of_all(self.boxes)
        self.patch_zyx = to_triple(cfg.patch_zyx_vx)
        balanced = cfg.sampling.balance == "classes"
        self.class_places = ClassPlaces(self.boxes, self.patch_zyx, self.mixture) if balanced else None
        self.context = targets.context if cfg.read_context else (NOTHING, NOTHING)

    def __getitem__(self, index: int) -> Sample:
        """Make patch `index`.

        Returns
        -------
        dict
            ``raw`` (C, Z, Y, X) float32; ``values`` (C', Z, Y, X) uint8 or float32 and ``mask`` (C', Z, Y, X) bool of
            the targets.
        """
        rng = np.random.default_rng((self.cfg.seed, _TRAIN, index))
        chosen, cell = self.draw(rng)
        box = self.boxes[chosen]
        placement = draw_placement(rng, self.augment_cfg, box.voxel_size_zyx_nm, self.patch_zyx, *self.context)
        place, labels = draw_place(rng, box, self.patch_zyx, placement.label_margin, self.cfg.sampling, cell)
        patch = self.read_patch(index, chosen, place, placement, labels)
        augment(patch, self.augment_cfg, rng)
        return make_sample(placement.apply(patch), self.targets)

    def draw(self, rng: np.random.Generator) -> tuple[int, Box | None]:
        """Draw which box a patch is from, and what of it the patch shall contain, in its voxels; None = anything."""
        return (self.mixture.draw(rng), None) if self.class_places is None else self.class_places.draw(rng)

    def read_patch(self, index: int, chosen: int, place: Box, placement: Placement, labels: np.ndarray) -> Patch:
        """Read what a placement needs of a patch.

        Parameters
        ----------
        index
            Number of the patch, which the patch to mix it with is a function of.
        chosen
            Which of the boxes it is in.
        place
            Where, in voxels of that box.
        placement
            How it will be laid.
        labels
            (Z, Y, X) signed integers, those in the place and the placement's `label_margin`.
        """
        return Patch(
            self._read_raw(chosen, reach(place, *placement.margin)),
            labels,
            to_triple(np.subtract(placement.label_margin[0], placement.margin[0]).tolist()),
            *self.normalisations[chosen].scale(self.boxes[chosen].raw.dtype),
            lambda: self._read_partner(index, placement),
        )

    def volume_of(self, index: int) -> str:
        """Name the volume that patch `index` is from."""
        return self.boxes[self.draw(np.random.default_rng((self.cfg.seed, _TRAIN, index)))[0]].name

    def _read_raw(self, chosen: int, around: Box) -> np.ndarray:
        raw = self.boxes[chosen].read_raw(around)
        self.normalisations[chosen].apply(raw)
        return raw

    def _read_partner(self, index: int, placement: Placement) -> Patch:
        """Read a second patch for patch `index`, from anywhere, with raw of the same shape."""
        rng = np.random.default_rng((self.cfg.seed, _TRAIN, index, _PARTNER))
        chosen = self.mixture.draw(rng)
        around = reach(draw_box(rng, self.boxes[chosen].shape_zyx, self.patch_zyx), *placement.margin)
        return Patch(self._read_raw(chosen, around), self.boxes[chosen].read_labels(around), NOTHING)


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
        self.targets = targets
        patch_zyx = to_triple(cfg.patch_zyx_vx)
        measured = zip(boxes, normalisation.of_all(boxes), strict=True)
        places = [(box, tile, n) for box, n in measured for tile in tile_boxes(box.shape_zyx, patch_zyx)]
        chosen = np.linspace(0, len(places) - 1, min(cfg.validate_patches, len(places))).round().astype(int)
        self.places = [places[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """Make patch `index`; see `TrainingPatches`."""
        box, tile, normalisation = self.places[index]
        patch = box.read(tile, *self.targets.context)
        normalisation.apply(patch.raw)
        return make_sample(patch, self.targets)


def make_sample(patch: Patch, targets: Targets) -> Sample:
    """Compute the targets of a patch, and give them with its grey values."""
    values, mask = targets.make(np.ascontiguousarray(patch.labels, np.int64), patch.box)
    return {"raw": np.ascontiguousarray(patch.raw), "values": values, "mask": mask}


def check_known(patches: TrainingPatches) -> None:
    """Reject targets of which nothing is known in random patches: such a training would go on, and learn nothing.

    As a rule one patch is made, beyond those that any training reaches. None is where classes of crops are learnt: they
    occur, as `check_presence` knows, and some may be annotated in few crops only.

    Raises
    ------
    DataError
        Names the first such channel.
    """
    classes = patches.cfg.targets.classes
    if classes is not None and classes.named:
        return
    unknown = np.ones(len(patches.targets.channels), bool)
    for index in range(LOOKED_AT):
        unknown &= ~patches[BEYOND + index]["mask"].any((1, 2, 3))
        if not unknown.any():
            return
    channel = patches.targets.channels[int(unknown.argmax())]
    raise DataError(
        f"nothing is known of channel {channel.name!r} in {LOOKED_AT} patches",
        expected=f"labels from which train.targets.{channel.target} follows",
        got="labels that leave it open in every voxel",
        hint="a larger patch, read_context: true, other settings of this target, or other volumes",
    )


def tile_boxes(shape_zyx: Triple, patch_zyx: Triple) -> list[Box]:
    """Cover a volume with patches side by side, the last of each axis moved inwards; one at 0 where it is too small."""
    starts = [
        [min(start, max(0, side - patch)) for start in range(0, side, patch)]
        for side, patch in zip(shape_zyx, patch_zyx, strict=True)
    ]
    return [Box.of_shape(patch_zyx).shift((z, y, x)) for z in starts[0] for y in starts[1] for x in starts[2]]
