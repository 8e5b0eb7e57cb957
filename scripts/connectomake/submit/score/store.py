"""Zarr arrays of labels called CROP/CLASS, in a folder or in a zip that is read as it is."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from connectomake.errors import DataError, MissingDataError

ARRAY, ATTRIBUTES, VERSION_3 = ".zarray", ".zattrs", "zarr.json"


class LabelStore:
    """The arrays of a submission, or of truth that lies in the same way.

    Use as a context manager.

    Parameters
    ----------
    path
        A folder, or a zip of one.
    crops
        Names of crops, by which the top is found: the top itself, or the only folder in it that ends in ``.zarr``.

    Raises
    ------
    MissingDataError
        There is nothing at `path`.
    DataError
        It is neither, or has none of the crops.
    """

    def __init__(self, path: Path, crops: Iterable[str]) -> None:
        self.path = path
        self._store: Any = None
        self._zip: zipfile.ZipFile | None = None
        if not path.is_dir():
            self._zip = _open_zip(path)
            self._names = frozenset(self._zip.namelist())
            self._folders = frozenset(str(parent) for n in self._names for parent in PurePosixPath(n).parents)
        try:
            self._top = self._find_top(crops)
        except DataError:
            self.__exit__()
            raise

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
        if self._zip is not None:
            self._zip.close()

    def crops(self) -> set[str]:
        """Name the folders at the top."""
        if self._zip is None:
            return {folder.name for folder in (self.path / self._top).iterdir() if folder.is_dir()}
        top = self._top or "."
        return {PurePosixPath(f).name for f in self._folders if f != "." and str(PurePosixPath(f).parent) == top}

    def has(self, name: str) -> bool:
        """Return whether there is a file, given by its name below the top."""
        inside = str(PurePosixPath(self._top) / name)
        return (self.path / inside).is_file() if self._zip is None else inside in self._names

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file below the top; {} where there is none.

        Raises
        ------
        DataError
            It is no JSON object.
        """
        if not self.has(name):
            return {}
        inside = str(PurePosixPath(self._top) / name)
        raw = (self.path / inside).read_bytes() if self._zip is None else self._zip.read(inside)
        try:
            return dict(json.loads(raw))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.path}: {name} is not valid JSON ({error})") from error

    def open(self, name: str) -> Any:
        """Open an array of Zarr format 2, given by its name below the top.

        Raises
        ------
        DataError
            It cannot be opened.
        """
        import zarr
        from zarr.storage import LocalStore, ZipStore

        if self._store is None:  # not before: zarr opens a zip when it is first read, and cannot close one unread
            self._store = LocalStore(self.path, read_only=True) if self._zip is None else ZipStore(self.path, mode="r")
        try:
            return zarr.open_array(self._store, path=str(PurePosixPath(self._top) / name), mode="r", zarr_format=2)
        except Exception as error:  # zarr raises its own tree, KeyError and TypeError alike for unknown metadata
            raise DataError(f"{self.path}: {name} cannot be opened ({type(error).__name__}: {error})") from error

    def _find_top(self, crops: Iterable[str]) -> str:
        self._top = ""
        here = self.crops()
        wanted = set(crops)
        if wanted & here:
            return ""
        if self._zip is None:
            inner = sorted(name for name in here if name.endswith(".zarr"))
        else:
            inner = sorted(folder for folder in self._folders if folder.endswith(".zarr"))
        if len(inner) == 1:
            self._top = inner[0]
            if wanted & self.crops():
                return inner[0]
        raise DataError(
            f"{self.path} has none of the manifest's crops",
            expected=f"folders such as {min(wanted)}",
            got=", ".join(sorted(here)[:5]) or "nothing",
            hint="check it with scripts/check_submission.py",
        )


def _open_zip(path: Path) -> zipfile.ZipFile:
    if not path.exists():
        raise MissingDataError(f"{path} does not exist")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} cannot be read", expected="a folder or a zip", got="another file")
    return zipfile.ZipFile(path)
