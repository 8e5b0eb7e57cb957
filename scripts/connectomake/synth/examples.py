"""The pieces of volumes that a generator learns from: the table `examples.tsv`, and how one is read.

The table is all that later stages need: `listing` has checked everything in it. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from connectomake import tables
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple, to_triple_nm
from connectomake.synth.distance import distance_map
from connectomake.synth.intensity import to_network
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.volume import Volume, open_volume

Role = Literal["learn", "hold"]
ROLES = ("learn", "hold")
NAMES = ("key", "class", "role", "volume", "source")
NUMBERS = ("box_start_zyx_vx", "box_stop_zyx_vx", "shape_zyx_vx", "voxel_size_zyx_nm", "intensity")
COLUMNS = (*NAMES, *NUMBERS, "dtype")


@dataclass(frozen=True)
class Example:
    """A piece of a volume.

    Parameters
    ----------
    key
        Its name, unlike all others; fit for a file.
    volume
        Name of the volume, for people.
    class_name
        What kind of volume it is.
    role
        learn, or hold: nothing is learnt from it.
    source
        The volume: a volume.json of the ingest stage, or a file of a collection.
    box
        Where it lies in the volume, in voxels; no larger than `shape_zyx_vx`, and smaller only where a whole volume is
        padded.
    shape_zyx_vx
        The shape that it is read in, one of ``examples.shapes_zyx_vx``.
    voxel_size_zyx_nm
        In nm.
    intensity
        The grey values on disk that are -1 and 1 in the networks.
    dtype
        Type of the grey values on disk, as numpy names it.
    """

    key: str
    volume: str
    class_name: str
    role: Role
    source: Path
    box: Box
    shape_zyx_vx: Triple
    voxel_size_zyx_nm: TripleNm
    intensity: tuple[float, float]
    dtype: str

    def as_settings(self) -> dict[str, Any]:
        """Return all that decides what is read, as plain data."""
        return {
            "source": str(self.source),
            "start_zyx_vx": list(self.box.start_zyx),
            "stop_zyx_vx": list(self.box.stop_zyx),
            "shape_zyx_vx": list(self.shape_zyx_vx),
            "voxel_size_zyx_nm": list(self.voxel_size_zyx_nm),
            "intensity": list(self.intensity),
        }


def write_table(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as a tab-separated table, atomically."""
    tables.write_table(path, COLUMNS, map(_list_fields, examples))


def read_table(path: Path) -> list[Example]:
    """Read a table of examples.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        A column is missing, or a row cannot be read; names the row.
    """
    rows = tables.read_table(path, COLUMNS, "examples")
    return [_read_row(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]


def classes_of(examples: Sequence[Example]) -> list[str]:
    """Return the classes of some examples, in order; a class is number its place here to a network."""
    return sorted({example.class_name for example in examples})


def read_example(example: Example, cfg: SynthConfig) -> np.ndarray:
    """Read an example as the networks see it; a file that is compressed as a whole is decompressed each time.

    Returns
    -------
    ndarray
        (C, Z, Y, X) float32 in [-1, 1], of the shape ``example.shape_zyx_vx``, padded at the end of each axis by
        reflection. Channel 0 is the image; labels.kind joint has channel 1, the distance map (`read_map`).
    """
    image = to_network(open_source(example).read(example.box), example.intensity)
    channels = [_pad(image, example.shape_zyx_vx)]
    if cfg.labels.kind == "joint":
        channels.append(read_map(example, cfg)[0])
    return np.stack(channels)


def read_map(example: Example, cfg: SynthConfig) -> np.ndarray:
    """Read the distance map of an example's labels, see `distance_map`.

    Returns
    -------
    ndarray
        (1, Z, Y, X) float32 in [-1, 1], padded as `read_example` pads.

    Raises
    ------
    DataError
        The volume has no labels.
    """
    found = distance_map(read_labels(example), example.voxel_size_zyx_nm, cfg.labels.distance_nm)
    return _pad(found, example.shape_zyx_vx)[None]


def read_labels(example: Example) -> np.ndarray:
    """Read the labels in an example's box, not padded: (Z, Y, X) integers, 0 = background, -1 = unknown.

    Raises
    ------
    DataError
        The volume has no labels.
    """
    if example.source.suffix != ".json":
        raise DataError(f"{example.source} has no labels", hint="volumes of a collection have none: give volumes")
    return _read_volume(example.source).open_labels().read(example.box)


def open_source(example: Example) -> Volume:
    """Open the volume of an example, without a channel axis."""
    return _open(example.source, example.voxel_size_zyx_nm)


@lru_cache(maxsize=64)
def _open(source: Path, voxel_size_zyx_nm: TripleNm) -> Volume:
    if source.suffix == ".json":
        return _read_volume(source).open_raw()
    return open_volume(source, voxel_size_zyx_nm=voxel_size_zyx_nm).drop_single_channel()


@lru_cache(maxsize=64)
def _read_volume(volume_json: Path) -> IngestedVolume:
    return IngestedVolume.read(volume_json)


def _pad(array: np.ndarray, shape_zyx: Triple) -> np.ndarray:
    """Pad (Z, Y, X) at the end of each axis by reflection."""
    missing = [(0, n - side) for n, side in zip(shape_zyx, array.shape, strict=True)]
    return np.pad(array, missing, mode="reflect") if any(after for _, after in missing) else array


def _list_fields(example: Example) -> list[Any]:
    corners = (example.box.start_zyx, example.box.stop_zyx, example.shape_zyx_vx)
    numbers = [_join(values) for values in (*corners, example.voxel_size_zyx_nm, example.intensity)]
    names = (example.key, example.class_name, example.role, example.volume, example.source)
    return [*names, *numbers, example.dtype]


def _join(values: Sequence[float]) -> str:
    return ",".join(map(str, values))  # str gives back the same number


def _read_row(row: dict[str, str], where: str) -> Example:
    try:
        low, high = _split(row["intensity"])
        example = Example(
            key=row["key"],
            volume=row["volume"],
            class_name=row["class"],
            role=cast(Role, row["role"]),
            source=Path(row["source"]),
            box=Box(_read_triple(row["box_start_zyx_vx"]), _read_triple(row["box_stop_zyx_vx"])),
            shape_zyx_vx=_read_triple(row["shape_zyx_vx"]),
            voxel_size_zyx_nm=to_triple_nm(_split(row["voxel_size_zyx_nm"])),
            intensity=(low, high),
            dtype=np.dtype(row["dtype"]).name,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{where} cannot be read ({error})", hint="run list_examples again") from error
    fits = all(0 < n <= m for n, m in zip(example.box.shape_zyx, example.shape_zyx_vx, strict=True))
    if example.role not in ROLES or not fits or not low < high:
        raise DataError(f"{where} makes no sense", got=dict(row), hint="run list_examples again")
    return example


def _split(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _read_triple(text: str) -> Triple:
    return to_triple([int(part) for part in text.split(",")])
