"""Arrays in HDF5 files: ``file.h5::group/dataset``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectomake.errors import DataError, MissingDataError
from connectomake.volumes.formats.array import FileArray, Format
from connectomake.volumes.formats.finding import explain_missing_array
from connectomake.volumes.formats.metadata import read_attributes_of_array

if TYPE_CHECKING:
    import h5py


def open_hdf5(path: Path, key: str | None) -> FileArray:
    """Open a dataset of an HDF5 file.

    Parameters
    ----------
    path
        The file.
    key
        The dataset; may be None where the file holds only one.

    Raises
    ------
    MissingDataError
        There is no such dataset; the message lists those that exist.
    DataError
        The file is not HDF5.
    """
    with _open_file(path) as file:
        name = key.strip("/") if key else _only_dataset(file, path)
        dataset = _find_dataset(file, name, path)
        labels = [d.label for d in dataset.dims]
        return FileArray(
            source=f"{path}::{name}",
            kind="HDF5",
            shape=tuple(dataset.shape),
            dtype=dataset.dtype,
            metadata=read_attributes_of_array(dict(dataset.attrs), f"{path}::{name}", labels if all(labels) else None),
            fetch=partial(_fetch, path, name),
            chunks=dataset.chunks,
        )


def _fetch(path: Path, name: str, part: tuple[slice, ...]) -> np.ndarray:
    """Read a part; the file is opened for each, since HDF5 handles survive neither fork nor pickle."""
    with _open_file(path) as file:
        return file[name][part]


def _open_file(path: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read as HDF5 ({error})", hint="check that it was copied completely"
        ) from error


def _list_datasets(file: h5py.File) -> list[str]:
    import h5py

    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)

    file.visititems(note)
    return found


def _only_dataset(file: h5py.File, path: Path) -> str:
    """Return the dataset of a file that holds only one."""
    found = _list_datasets(file)
    if len(found) == 1:
        return found[0]
    raise MissingDataError(explain_missing_array(path, None, found))


def _find_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    import h5py

    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise MissingDataError(explain_missing_array(path, name, _list_datasets(file)))
    return item


HDF5 = Format("HDF5", open_hdf5, example=".h5::dataset", suffixes=(".h5", ".hdf5", ".hdf", ".he5"), has_names=True)
