"""Classes of voxels, as settings know them."""

from __future__ import annotations

from connectomake.config.settings.train_target_kinds import ClassesConfig, TargetKind

CLASSES = TargetKind(ClassesConfig, "connectomake.targets.classes:ClassesTarget", "classes of voxels")
