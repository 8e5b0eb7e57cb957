"""Checks between stages that need nothing but settings. A new one is a function here and its name in `CHECKS`.

What needs a file to be opened (a patch larger than its volume) is checked by the stage that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from connectomake.channels import name_channels, store_channels
from connectomake.config.checks.challenge import CHALLENGE_CHECKS
from connectomake.config.engine.explain import nearest
from connectomake.config.engine.fill_generated import generated_shape
from connectomake.config.engine.layers import NAME_RULE, is_name
from connectomake.config.engine.variant import Variant
from connectomake.config.settings.decode_tune import VOXEL_CRITERIA, check_criterion
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.errors import ConfigError


def check_names(variant: Variant) -> None:
    """Reject names of experiments and volumes that cannot be parts of a path.

    Raises
    ------
    ConfigError
        With the name, and what names are made of.
    """
    if not is_name(variant.experiment):
        raise ConfigError("this cannot be the name of an experiment", expected=NAME_RULE, got=repr(variant.experiment))
    for name in variant.data.volumes:
        if not is_name(name):
            where = f"config/data/{variant.presets['data']}.yaml: volumes"
            raise ConfigError(f"{where}: this cannot be the name of a volume", expected=NAME_RULE, got=repr(name))


def check_roles_are_fixed(variant: Variant) -> None:
    """Reject a sweep over what volumes are used for: its variants would be measured on different volumes.

    Raises
    ------
    ConfigError
        Where a key of the sweep is a volume's role.
    """
    for key in variant.point:
        parts = key.split(".")
        if parts[:2] == ["data", "volumes"] and parts[3:] in ([], ["role"]):
            raise ConfigError(
                f"experiment {variant.experiment}: a sweep over {key} compares results on different volumes",
                hint="write one experiment for each",
            )


def check_roles_suffice(variant: Variant) -> None:
    """Reject data without a volume to train on, and a split that makes validation data where there are some.

    Raises
    ------
    ConfigError
        Where a network is trained and no volume has the role train, or one has the role validate and the split cuts
        others for it.
    """
    volumes = variant.data.volumes
    split = variant.split
    where = f"experiment {variant.experiment}: config/data/{variant.presets['data']}.yaml"
    roles = ", ".join(f"{name}: {volume.role}" for name, volume in volumes.items())
    if variant.is_trained and all(volume.role != "train" for volume in volumes.values()):
        raise ConfigError(
            f"{where} has no volume to train on",
            expected="a volume with role: train",
            got=roles,
            hint="to predict with a network that is trained already, name it in predict.checkpoints",
        )
    if split.method in ("slab", "blocks") and any(volume.role == "validate" for volume in volumes.values()):
        raise ConfigError(
            f"{where} has a validate volume, and split.method: {split.method} would cut another",
            expected="split.method: role, or no volume with role: validate",
            got=roles,
        )


def check_training_has_labels(variant: Variant) -> None:
    """Reject training on a volume without labels, and a collection, which is for the synth stage alone.

    Raises
    ------
    ConfigError
        With the volume.
    """
    data = variant.data
    where = f"config/data/{variant.presets['data']}.yaml"
    if data.collection is not None:
        raise ConfigError(
            f"experiment {variant.experiment}: {where} has a collection, which only generators learn from",
            hint="name a preset of config/synth in the experiment, as synth: default",
        )
    for name, volume in data.volumes.items():
        if volume.role in ("train", "validate") and not volume.has_labels:
            raise ConfigError(
                f"{where}: volumes.{name}: a volume with role: {volume.role} needs labels",
                hint="give their path, or set role to predict",
            )


def check_blocks_hold_patches(variant: Variant) -> None:
    """Reject blocks for validation that are smaller than what the network looks at.

    Raises
    ------
    ConfigError
        Where a side of split.block_zyx_vx is shorter than that of train.patch_zyx_vx.
    """
    split, train = variant.split, variant.train
    pairs = zip(split.block_zyx_vx, train.patch_zyx_vx, strict=True)
    if split.method == "blocks" and any(block < patch for block, patch in pairs):
        raise ConfigError(
            f"experiment {variant.experiment}: split.block_zyx_vx is smaller than a patch",
            expected=f"at least train.patch_zyx_vx, {list(train.patch_zyx_vx)}",
            got=list(split.block_zyx_vx),
        )


def check_windows_fit_network(variant: Variant) -> None:
    """Reject windows that the network cannot take.

    Raises
    ------
    ConfigError
        Where a side of predict.window_zyx_vx is no multiple of what train.model needs, or not the only one it takes.
    """
    train, predict = variant.train, variant.predict
    if variant.is_trained and predict.window_zyx_vx is not None:
        try:
            train.model.check_patch(predict.window_zyx_vx)
        except ValueError as error:
            where = f"experiment {variant.experiment}: predict.window_zyx_vx does not fit train.model"
            raise ConfigError(f"{where}: {error}") from None


def check_phantoms_hold_patches(variant: Variant) -> None:
    """Reject training on phantoms that are smaller than what the network looks at.

    Raises
    ------
    ConfigError
        Where a side of a phantom to train on is shorter than that of train.patch_zyx_vx.
    """
    for name, volume in variant.data.volumes.items():
        if volume.phantom is not None:
            phantom = cast(PhantomConfig, variant.phantoms[volume.phantom].settings)
            check_patch_fits(variant, name, phantom.shape_zyx)
        if volume.generated is not None and variant.generator is not None:
            check_patch_fits(variant, name, generated_shape(variant.generator.synth, volume.generated))


def check_patch_fits(variant: Variant, name: str, shape_zyx: Sequence[int]) -> None:
    """Reject training on a volume that is smaller than a patch.

    Parameters
    ----------
    variant
        Its settings say what the volume is for.
    name
        The volume.
    shape_zyx
        Its shape, or that of the part which is used, z, y, x in voxels.

    Raises
    ------
    ConfigError
        Where it is for training, and a side is shorter than that of train.patch_zyx_vx.
    """
    patch = variant.train.patch_zyx_vx
    source = variant.data.volumes[name]
    if source.role == "train" and any(side < p for side, p in zip(shape_zyx, patch, strict=True)):
        raise ConfigError(
            f"experiment {variant.experiment}: train.patch_zyx_vx is larger than the training volume {name}",
            expected=f"at most {list(shape_zyx)}",
            got=list(patch),
            hint="set train.patch_zyx_vx smaller, or use a larger part of the volume",
        )


def check_decoder_reads_channels(variant: Variant) -> None:
    """Reject a decoder that reads channels which the network does not learn, or the prediction does not store.

    Raises
    ------
    ConfigError
        With the experiment, what the decoder reads, and the channels that there are.
    """
    if variant.is_challenge:
        return  # crops are decoded by the submit stage
    if not variant.is_trained:
        return  # the channels are those of a file, which planning the prediction opens
    train, predict = variant.train, variant.predict
    stored = store_channels(name_channels(train.targets.channels), predict.channels)
    try:
        variant.decode.choose_channels(stored)
    except ConfigError as error:
        raise ConfigError(f"experiment {variant.experiment}: {error}") from None


def check_tuning_has_volumes(variant: Variant) -> None:
    """Reject tuning a decoder without volumes to choose by, or by a number that cannot be measured on them.

    Raises
    ------
    ConfigError
        Where decode.tune is set, and no volume with role: validate has the truth that its criterion needs.
    """
    tune = variant.decode.tune
    if tune is None:
        return
    try:
        check_criterion(tune.criterion, variant.measure)
    except ConfigError as error:
        raise ConfigError(f"experiment {variant.experiment}: {error}") from None
    volumes = variant.data.volumes
    truth = "labels" if tune.criterion in VOXEL_CRITERIA else "skeletons"
    if not any(v.role == "validate" and getattr(v, f"has_{truth}") for v in volumes.values()):
        raise ConfigError(
            f"experiment {variant.experiment}: decode.tune chooses by {tune.criterion} on validation volumes",
            expected=f"a volume with role: validate and {truth} in config/data/{variant.presets['data']}.yaml",
            got=", ".join(f"{name}: {volume.role}" for name, volume in volumes.items()),
            hint="test volumes are for measuring: what is chosen on them says nothing",
        )


def check_segmentation_has_volumes(variant: Variant) -> None:
    """Reject validating by segmentation without volumes to segment.

    Raises
    ------
    ConfigError
        Where train.validate_segmentation is set, and there is neither a labelled validate volume nor a split that
        cuts one.
    """
    train, split = variant.train, variant.split
    data = variant.data
    labelled = any(v.role == "validate" and v.has_labels for v in data.volumes.values())
    if train.validate_segmentation is not None and split.method == "role" and not labelled:
        raise ConfigError(
            f"experiment {variant.experiment}: train.validate_segmentation segments validation volumes",
            expected=f"a volume with role: validate and labels in config/data/{variant.presets['data']}.yaml, or "
            "split.method: slab or blocks",
            got=", ".join(f"{name}: {volume.role}" for name, volume in data.volumes.items()),
        )


def check_truth_for_metrics(variant: Variant) -> None:
    """Reject metrics of classes or clefts where no volume that is measured has truth labels to measure them against.

    Raises
    ------
    ConfigError
        With the metric.
    """
    measure = variant.measure
    data = variant.data
    named = [metric for metric in ("classes", "clefts") if metric in measure.voxel_metrics]
    if named and not any(data.volumes[name].has_labels for name in data.segmented):
        raise ConfigError(
            f"experiment {variant.experiment}: measure.voxel_metrics: {named[0]} is measured against truth labels",
            expected=f"labels of a volume that is not trained on, in config/data/{variant.presets['data']}.yaml",
            got="none",
        )


def check_regions_name_volumes(variant: Variant) -> None:
    """Reject a region of a volume that the data do not have.

    Raises
    ------
    ConfigError
        With the name, and the one that was probably meant.
    """
    volumes = variant.data.volumes
    for name in variant.predict.regions:
        if name not in volumes:
            raise ConfigError(
                f"experiment {variant.experiment}: predict.regions: no volume {name!r} in "
                f"config/data/{variant.presets['data']}.yaml",
                hint=nearest(name, volumes, "its volumes"),
            )


def check_turns_fit_windows(variant: Variant) -> None:
    """Reject test-time augmentation that exchanges axes along which windows, where they are known, have unequal sides.

    Raises
    ------
    ConfigError
        With the key, and the two sides.
    """
    train, predict = variant.train, variant.predict
    window = predict.window_zyx_vx or (train.patch_zyx_vx if variant.is_trained else None)
    if window is None:
        return  # it is that of a file, which planning the prediction opens
    sides = dict(zip("zyx", window, strict=True))
    for key, planes in (("rotate", predict.tta.rotate), ("permute", predict.tta.permute)):
        for first, second in planes:
            if sides[first] != sides[second]:
                raise ConfigError(
                    f"experiment {variant.experiment}: predict.tta.{key}: {first}{second} exchanges axes along which "
                    "windows have different sides",
                    expected="equal sides",
                    got=f"{sides[first]} and {sides[second]} voxels of {list(window)} (z, y, x)",
                    hint=f"take {first}{second} out of it, or set predict.window_zyx_vx",
                )


CHECKS: tuple[Callable[[Variant], None], ...] = (
    check_names,
    *CHALLENGE_CHECKS,
    check_roles_are_fixed,
    check_training_has_labels,
    check_roles_suffice,
    check_blocks_hold_patches,
    check_windows_fit_network,
    check_turns_fit_windows,
    check_regions_name_volumes,
    check_phantoms_hold_patches,
    check_decoder_reads_channels,
    check_tuning_has_volumes,
    check_segmentation_has_volumes,
    check_truth_for_metrics,
)
