"""The truth and the submitted labels of one class of one crop: found, checked against the manifest, read in slabs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.cellmap.manifest import CropGrid, ManifestRow
from connectomake.cellmap.tree import labels_group
from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.submit.score.store import ARRAY, ATTRIBUTES, VERSION_3, LabelStore
from connectomake.volumes.formats.array import Metadata
from connectomake.volumes.formats.metadata import read_multiscales

SLAB_VOXELS = 2**25  # of a crop that are held at a time
_SAME_SIZE = 1e-3  # relative
_SAME_PLACE = 0.05  # voxels
_SIZE_KEYS, _PLACE_KEYS = ("voxel_size", "resolution", "scale"), ("translation", "offset")

Reader = Callable[[tuple[slice, ...]], np.ndarray]


@dataclass(frozen=True)
class Labels:
    """The labels of one class of one crop.

    Parameters
    ----------
    where
        For messages.
    read
        Gives the voxels of a part.
    unknown
        The label of voxels that nobody annotated; None where there are none.
    mask
        Gives, for a part, 0 where voxels do not count; None where all do.
    """

    where: str
    read: Reader
    unknown: int | None = None
    mask: Reader | None = None


@dataclass(frozen=True)
class LabelPair:
    """Truth and submitted labels on the same voxels."""

    grid: CropGrid
    truth: Labels
    submitted: Labels
    slab_voxels: int = SLAB_VOXELS

    def slabs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return both, (Z, Y, X), slab after slab along z; voxels that do not count are 0 in both."""
        depth = self.grid.shape_zyx[0]
        step = planes_of_slab(self.grid.shape_zyx, self.slab_voxels)
        for low in range(0, depth, step):
            part = (slice(low, min(low + step, depth)),)
            truth, submitted = self.truth.read(part), self.submitted.read(part)
            ignored = self._ignored(truth, part)
            if ignored is not None:
                truth, submitted = np.where(ignored, 0, truth), np.where(ignored, 0, submitted)
            yield truth, submitted

    def _ignored(self, truth: np.ndarray, part: tuple[slice, ...]) -> np.ndarray | None:
        unknown = None if self.truth.unknown is None else truth == self.truth.unknown
        if self.truth.mask is None:
            return unknown
        masked = self.truth.mask(part) == 0
        return masked if unknown is None else masked | unknown


