"""Serve a store of float16, a type that neuroglancer does not know, as the same store of float32, all its levels.

Each chunk is read when it is asked for, and handed out uncompressed; a chunk holds all channels, as those on disk do.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from connectomake.view.virtual_zarr import describe_array
from connectomake.volumes.store import list_levels

if TYPE_CHECKING:
    import zarr

_KEY = re.compile(r"(s[0-9]{1,2})/(?:zarr\.json|c((?:/[0-9]{1,9})+))")


class VirtualFloats:
    """A finished store as the files of a Zarr 3 store of float32: `read` gives each by its key.

    Parameters
    ----------
    store
        The store's folder.
    """

    def __init__(self, store: Path) -> None:
        import zarr

        self._group = store / "zarr.json"
        self._levels = {folder.name: zarr.open_array(folder, mode="r") for folder in list_levels(store)}

    def read(self, key: str) -> bytes | None:
        """Return content of ``zarr.json``, ``s1/zarr.json`` or ``s1/c/c/z/y/x``; None where there is no such file."""
        if key == "zarr.json":
            return self._group.read_bytes()
        match = _KEY.fullmatch(key)
        array = self._levels.get(match[1]) if match else None
        if match is None or array is None:
            return None
        if match[2] is None:
            return json.dumps(describe_array(array.shape, np.dtype(np.float32), array.chunks)).encode()
        return _read_chunk(array, [int(part) for part in match[2][1:].split("/")])


def open_floats(group: Path) -> VirtualFloats:
    """Open the store whose ``zarr.json`` this is; the last few are kept open, and opened again where it has changed."""
    return _open(group.parent, group.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _open(store: Path, _changed_ns: int) -> VirtualFloats:
    return VirtualFloats(store)


def _read_chunk(array: zarr.Array, index: list[int]) -> bytes | None:
    """Read a chunk; those at the far faces are filled up with 0, as Zarr wants all chunks of one shape."""
    sides = array.chunks
    if len(index) != len(sides) or any(i * side >= n for i, side, n in zip(index, sides, array.shape, strict=True)):
        return None
    values = np.asarray(array[tuple(slice(i * side, (i + 1) * side) for i, side in zip(index, sides, strict=True))])
    chunk = np.zeros(sides, "<f4")
    chunk[tuple(slice(n) for n in values.shape)] = values
    return chunk.tobytes()
