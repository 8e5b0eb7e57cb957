"""Checks between the stages of a challenge that need nothing but settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data_cellmap import GENERATED_CLASSES, GeneratedDataset
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.errors import ConfigError

if TYPE_CHECKING:
    from connectomake.config.engine.variant import Variant


def check_challenge_is_split(variant: Variant) -> None:
    """Reject a split that does not suit the data: crops of a challenge are kept whole, other data have none.

    Raises
    ------
    ConfigError
        Where split.method is classes without a challenge, or another one with it.
    """
    data, split = variant.data, variant.split
    if (data.cellmap is not None) == (split.method == "classes"):
        return
    has = "has crops of a challenge" if data.cellmap is not None else "has no crops of a challenge"
    hint = (
        "set split: classes in the experiment" if data.cellmap is not None else "choose another preset of config/split"
    )
    raise ConfigError(
        f"experiment {variant.experiment}: config/data/{variant.presets['data']}.yaml {has}",
        expected="split.method: classes" if data.cellmap is not None else "split.method: role, slab or blocks",
        got=split.method,
        hint=hint,
    )


def check_challenge_is_learnt(variant: Variant) -> None:
    """Reject targets that crops of a challenge do not have, and classes that they have not.

    Raises
    ------
    ConfigError
        Where train.targets holds something else than named classes, or names a class that data.cellmap.classes does
        not; or names classes where the data are no challenge's.
    """
    data, targets = variant.data, variant.train.targets
    named = targets.classes.named if targets.classes is not None else ()
    where = f"experiment {variant.experiment}: train.targets"
    if data.cellmap is None:
        if named:
            hint = "name the values of its labels in train.targets.classes.labels"
            file = f"config/data/{variant.presets['data']}.yaml"
            raise ConfigError(f"{where}.classes.named: {file} has no crops of a challenge", hint=hint)
        return
    if targets.names != ["classes"] or not named:
        raise ConfigError(
            f"{where}: crops of a challenge are learnt by class",
            expected="classes.named alone, and affinity: null",
            got=", ".join(targets.names),
        )
    for name in named:
        if name not in data.cellmap.classes:
            hint = nearest(name, data.cellmap.classes)
            raise ConfigError(f"{where}.classes.named: {name!r} is not in data.cellmap.classes", hint=hint)


def check_challenge_is_submitted(variant: Variant) -> None:
    """Reject settings of a submission for classes that the challenge's data do not have.

    Raises
    ------
    ConfigError
        With the key, and the class that was probably meant.
    """
    data, submit = variant.data, variant.submit
    if data.cellmap is None:
        return
    for key in ("class_threshold", "class_objects"):
        for name in getattr(submit, key):
            if name not in data.cellmap.classes:
                raise ConfigError(
                    f"experiment {variant.experiment}: submit.{key}: {name!r} is not in data.cellmap.classes",
                    hint=nearest(name, data.cellmap.classes),
                )


def check_challenge_can_be_made(variant: Variant) -> None:
    """Reject generated datasets whose crops do not fit, before they are made; see `check_dataset`."""
    cfg = variant.data.cellmap
    phantoms = {name: cast(PhantomConfig, phantom.settings) for name, phantom in variant.phantoms.items()}
    for name, made in cfg.generate.items() if cfg is not None else ():
        check_dataset(name, made, phantoms)


def check_dataset(name: str, cfg: GeneratedDataset, phantoms: Mapping[str, PhantomConfig]) -> None:
    """Reject a dataset whose phantom is not known or does not hold its crops, and crops to submit in part.

    Raises
    ------
    ConfigError
        Names the key.
    """
    where = f"cellmap.generate.{name}"
    if cfg.phantom not in phantoms:
        raise ConfigError(f"{where}.phantom: there is no {cfg.phantom!r}: {nearest(cfg.phantom, phantoms)}")
    shape = phantoms[cfg.phantom].shape_zyx
    for crop, crop_cfg in cfg.crops.items():
        stop = tuple(a + n for a, n in zip(crop_cfg.start_zyx_vx, crop_cfg.shape_zyx_vx, strict=True))
        if any(b > n for b, n in zip(stop, shape, strict=True)):
            raise ConfigError(
                f"{where}.crops.{crop} reaches out of the phantom {cfg.phantom}",
                expected=f"within {shape} voxels (z, y, x)",
                got=f"{crop_cfg.start_zyx_vx} to {stop}",
            )
        if crop_cfg.test and (crop_cfg.not_annotated or crop_cfg.unknown_share):
            hint = "remove not_annotated and unknown_share"
            raise ConfigError(f"{where}.crops.{crop}: the truth of a crop to submit is whole", hint=hint)
        if set(crop_cfg.not_annotated) >= set(GENERATED_CLASSES):
            raise ConfigError(f"{where}.crops.{crop}: no class is annotated", hint="shorten not_annotated")


CHALLENGE_CHECKS = (
    check_challenge_can_be_made,
    check_challenge_is_split,
    check_challenge_is_learnt,
    check_challenge_is_submitted,
)
