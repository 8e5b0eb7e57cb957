"""Write volumes as OME-Zarr that many jobs fill, that is whole or absent, and that explains a full disk.

A store is ``STORE/s0`` (a sharded Zarr 3 array), maybe ``STORE/s1`` and so on (coarser levels, see `volumes.pyramid`),
and ``STORE/zarr.json`` (the group with its OME-NGFF 0.5 attributes). The group's file is written last: where it exists,
the store is complete.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from connectomake.errors import DataError, MissingDataError, ResumeMismatchError
from connectomake.files import explain_write_failure, read_json, write_json
from connectomake.geometry import Triple, to_triple, to_triple_nm

if TYPE_CHECKING:
    import zarr

LEVEL = "s0"
CHUNK_ZYX: Triple = (64, 64, 64)
SHARD_ZYX: Triple = (256, 256, 256)
SHARD_BYTES = 2**29

_COMPARED = ("shape", "data_type", "chunk_grid", "codecs", "fill_value", "attributes")


def create_store(
    path: Path,
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    chunk_zyx: Sequence[int] = CHUNK_ZYX,
    shard_zyx: Sequence[int] = SHARD_ZYX,
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
    fill: float = 0,
    is_temporary: bool = False,
    level: str = LEVEL,
) -> zarr.Array:
    """Make the array of a store, or open it where any job made it before: safe when n jobs start together.

    A job writes whole shards (`shard_zyx`, all channels), and no two jobs ever write the same. Each shard reaches the
    disk by temporary file and rename before the assignment returns.

    Parameters
    ----------
    path
        The store's folder.
    shape
        (Z, Y, X), or (C, Z, Y, X).
    dtype
        Type of the values.
    chunk_zyx
        The part that is compressed, and so read, as one; with all channels.
    shard_zyx
        The part that is one file, a multiple of `chunk_zyx` on each axis.
    voxel_size_zyx_nm, offset_zyx_nm
        Voxel size, and position of the centre of the first voxel, in nm.
    fill
        The value of all that is never written.
    is_temporary
        Whether to compress for speed alone, since the store will be removed.
    level
        Name of the array; see `create_pyramid` for stores of several levels.

    Returns
    -------
    zarr.Array
        The array, to be written block by block. `finish_store` ends the work.

    Raises
    ------
    ResumeMismatchError
        A store of another shape, type, sharding or place lies there; the message says which differs.
    DataError
        The shape is not that of a volume, or the disk refuses.
    """
    path = Path(path)
    _check_layout(path, shape, chunk_zyx, shard_zyx)
    folder = path / level
    draft = path / f".{level}.{uuid.uuid4().hex}"
    with explain_write_failure(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            # Bytes and floats gain next to nothing from a higher level (measured on EM and affinities); labels shrink
            # by a third.
            gains = np.dtype(dtype).itemsize > 1 and np.dtype(dtype).kind != "f"
            level_zstd = 5 if gains and not is_temporary else 1
            _create_array(draft, shape, dtype, chunk_zyx, shard_zyx, voxel_size_zyx_nm, offset_zyx_nm, fill, level_zstd)
            if not folder.exists():
                _rename_unless_taken(draft, folder)
            if draft.exists():
                _check_same(folder, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _open_for_writing(folder)


def finish_store(
    path: Path,
    *,
    attributes: Mapping[str, Any],
    voxel_size_zyx_nm: Sequence[float] | None = None,
    offset_zyx_nm: Sequence[float] | None = None,
) -> None:
    """Declare a store complete: write its ``zarr.json``, atomically, with OME-NGFF 0.5 and Connectomake's attributes.

    All levels that are there become part of it.

    Parameters
    ----------
    path
        The store's folder.
    attributes
        What Connectomake wants to know about the store (`read_attributes`), as plain data.
    voxel_size_zyx_nm, offset_zyx_nm
        In nm; by default those that `create_store` was given, which they must equal.

    Raises
    ------
    MissingDataError
        `create_store` was never called.
    ResumeMismatchError
        Voxel size or offset are not those that the store was made with.
    """
    path = Path(path)
    if not (path / LEVEL / "zarr.json").is_file():
        raise MissingDataError(
            f"{path} holds no array to finish", expected=f"{path / LEVEL}", hint="create the store first"
        )
    arrays = {folder.name: read_json(folder / "zarr.json") for folder in list_levels(path)}
    made_with = arrays[LEVEL]["attributes"]
    for key, value in (("voxel_size_zyx_nm", voxel_size_zyx_nm), ("offset_zyx_nm", offset_zyx_nm)):
        if value is not None and list(to_triple_nm(value)) != made_with[key]:
            raise ResumeMismatchError(f"{path} was made with another {key}", expected=made_with[key], got=list(value))
    for folder in list_levels(path):
        for left_over in folder.rglob("*.partial"):  # of jobs that were killed while they wrote a shard
            left_over.unlink(missing_ok=True)
    levels = {
        name: (array["attributes"]["voxel_size_zyx_nm"], array["attributes"]["offset_zyx_nm"])
        for name, array in arrays.items()
    }
    ome = describe_image(path.stem, len(arrays[LEVEL]["shape"]), levels)
    attributes = {"ome": ome, "connectomake": dict(attributes)}
    write_json(path / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def write_store(
    path: Path,
    array: np.ndarray,
    *,
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float] = (0.0, 0.0, 0.0),
    attributes: Mapping[str, Any] | None = None,
    chunk_zyx: Sequence[int] = CHUNK_ZYX,
) -> None:
    """Write a whole array as a finished store; one that lies there is replaced.

    Parameters
    ----------
    path
        The store's folder.
    array
        (Z, Y, X) or (C, Z, Y, X).
    voxel_size_zyx_nm, offset_zyx_nm
        Voxel size, and position of the centre of the first voxel, in nm.
    attributes
        See `finish_store`.
    chunk_zyx
        The part that is read as one.

    Raises
    ------
    DataError
        The array is not a volume, or the disk refuses.
    """
    path = Path(path)
    remove_store(path)
    shard_zyx = fit_shard(array.shape, array.dtype, chunk_zyx)
    store = create_store(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunk_zyx=chunk_zyx,
        shard_zyx=shard_zyx,
        voxel_size_zyx_nm=voxel_size_zyx_nm,
        offset_zyx_nm=offset_zyx_nm,
    )
    store[...] = array
    finish_store(path, attributes=attributes or {})


def remove_store(path: Path) -> None:
    """Remove a store, its ``zarr.json`` first, lest a half removed one be taken as finished; files beside it stay."""
    path = Path(path)
    with explain_write_failure(path):
        (path / "zarr.json").unlink(missing_ok=True)
        for folder in reversed(list_levels(path)):  # the coarsest first, lest a removal that was killed leave it alone
            shutil.rmtree(folder)


def name_level(number: int) -> str:
    """Name a level, 0 for the finest."""
    return f"s{number}"


def list_levels(path: Path) -> list[Path]:
    """List the folders of a store's levels, the finest first; none where there is no store."""
    return list(takewhile(Path.exists, (Path(path) / name_level(number) for number in count())))


