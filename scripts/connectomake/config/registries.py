"""What settings can name, and where each lies: a new thing is its file, and its line here.

Names of settings and values that they may have follow from these tables. The order is that of the generated schemas.
"""

from __future__ import annotations

from typing import Any

from connectomake.config.settings.augment_kinds import Augmentation
from connectomake.config.settings.train_loss_kinds import Loss
from connectomake.config.settings.train_target_kinds import TargetKind
from connectomake.registry import Registry

TABLE_METRICS: Registry[Any] = Registry(
    "voxel metric",
    {
        "voi": "connectomake.measure.variation_of_information:VOI",
        "adapted_rand": "connectomake.measure.adapted_rand:ADAPTED_RAND",
        "matching": "connectomake.measure.matching:MATCHING",
        "foreground": "connectomake.measure.overlap:FOREGROUND",
        "classes": "connectomake.measure.overlap:CLASSES",
    },
)
"""Each a `measure.table_metric.TableMetric`, which says what it reads of `MeasureConfig` and which numbers it gives."""

AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "copy_paste": "connectomake.augment.mixing:COPY_PASTE",
        "mixup": "connectomake.augment.mixing:MIXUP",
        "missing_sections": "connectomake.augment.sections:MISSING_SECTIONS",
        "misalignment": "connectomake.augment.displaced:MISALIGNMENT",
        "shift_sections": "connectomake.augment.displaced:SHIFT_SECTIONS",
        "missing_parts": "connectomake.augment.sections:MISSING_PARTS",
        "motion_blur": "connectomake.augment.sections:MOTION_BLUR",
        "blur_sections": "connectomake.augment.sections:BLUR_SECTIONS",
        "cut_blur": "connectomake.augment.boxes:CUT_BLUR",
        "cut_noise": "connectomake.augment.boxes:CUT_NOISE",
        "brightness": "connectomake.augment.grey:BRIGHTNESS",
        "contrast": "connectomake.augment.grey:CONTRAST",
        "intensity": "connectomake.augment.grey:INTENSITY",
        "noise": "connectomake.augment.grey:NOISE",
        "cutout": "connectomake.augment.boxes:CUTOUT",
    },
)
"""In the order in which they act, and in which `AugmentConfig` has them."""

LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "balanced_bce": "connectomake.losses.cross_entropy:BALANCED_BCE",
        "bce": "connectomake.losses.cross_entropy:BCE",
        "focal": "connectomake.losses.cross_entropy:FOCAL",
        "cross_entropy": "connectomake.losses.cross_entropy:CROSS_ENTROPY",
        "dice": "connectomake.losses.overlap:DICE",
        "generalised_dice": "connectomake.losses.overlap:GENERALISED_DICE",
        "tversky": "connectomake.losses.overlap:TVERSKY",
        "dice_ce": "connectomake.losses.overlap:DICE_CE",
        "dice_focal": "connectomake.losses.overlap:DICE_FOCAL",
        "mse": "connectomake.losses.regression:MSE",
        "mae": "connectomake.losses.regression:MAE",
        "smooth_l1": "connectomake.losses.regression:SMOOTH_L1",
        "weighted_mse": "connectomake.losses.regression:WEIGHTED_MSE",
        "weighted_mae": "connectomake.losses.regression:WEIGHTED_MAE",
        "weighted_smooth_l1": "connectomake.losses.regression:WEIGHTED_SMOOTH_L1",
        "binary_regularisation": "connectomake.losses.consistency:BINARY_REGULARISATION",
        "foreground_distance": "connectomake.losses.consistency:FOREGROUND_DISTANCE",
        "contour_distance": "connectomake.losses.consistency:CONTOUR_DISTANCE",
        "foreground_contour": "connectomake.losses.consistency:FOREGROUND_CONTOUR",
        "non_overlap": "connectomake.losses.consistency:NON_OVERLAP",
    },
)

TARGETS: Registry[TargetKind] = Registry(
    "target",
    {
        "affinity": "connectomake.targets.kinds.affinity:AFFINITY",
        "binary": "connectomake.targets.kinds.binary:BINARY",
        "contour": "connectomake.targets.kinds.contour:CONTOUR",
        "distance": "connectomake.targets.kinds.distance:DISTANCE",
        "flow": "connectomake.targets.kinds.flow:FLOW",
        "descriptors": "connectomake.targets.kinds.descriptors:DESCRIPTORS",
        "classes": "connectomake.targets.kinds.classes:CLASSES",
    },
)
"""In the order in which their channels follow one another, and in which `TargetsConfig` has them."""
