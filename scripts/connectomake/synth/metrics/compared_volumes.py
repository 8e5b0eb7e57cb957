"""The volumes that are compared, real and made, read in one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from connectomake.config.settings.synth import SynthConfig, SynthLabelsConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.geometry import Triple, TripleNm
from connectomake.synth.distance import distance_map
from connectomake.synth.examples import Example, read_example, read_labels
from connectomake.synth.intensity import to_network
from connectomake.volumes.generated import GeneratedStore
from connectomake.volumes.ingested import LABELS_STORE, RAW_STORE
from connectomake.volumes.volume import open_volume


class Group(NamedTuple):
    """Volumes that are compared with one another: of one class and shape."""

    class_name: str
    shape_zyx_vx: Triple

    def as_text(self) -> tuple[str, str]:
        """Return both as they stand in tables."""
        return self.class_name, "x".join(map(str, self.shape_zyx_vx))


@dataclass(frozen=True)
class Piece:
    """A volume, which is read anew each time.

    Parameters
    ----------
    key
        Its name.
    group
        Class and shape.
    voxel_size_zyx_nm
        In nm.
    read_image
        Gives (Z, Y, X) float32 in [-1, 1].
    read
        Gives (C, Z, Y, X) float32 in [-1, 1]: the image, and the distance map where the autoencoder has one.
    read_labels
        Gives (Z, Y, X) integers, or None where there are none.
    """

    key: str
    group: Group
    voxel_size_zyx_nm: TripleNm
    read_image: Callable[[], np.ndarray]
    read: Callable[[], np.ndarray]
    read_labels: Callable[[], np.ndarray | None]


def list_real(examples: Sequence[Example], cfg: SynthConfig) -> list[Piece]:
    """Return examples as pieces; labels are read where the generator makes volumes with labels."""
    image_alone = cfg.model_copy(update={"labels": SynthLabelsConfig()})
    return [
        Piece(
            example.key,
            Group(example.class_name, example.shape_zyx_vx),
            example.voxel_size_zyx_nm,
            partial(_read_image, example, image_alone),
            partial(read_example, example, cfg),
            partial(_read_labels, example) if cfg.labels.kind != "none" else _read_nothing,
        )
        for example in examples
    ]


def list_made(markers: Sequence[Path], folder: Path, cfg: SynthConfig) -> list[Piece]:
    """Return the volumes that were made as pieces.

    Parameters
    ----------
    markers
        What the jobs of `generate` wrote: they name the volumes.
    folder
        Where the volumes lie.
    cfg
        The generator.

    Raises
    ------
    MissingDataError
        A volume that was made is not there any more.
    """
    names = [volume["name"] for marker in markers for volume in read_json(marker)["volumes"]]
    return [_open_made(folder / name, cfg) for name in sorted(names)]


def _open_made(folder: Path, cfg: SynthConfig) -> Piece:
    store = folder / RAW_STORE
    if not (store / "zarr.json").is_file():
        raise MissingDataError(f"no generated volume {store}", hint="run the rule generate again")
    made, volume = GeneratedStore.read(store), open_volume(store)
    if made.intensity is None:
        raise DataError(f"{store} does not say which grey values it has", hint="run the rule generate again")
    intensity = made.intensity
    size, read_labels = volume.voxel_size_zyx_nm, partial(_read_store, folder / LABELS_STORE)

    def read_image() -> np.ndarray:
        return to_network(volume.read(), intensity)

    def read() -> np.ndarray:
        channels = [read_image()]
        if cfg.labels.kind == "joint":
            channels.append(distance_map(read_labels(), size, cfg.labels.distance_nm))
        return np.stack(channels)

    group, has_labels = Group(made.class_name, volume.shape_zyx), cfg.labels.kind != "none"
    return Piece(folder.name, group, size, read_image, read, read_labels if has_labels else _read_nothing)


def _read_image(example: Example, cfg: SynthConfig) -> np.ndarray:
    return read_example(example, cfg)[0]


def _read_labels(example: Example) -> np.ndarray:
    """Read labels in the shape of the image: 0 where that is padded."""
    labels = read_labels(example)
    return np.pad(labels, [(0, n - side) for n, side in zip(example.shape_zyx_vx, labels.shape, strict=True)])


def _read_store(path: Path) -> np.ndarray:
    return open_volume(path).read()


def _read_nothing() -> None:
    return None