def planes_of_slab(shape_zyx: Sequence[int], slab_voxels: int = SLAB_VOXELS) -> int:
    """Return how many planes of a crop are held at a time; at least one."""
    return max(1, slab_voxels // (shape_zyx[1] * shape_zyx[2]))


class Truth:
    """The truth labels: a store of arrays CROP/CLASS, or the challenge's tree. Use as a context manager.

    Parameters
    ----------
    path
        The store (a folder or a zip), or the folder of the datasets.
    rows
        Rows of the manifest.

    Raises
    ------
    MissingDataError
        There is nothing at `path`.
    DataError
        It has none of the crops.
    """

    def __init__(self, path: Path, rows: Sequence[ManifestRow]) -> None:
        in_tree = any(labels_group(path, row.dataset, row.crop).is_dir() for row in rows)
        self._tree = path
        self._store = None if in_tree else LabelStore(path, {row.crop for row in rows})

    def __enter__(self) -> Truth:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.__exit__()

    def open(self, row: ManifestRow) -> Labels | None:
        """Open the labels of a class of a crop; None where it is not annotated.

        Raises
        ------
        DataError
            They are not on the manifest's voxels, or cannot be opened.
        """
        if self._store is None:
            return _open_in_tree(self._tree, row)
        name = f"{row.crop}/{row.label}"
        if not self._store.has(f"{name}/{ARRAY}"):
            return None
        array, where = self._store.open(name), f"{self._store.path}: {name}"
        wrong = find_mismatch(array.shape, dict(array.attrs), row.grid)
        if wrong:
            raise DataError(f"{where} is not on the manifest's voxels: {wrong}")
        mask = None
        if self._store.has(f"{name}_mask/{ARRAY}"):
            mask = _reader(self._store.open(f"{name}_mask"), f"{where}_mask")
        return Labels(where, _reader(array, where), _unknown(dict(array.attrs)), mask)


def open_submitted(store: LabelStore, row: ManifestRow) -> Labels | str | None:
    """Open what was submitted for a class of a crop.

    Returns
    -------
    Labels, str or None
        None where nothing was; a text where something was that is not used: why.
    """
    name = f"{row.crop}/{row.label}"
    if not store.has(f"{name}/{ARRAY}"):
        if store.has(f"{name}/{VERSION_3}"):
            return "it is of Zarr format 3, which the challenge does not see"
        if store.read_json(f"{name}/{ATTRIBUTES}").get("multiscales"):
            return "it is a multiscale group, which the challenge does not see"
        return None
    try:
        array = store.open(name)
    except DataError as error:
        return str(error)
    if array.dtype.kind not in "buif":
        return f"values: expected numbers, got {array.dtype}"
    wrong = find_mismatch(array.shape, dict(array.attrs), row.grid)
    return wrong or Labels(f"{store.path}: {name}", _reader(array, f"{store.path}: {name}"))


def find_mismatch(shape: Sequence[int], attributes: Mapping[str, Any], grid: CropGrid) -> str:
    """Return how an array differs from the manifest's voxels; nothing where it does not.

    Attributes that are not there are not held against it, as the challenge has it. It would resample or move an array
    of other voxels; here none is, because that loses borders or moves labels by a voxel.
    """
    if tuple(shape) != grid.shape_zyx:
        return f"shape: expected {list(grid.shape_zyx)}, got {list(shape)}"
    size, place = (next((attributes[k] for k in keys if k in attributes), None) for keys in (_SIZE_KEYS, _PLACE_KEYS))
    wanted_nm = np.array(grid.voxel_size_zyx_nm)
    if size is not None and not _is_near(size, wanted_nm, _SAME_SIZE * wanted_nm):
        return f"voxel size: expected {list(grid.voxel_size_zyx_nm)} nm, got {size}"
    if place is not None and not _is_near(place, grid.offset_zyx_nm, _SAME_PLACE * wanted_nm):
        return f"translation: expected {list(grid.offset_zyx_nm)} nm, got {place}"
    return ""


def _is_near(values: Any, wanted: Any, within: np.ndarray) -> bool:
    """Return whether three numbers are what they should be; what are no three numbers, is not."""
    try:
        away = np.abs(np.asarray(values, np.float64).reshape(3) - wanted)
    except (TypeError, ValueError):
        return False
    return bool((away <= within).all())


def _open_in_tree(tree: Path, row: ManifestRow) -> Labels | None:
    group = labels_group(tree, row.dataset, row.crop) / row.label
    if not (group / ATTRIBUTES).is_file():
        return None
    masked = group.with_name(f"{row.label}_mask")
    mask = _read_level(masked, row.grid) if (masked / ATTRIBUTES).is_file() else None
    return Labels(str(group), _read_level(group, row.grid), _unknown(read_json(group / ATTRIBUTES)), mask)


def _read_level(group: Path, grid: CropGrid) -> Reader:
    """Return the reader of the level whose voxels are those of the manifest."""
    import zarr

    attributes, there = read_json(group / ATTRIBUTES), []
    for level in sorted(path.name for path in group.iterdir() if (path / ARRAY).is_file()):
        found = read_multiscales(attributes, level)
        told = found[1] if found else Metadata()
        places = (("voxel_size", told.voxel_size_nm), ("translation", told.offset_nm))
        place = {key: [value[a] for a in "zyx"] for key, value in places if isinstance(value, Mapping)}
        wrong = find_mismatch(read_json(group / level / ARRAY)["shape"], place, grid)
        if not wrong:
            return _reader(zarr.open_array(str(group / level), mode="r"), f"{group}/{level}")
        there.append(f"{level}: {wrong}")
    raise DataError(f"{group} has no level on the manifest's voxels", got="; ".join(there) or "no levels")


def _reader(array: Any, where: str) -> Reader:
    def read(part: tuple[slice, ...]) -> np.ndarray:
        try:
            return np.asarray(array[part])
        except (RuntimeError, ValueError, OSError) as error:
            message = f"{where}: planes {part[0].start} to {part[0].stop} cannot be decoded ({error})"
            raise DataError(message, hint="a chunk there is damaged: write it again") from error

    return read


def _unknown(attributes: Mapping[str, Any]) -> int | None:
    """Return the label of unknown voxels, which the annotation's encoding tells."""
    found: Any = attributes
    for key in ("cellmap", "annotation", "annotation_type", "encoding", "unknown"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return None if found is None else int(found)
