"""Turn `synthetic` of a data config into volumes: those that the generator of another experiment makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data import DataConfig, VolumeSource
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConfigError

ALL = "all"
"""The class of volumes where none are named."""


@dataclass(frozen=True)
class GeneratedVolume:
    """A volume to make: its name, class, shape in voxels, and number among those of its class and shape."""

    name: str
    class_name: str
    shape_zyx: tuple[int, int, int]
    number: int


def fill_synthetic(data: DataConfig, made: SynthConfig, where: str) -> DataConfig:
    """Return a data config with a train volume for each volume that the generator makes for it.

    Parameters
    ----------
    data
        With `synthetic`.
    made
        The settings of the generator that it names.
    where
        The place in the config, for errors.

    Raises
    ------
    ConfigError
        The generator makes no labels, or not those classes or that many volumes.
    """
    asked = data.synthetic
    if asked is None:
        return data
    if made.labels.kind == "none":
        raise ConfigError(
            f"{where}: synthetic: the volumes of {asked.generator} have no labels to train on",
            expected="labels.kind: joint or conditional in its synth preset",
        )
    classes = list_classes(made)
    for name in asked.classes:
        if name not in classes:
            raise ConfigError(f"{where}: synthetic: {nearest(name, classes, 'classes of the generator')}", got=name)
    number = asked.volumes or made.generate.volumes
    if number > made.generate.volumes:
        raise ConfigError(
            f"{where}: synthetic.volumes: {asked.generator} makes fewer of each class and shape",
            expected=f"at most {made.generate.volumes}",
            got=number,
            hint="raise generate.volumes in its synth preset",
        )
    wanted = list_volumes(made, [name for name in classes if not asked.classes or name in asked.classes])
    volumes = {
        volume.name: VolumeSource(role="train", source=asked.source, generated=volume.name)
        for volume in wanted
        if volume.number < number
    }
    return data.model_copy(update={"volumes": dict(data.volumes) | volumes})


def list_classes(cfg: SynthConfig) -> list[str]:
    """Return the classes that a generator of the volumes of a data config learns, in order."""
    return sorted(cfg.examples.classes) or [ALL]


def list_volumes(cfg: SynthConfig, classes: Sequence[str]) -> list[GeneratedVolume]:
    """Return every volume that a generator makes of some classes.

    Parameters
    ----------
    cfg
        The generator.
    classes
        Their names.

    Returns
    -------
    list of GeneratedVolume
        Class after class, and within each shape after shape. Names are ``CLASS_N``; where there are several shapes
        ``CLASS_64x64x64_N``.
    """
    shapes = cfg.examples.shapes_zyx_vx
    several = len(shapes) > 1
    return [
        GeneratedVolume(f"{name}_{'x'.join(map(str, shape))}_{n}" if several else f"{name}_{n}", name, shape, n)
        for name, shape, n in product(classes, shapes, range(cfg.generate.volumes))
    ]


def generated_shape(made: SynthConfig, name: str) -> tuple[int, int, int]:
    """Return the shape, z, y, x in voxels, of a volume that a generator makes."""
    return next(volume.shape_zyx for volume in list_volumes(made, list_classes(made)) if volume.name == name)
