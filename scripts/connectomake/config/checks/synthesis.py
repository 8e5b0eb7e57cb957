"""Checks of an experiment that makes volumes, which need nothing but settings."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from connectomake.config.engine.layers import NAME_RULE, is_name
from connectomake.errors import ConfigError

if TYPE_CHECKING:
    from connectomake.config.engine.variant import Variant


def check_makes_volumes(variant: Variant, asked_by: str) -> None:
    """Reject an experiment that is asked for the volumes it makes, and makes none.

    Raises
    ------
    ConfigError
        It names no preset of synth.
    """
    if not variant.makes_volumes:
        raise ConfigError(
            f"{asked_by}: the experiment {variant.experiment} makes no volumes",
            expected="an experiment with a preset of config/synth, as synth: tiny",
        )


def check_classes_name_volumes(variant: Variant) -> None:
    """Reject classes that are no names, of volumes that are not there, or of a collection, which has its own.

    Raises
    ------
    ConfigError
        With the class.
    """
    data, cfg = variant.data, variant.synth
    where = f"config/synth/{variant.presets['synth']}.yaml: examples.classes"
    if data.collection is not None and cfg.examples.classes:
        raise ConfigError(f"{where}: a collection has classes of its own", hint="remove the key")
    for name, patterns in cfg.examples.classes.items():
        if not is_name(name):
            raise ConfigError(f"{where}: this cannot be the name of a class", expected=NAME_RULE, got=repr(name))
        lost = [p for p in patterns or ("",) if not any(fnmatch(volume, p) for volume in data.volumes)]
        if lost:
            raise ConfigError(
                f"{where}.{name}: no volume of config/data/{variant.presets['data']}.yaml is called so",
                expected=f"names, or patterns of names, of {', '.join(data.volumes)}",
                got=lost[0] or "none",
            )


def check_volumes_to_learn_from(variant: Variant) -> None:
    """Reject data without a volume to learn from, or without labels where images are made together with them.

    Raises
    ------
    ConfigError
        With what is missing.
    """
    data, cfg = variant.data, variant.synth
    where = f"experiment {variant.experiment}: config/data/{variant.presets['data']}.yaml"
    if data.collection is not None:
        if cfg.labels.kind != "none":
            raise ConfigError(f"{where}: a collection has no labels", expected="labels.kind: none", got=cfg.labels.kind)
        return
    learnt = {name: volume for name, volume in data.volumes.items() if volume.role == "train"}
    if not learnt:
        raise ConfigError(f"{where} has no volume to learn from", expected="a volume with role: train")
    for name, volume in learnt.items():
        if cfg.labels.kind != "none" and not volume.has_labels:
            raise ConfigError(f"{where}: volumes.{name} has no labels, and labels.kind is {cfg.labels.kind}")


SYNTH_CHECKS: tuple[Callable[[Variant], None], ...] = (check_classes_name_volumes, check_volumes_to_learn_from)
