"""The files that hold a box of a Zarr 2 array: which are missing, and which were cut short when they were copied."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.geometry import Box
from connectomake.volumes.formats.array import SPATIAL
from connectomake.volumes.volume import Volume

_HEADER_BYTES = 16  # of a Blosc buffer; its last four give the length of the whole, lowest byte first


def check_chunks(volume: Volume, box: Box) -> tuple[int, int]:
    """Count the chunks that a box needs and that are not on the disk, and all that it needs.

    Parameters
    ----------
    volume
        An array of Zarr 2, opened by its own folder.
    box
        In voxels of the array.

    Raises
    ------
    DataError
        A chunk is shorter than it says. Blosc itself would not notice where data did not compress, and decode whatever
        lies behind.
    """
    folder = Path(volume.source)
    header = read_json(folder / ".zarray")
    is_blosc = (header.get("compressor") or {}).get("id") == "blosc"
    needed = [folder / name for name in _chunks_of(volume, box, header.get("dimension_separator", "."))]
    there = [chunk for chunk in needed if chunk.is_file()]
    for chunk in there if is_blosc else ():
        with chunk.open("rb") as file:
            said = int.from_bytes(file.read(_HEADER_BYTES)[12:], "little")
        held = chunk.stat().st_size
        if held < max(said, _HEADER_BYTES):
            hint = "delete the file and download it again"
            raise DataError(f"the chunk {chunk} is cut short", expected=f"{said} bytes", got=held, hint=hint)
    return len(needed) - len(there), len(needed)


def _chunks_of(volume: Volume, box: Box, separator: str) -> Iterator[str]:
    """Return the paths of the chunks that hold a box; their numbers are in the file's order of axes."""
    spans = dict(zip(SPATIAL, zip(box.start_zyx, box.stop_zyx, strict=True), strict=True))
    chunks = volume.array.chunks or volume.array.shape
    parts = [spans.get(axis, (0, 1)) for axis in volume.axes]
    numbers = product(*(range(a // side, (b - 1) // side + 1) for (a, b), side in zip(parts, chunks, strict=True)))
    return (separator.join(map(str, number)) for number in numbers)
