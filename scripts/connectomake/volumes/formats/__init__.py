"""One module per file format, each giving a `FileArray`; the name tells the format, or what a folder holds."""

from __future__ import annotations

from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.sources import is_remote
from connectomake.volumes.formats.array import FileArray
from connectomake.volumes.formats.remote import place_of

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
TIFF_SUFFIXES = (".tif", ".tiff", ".btf")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
KNOWN = (
    "HDF5 (.h5::dataset), TIFF (.tif), a folder of TIFF or PNG slices, NIfTI (.nii, .nii.gz), Zarr or OME-Zarr (.zarr)"
)


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
    if path.is_dir():
        return _open_folder(path, key or None)
    name = path.name.lower()
    if name.endswith(HDF5_SUFFIXES):
        from connectomake.volumes.formats.hdf5 import open_hdf5

        return open_hdf5(path, key or None)
    if key:
        raise DataError(f"{path} holds one array and no others by name", got=f"::{key}", hint=f"write {path} alone")
    if name.endswith(TIFF_SUFFIXES):
        from connectomake.volumes.formats.tiff import open_tiff

        return open_tiff(path)
    if name.endswith(NIFTI_SUFFIXES):
        from connectomake.volumes.formats.nifti import open_nifti

        return open_nifti(path)
    raise DataError(f"the format of {path} is not known", expected=KNOWN)


def _open_folder(path: Path, key: str | None) -> FileArray:
    from connectomake.volumes.formats.ome_zarr import is_zarr, open_zarr
    from connectomake.volumes.formats.stack import open_stack

    return open_zarr(path, key) if key or is_zarr(path) else open_stack(path)


def _open_remote(url: str, key: str | None) -> FileArray:
    from connectomake.volumes.formats.ome_zarr import open_zarr

    if url.lower().endswith((*HDF5_SUFFIXES, *TIFF_SUFFIXES, *NIFTI_SUFFIXES, ".png")):
        raise DataError(f"{url} cannot be read in parts", expected="Zarr or OME-Zarr", hint="download the file")
    return open_zarr(place_of(url), key)


def nearest_folder(path: Path) -> str:
    """Return how far a path leads, and what lies there with a like name."""
    from difflib import get_close_matches

    there = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    names = sorted(p.name for p in there.iterdir())
    near = get_close_matches(path.absolute().relative_to(there).parts[0], names, n=1)
    return f"did you mean {there / near[0]}?" if near else f"the path exists up to {there}"
