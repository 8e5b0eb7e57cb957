"""Whether training volumes hold what the settings ask of them; what settings alone tell is checked by the config."""

from __future__ import annotations

from collections.abc import Sequence

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError, DataError
from connectomake.targets.classes import check_classes, check_named
from connectomake.train.sampling import find_values
from connectomake.train.volumes import LabelledBox


def check_settings(cfg: TrainConfig, augment_cfg: AugmentConfig) -> None:
    """Reject copying objects where labels tell classes.

    Raises
    ------
    ConfigError
        With the key.
    """
    classes = cfg.targets.classes
    if classes is not None and augment_cfg.section("copy_paste") is not None:
        hint = "set augment.copy_paste: null, or choose another preset of config/augment"
        raise ConfigError("augment.copy_paste gives copies labels of their own, which are of no class", hint=hint)


def check_presence(boxes: Sequence[LabelledBox], cfg: TrainConfig) -> None:
    """Reject training volumes in which a class to learn does not occur.

    Raises
    ------
    DataError
        With the class.
    """
    classes, combinations = cfg.targets.classes, boxes[0].combinations
    if combinations is not None:
        check_named(combinations, find_values(boxes, map(combinations.having, combinations.classes)))
    elif classes is not None:
        check_classes(classes, find_values(boxes, classes.labels.values()))


def check_sizes(boxes: Sequence[LabelledBox], cfg: TrainConfig) -> None:
    """Reject training volumes that hold no patch; smaller crops are mirrored, and unknown beyond their borders.

    Raises
    ------
    DataError
        Names the volume, and the largest patch that fits.
    """
    for box in boxes:
        if box.combinations is None and any(
            side < patch for side, patch in zip(box.shape_zyx, cfg.patch_zyx_vx, strict=True)
        ):
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
