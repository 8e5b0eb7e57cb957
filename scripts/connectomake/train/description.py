"""What a network is and how it was trained, for its checkpoint and for whoever goes on training it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.geometry import to_triple
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, save_checkpoint
from connectomake.split.table import SplitRow
from connectomake.train.normalisation import Normalisation
from connectomake.train.volumes import LabelledBox

# They change how long a training takes, where it ends, or what is kept of it, but no step of it.
FREE = frozenset(
    {
        *("max_minutes", "device", "precision", "compile", "workers", "memory_gb", "keep_best"),
        *("checkpoint_every_steps", "checkpoint_every_min"),
    }
)


def settings_of(rows: Sequence[SplitRow], cfg: TrainConfig, augment: AugmentConfig) -> dict[str, Any]:
    """Return what must not change between two attempts of one training."""
    return {
        "train": cfg.model_dump(mode="json", exclude=set(FREE)),
        "augment": augment.model_dump(mode="json"),
        "split": [row.as_settings() for row in rows if row.role in ("train", "validate")],
    }


def describe_training(
    cfg: TrainConfig,
    augment: AugmentConfig,
    rows: Sequence[SplitRow],
    box: LabelledBox,
    channels: Sequence[Channel],
    normalisation: Normalisation,
) -> CheckpointMeta:
    """Return what the network is; nothing in it depends on time or place, so equal trainings have equal hashes."""
    return CheckpointMeta(
        architecture=describe_architecture(cfg.model),
        in_channels=box.channels,
        channels=[channel.as_dict() for channel in channels],
        normalisation=normalisation.as_dict(),
        voxel_size_zyx_nm=box.voxel_size_zyx_nm,
        window_zyx=to_triple(cfg.patch_zyx_vx),
        divisor_zyx=to_triple(cfg.model.divisor_zyx),
        provenance=settings_of(rows, cfg, augment),
    )


def save_network(path: Path, network: nn.Module, found: Mapping[str, Any], meta: CheckpointMeta) -> None:
    """Write a network, with what its validation found."""
    save_checkpoint(path, network, replace(meta, provenance={**meta.provenance, **found}))
