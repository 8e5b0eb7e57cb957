"""From the name of a preset to the file of the preset that suits this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

from connectomake.autoconfig.machine import find_machine
from connectomake.autoconfig.measure import measure
from connectomake.autoconfig.preset import SUFFIX, check_own, explain, write_preset
from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig

log = logging.getLogger(__name__)


def autoconfigure(
    project: Path,
    preset: str,
    augment: str = "default",
    *,
    split: Path | None = None,
    search_patch: bool = False,
    budget_s: float = 120.0,
    threads: int | None = None,
) -> Path:
    """Fit a training preset to this machine, and write it as a preset of its own.

    Parameters
    ----------
    project
        The folder that holds config/.
    preset
        A preset of config/train; of one that autoconfig wrote, its base.
    augment
        The preset of config/augment that it is used with: augmentation takes most of the loader's time.
    split, search_patch, budget_s
        See `measure`.
    threads
        Cores that the training is going to have, where they are fewer than those at hand.

    Returns
    -------
    Path
        config/train/PRESET_auto.yaml.

    Raises
    ------
    ConnectomakeError
        There is no such preset, a file of the result's name was written by hand, or the training does not work.
    """
    presets, name = Presets(project), preset.removesuffix(SUFFIX)
    cfg = cast(TrainConfig, presets.get("train", name, "autoconfig").settings)
    augment_cfg = cast(AugmentConfig, presets.get("augment", augment, "autoconfig").settings)
    file = project / "config" / "train" / f"{name}{SUFFIX}.yaml"
    check_own(file)
    machine = find_machine(threads=threads)
    found = measure(cfg, augment_cfg, machine, split=split, search_patch=search_patch, budget_s=budget_s)
    write_preset(file, name, cfg, found)
    log.info("%s\n%s", file, "\n".join(explain(name, cfg, found)))
    return file