def read_attributes(path: Path) -> dict[str, Any]:
    """Read the `connectomake` attributes of a finished store.

    Raises
    ------
    MissingDataError
        The store is not finished, or does not exist.
    DataError
        It was not written by Connectomake.
    """
    file = Path(path) / "zarr.json"
    if not file.is_file():
        problem = "is not finished" if (Path(path) / LEVEL).exists() else "does not exist"
        raise MissingDataError(f"the store {path} {problem}", hint="run the step that makes it")
    attributes = read_json(file).get("attributes", {})
    if "connectomake" not in attributes:
        raise DataError(
            f"{path} was not written by Connectomake", expected="attributes under connectomake in its zarr.json"
        )
    return dict(attributes["connectomake"])


def fit_shard(
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    chunk_zyx: Sequence[int] = CHUNK_ZYX,
    *,
    most_bytes: int = SHARD_BYTES,
) -> Triple:
    """Return the shard for a volume: up to 256 voxels a side, no larger than the volume needs or than so many bytes.

    Parameters
    ----------
    shape
        (Z, Y, X) or (C, Z, Y, X).
    dtype
        Type of the values.
    chunk_zyx
        The chunk that the shard is a multiple of.
    most_bytes
        In memory; by default 512 MiB. It is one chunk at least.
    """
    voxel_bytes = np.dtype(dtype).itemsize * (shape[0] if len(shape) == 4 else 1)
    chunks = [
        min(max(1, side // c), max(1, ceil(n / c))) for side, c, n in zip(SHARD_ZYX, chunk_zyx, shape[-3:], strict=True)
    ]
    while prod(chunks) > 1 and prod(chunks) * prod(chunk_zyx) * voxel_bytes > most_bytes:
        largest = chunks.index(max(chunks))
        chunks[largest] = ceil(chunks[largest] / 2)
    return to_triple([n * c for n, c in zip(chunks, chunk_zyx, strict=True)])


def describe_image(
    name: str, rank: int, levels: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> dict[str, Any]:
    """Return the OME-NGFF 0.5 attributes of an image.

    Parameters
    ----------
    name
        Name of the image.
    rank
        3, or 4 with channels.
    levels
        Name of each level's array, the finest first -> its voxel size, and the position of the centre of its first
        voxel, which is what `translation` means; z, y, x in nm.
    """
    channel = [{"name": "c", "type": "channel"}] if rank == 4 else []
    space = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    lead = rank - 3
    datasets = []
    for path, (size_zyx_nm, offset_zyx_nm) in levels.items():
        transformations = [
            {"type": "scale", "scale": [1.0] * lead + [float(v) for v in size_zyx_nm]},
            {"type": "translation", "translation": [0.0] * lead + [float(v) for v in offset_zyx_nm]},
        ]
        datasets.append({"path": path, "coordinateTransformations": transformations})
    return {"version": "0.5", "multiscales": [{"name": name, "axes": channel + space, "datasets": datasets}]}


def _check_layout(path: Path, shape: Sequence[int], chunk_zyx: Sequence[int], shard_zyx: Sequence[int]) -> None:
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(
            f"{path} cannot be made", expected="shape (Z, Y, X) or (C, Z, Y, X) without zeros", got=tuple(shape)
        )
    if min(chunk_zyx) < 1 or any(s % c or s < c for s, c in zip(shard_zyx, chunk_zyx, strict=True)):
        raise DataError(
            f"{path} cannot be made: a shard is a whole number of chunks",
            expected=f"a multiple of {tuple(chunk_zyx)} on each axis",
            got=tuple(shard_zyx),
        )


def _create_array(
    folder: Path,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    chunk_zyx: Sequence[int],
    shard_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
    fill: float,
    level_zstd: int,
) -> None:
    import zarr
    from zarr.codecs import BloscCodec

    dtype = np.dtype(dtype)
    lead = shape[:-3]
    zarr.create_array(
        folder,
        shape=shape,
        dtype=dtype,
        chunks=(*lead, *to_triple(chunk_zyx)),
        shards=(*lead, *to_triple(shard_zyx)),
        compressors=BloscCodec(cname="zstd", clevel=level_zstd, shuffle="shuffle"),
        fill_value=fill,
        dimension_names=("c", "z", "y", "x")[-len(shape) :],
        attributes={
            "voxel_size_zyx_nm": list(to_triple_nm(voxel_size_zyx_nm)),
            "offset_zyx_nm": list(to_triple_nm(offset_zyx_nm)),
        },
    )


def _rename_unless_taken(draft: Path, level: Path) -> None:
    """Put a folder in place; where another job was faster, its folder is not empty, rename fails, and it stays."""
    try:
        draft.rename(level)
    except OSError:
        if not (level / "zarr.json").is_file():
            raise


def _check_same(level: Path, draft: Path) -> None:
    """Compare the array that lies there with the one that would have been made."""
    there, wanted = read_json(level / "zarr.json"), read_json(draft / "zarr.json")
    for key in _COMPARED:
        if there.get(key) != wanted.get(key):
            raise ResumeMismatchError(
                f"{level.parent} was begun with another {key.replace('_', ' ')}",
                expected=json.dumps(there.get(key)),
                got=json.dumps(wanted.get(key)),
                hint=f"give the old settings back, or delete {level.parent} and run again",
            )


def _open_for_writing(level: Path) -> zarr.Array:
    import zarr

    from connectomake.volumes.durable import DurableStore

    return zarr.open_array(DurableStore(level), mode="r+")
