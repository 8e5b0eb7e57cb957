"""Zarr arrays of versions 2 and 3, plain or as levels of OME-Zarr images (NGFF 0.1 to 0.5), here or behind a URL.

Groups are read as the JSON they are; only the array itself is opened by zarr.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.volumes.formats.array import FileArray, Format
from connectomake.volumes.formats.finding import explain_missing_array
from connectomake.volumes.formats.metadata import list_datasets, read_attributes_of_array, read_multiscales
from connectomake.volumes.formats.nisb import guess_nisb_axes
from connectomake.volumes.formats.remote import DAMAGE, HEADERS, Place, RemotePath, open_remote, place_of, read_remote

_DEEPEST = 5


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr array or group, or is meant to be one."""
    return path.is_dir() and (path.suffix == ".zarr" or any((path / n).is_file() for n in HEADERS))


def open_zarr(path: Place, key: str | None) -> FileArray:
    """Open an array of a Zarr store.

    Parameters
    ----------
    path
        An array, an OME-Zarr image (its finest level is taken), or a group.
    key
        Path of an array, of an image or of one of its levels inside `path`.

    Raises
    ------
    MissingDataError
        There is no such array; the message lists those that exist.
    DataError
        The store is unfinished or damaged; behind a URL also: access is denied, or the network fails.
    """
    node = path / key.strip("/") if key else path
    if _read_node(node) is None:
        _refuse_missing(path, key, node)
    if not _is_array(node):
        node = _choose_array(path, key, node)
    array = _open_array(node)
    attributes = dict(array.attrs)
    level = read_multiscales(_attributes(node.parent), node.name)
    own = read_attributes_of_array(attributes, str(node), getattr(array.metadata, "dimension_names", None))
    inner = node.relative_to(path)  # type: ignore[arg-type]
    return FileArray(
        source=f"{path}::{inner.as_posix()}" if inner.parts else str(path),
        kind="Zarr",
        shape=tuple(array.shape),
        dtype=np.dtype(array.dtype),
        metadata=level[1] if level else own,
        fetch=partial(_fetch, node.url if isinstance(node, RemotePath) else array),
        chunks=tuple(array.chunks),
        usual_axes=guess_nisb_axes(node, len(array.shape)),
    )


@dataclass(frozen=True)
class OtherLevels:
    """The other levels of an array's image, by name (as ``s1``), and whether any level says where it lies."""

    others: dict[str, str]
    is_placed: bool


def find_levels(source: str) -> OtherLevels | None:
    """Find the other levels of the OME-Zarr image that lists an array; None where no image does.

    Parameters
    ----------
    source
        The array, as ``store.zarr::s0``, or the image or store whose finest level it is.
    """
    text, _, key = source.partition("::")
    path = place_of(text)
    node = path / key.strip("/") if key else path
    if _read_node(node) is None:
        return None
    if not _is_array(node):
        node = _choose_array(path, key or None, node)
    listed = list_datasets(_attributes(node.parent), node.name)
    if listed is None:
        return None
    names, is_placed = listed
    there = [name for name in names if name != node.name and _is_array(node.parent / name)]
    return OtherLevels({name: f"{node.parent}::{name}" for name in there}, is_placed)


def _fetch(array: Any, part: tuple[slice, ...]) -> np.ndarray:
    """Read a part of an array of zarr, or of the one that a URL names."""
    try:
        return np.asarray(read_remote(array, part) if isinstance(array, str) else array[part])
    except DataError:  # storage that refuses: already clear
        raise
    except (*DAMAGE, OSError) as error:
        where = f"{getattr(array, 'store_path', array)} at {[(s.start, s.stop) for s in part]}"
        raise DataError(
            f"{where} cannot be decoded ({error})", hint="a chunk there is damaged: copy the store again"
        ) from error


def _read_json(file: Place) -> Any:
    return file.read_json() if isinstance(file, RemotePath) else read_json(file)


def _read_node(node: Place) -> dict[str, Any] | None:
    """Read a node's metadata; None where there is no node."""
    for name in ("zarr.json", ".zarray", ".zgroup"):
        if (node / name).is_file():
            return {"file": name, **_read_json(node / name)}
    return {"file": ".zgroup"} if (node / ".zattrs").is_file() else None


def _is_array(node: Place) -> bool:
    metadata = _read_node(node) or {}
    return metadata.get("file") == ".zarray" or metadata.get("node_type") == "array"


def _attributes(node: Place) -> dict[str, Any]:
    """Return the attributes of a group, {} where there is none."""
    if (node / "zarr.json").is_file():
        return dict(_read_json(node / "zarr.json").get("attributes", {}))
    return dict(_read_json(node / ".zattrs")) if (node / ".zattrs").is_file() else {}


def _choose_array(path: Place, key: str | None, group: Place) -> Place:
    """Return the finest level of an image, or the only array of a group."""
    level = read_multiscales(_attributes(group), None)
    if level is not None:
        if not _is_array(group / level[0]):
            raise MissingDataError(f"{group} names a level {level[0]} that is not there", hint="copy the store again")
        return group / level[0]
    found = _list_arrays(group)
    if len(found) == 1 and _is_array(group / found[0]):
        return group / found[0]
    inside = f"{key.strip('/')}/" if key else ""
    raise MissingDataError(explain_missing_array(path, None, [inside + name for name in found]))


def _refuse_missing(path: Place, key: str | None, node: Place) -> None:
    if isinstance(path, RemotePath):
        _refuse_missing_remote(path, key)
    if _is_array(node / "s0"):
        raise DataError(f"{node} is not finished", hint="run the step that makes it again: it goes on where it stopped")
    if key is None:
        raise DataError(
            f"{path} is not a Zarr store", expected="zarr.json, .zarray or .zgroup in it", got="none of them"
        )
    raise MissingDataError(explain_missing_array(path, key, _list_arrays(path)))


def _refuse_missing_remote(path: RemotePath, key: str | None) -> None:
    """Describe how far the way to an array leads, and what is there."""
    path.refuse_absent()
    if key is None:
        return
    group, inside = path, ""
    for name in key.strip("/").split("/"):
        if not (group / name).is_dir():
            break
        group, inside = group / name, f"{inside}{name}/"
    raise MissingDataError(explain_missing_array(path, key, [inside + name for name in _list_arrays(group)]))


def _list_arrays(group: Place, depth: int = 0) -> list[str]:
    """List the arrays in a group and in the groups below it; behind a URL, where each look costs, the folders in it."""
    if isinstance(group, RemotePath):
        return [folder.name for folder in group.folders()]
    found: list[str] = []
    for node in sorted(p for p in group.iterdir() if p.is_dir()):
        if _is_array(node):
            found.append(node.name)
        elif depth < _DEEPEST:
            found += [f"{node.name}/{name}" for name in _list_arrays(node, depth + 1)]
    return found


def _open_array(node: Place) -> Any:
    import zarr

    try:
        return open_remote(node.url) if isinstance(node, RemotePath) else zarr.open_array(node, mode="r")
    except (
        Exception
    ) as error:  # zarr raises its own tree, KeyError and TypeError alike for metadata that it does not know
        raise DataError(f"{node} cannot be opened as a Zarr array ({type(error).__name__}: {error})") from error


ZARR = Format(
    "Zarr or OME-Zarr",
    open_zarr,
    example=".zarr",
    recognise=lambda path, key: key is not None or is_zarr(path),
    has_names=True,
    is_remote=True,
)
