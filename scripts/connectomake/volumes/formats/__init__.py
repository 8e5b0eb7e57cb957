"""One module per file format, each giving a `FileArray`; the name tells the format, or what a folder holds.

A new format is a `Format` in a module of its own, and a line in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.registry import Registry
from connectomake.sources import is_remote
from connectomake.volumes.formats.array import FileArray, Format
from connectomake.volumes.formats.remote import place_of

FORMATS: Registry[Format] = Registry(
    "format",
    {
        "hdf5": "connectomake.volumes.formats.hdf5:HDF5",
        "tiff": "connectomake.volumes.formats.tiff:TIFF",
        "stack": "connectomake.volumes.formats.stack:STACK",
        "nifti": "connectomake.volumes.formats.nifti:NIFTI",
        "zarr": "connectomake.volumes.formats.ome_zarr:ZARR",
    },
)
"""What can be read. A source is of the last of these that recognises it: a new line may be more exact than others."""


def open_array(source: str | Path) -> FileArray:
    """Open an array in a file or folder of any known format, reading headers only.

    Parameters
    ----------
    source
        A path, with ``::name`` for an array inside (HDF5, Zarr), or the URL of a Zarr store, with ``::name`` or not.

    Raises
    ------
    MissingDataError
        The file, or the array in it, does not exist.
    DataError
        The format is not known, or the file is damaged; of a URL also: access is denied, or the network fails.
    MissingPackageError
        A URL needs a package that is not installed.
    """
    text, _, key = str(source).partition("::")
    if is_remote(text):
        return _open_remote(text, key or None)
    path = Path(text)
    if not path.exists():
        raise MissingDataError(f"{path} does not exist", hint=nearest_folder(path))
    found = next((kind for kind in reversed(list(FORMATS.values())) if kind.is_at(path, key or None)), None)
    if key and not (found and found.has_names):
        raise DataError(f"{path} holds one array and no others by name", got=f"::{key}", hint=f"write {path} alone")
    if found is None:
        known = ", ".join(kind.described for kind in FORMATS.values())
        raise DataError(f"the format of {path} is not known", expected=known)
    return found.open(path, key or None)


def _open_remote(url: str, key: str | None) -> FileArray:
    """Open what lies behind a URL: the last format that can, but for files that only work on a disk."""
    on_disk = tuple(suffix for kind in FORMATS.values() for suffix in (*kind.suffixes, *kind.of_files))
    remote = [kind for kind in FORMATS.values() if kind.is_remote]
    if url.lower().endswith(on_disk):
        names = " or ".join(kind.name for kind in remote)
        raise DataError(f"{url} cannot be read in parts", expected=names, hint="download the file")
    return remote[-1].open(place_of(url), key)


def nearest_folder(path: Path) -> str:
    """Return how far a path leads, and what lies there with a like name."""
    from difflib import get_close_matches

    there = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    names = sorted(p.name for p in there.iterdir())
    near = get_close_matches(path.absolute().relative_to(there).parts[0], names, n=1)
    return f"did you mean {there / near[0]}?" if near else f"the path exists up to {there}"
