"""TIFF with pages in one run, in strips, in one piece or in tiles: any part is read, and damage is an error."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from connectomake.errors import DataError
from connectomake.volumes.formats.tiff import _fetch_mapped, _fetch_pages, _fetch_tiles, open_tiff

KINDS = {
    "mapped": ({}, _fetch_mapped, None),
    "strips": ({"compression": "zlib", "rowsperstrip": 8}, _fetch_pages, (1, 90, 100)),
    "one piece": ({"compression": "zlib", "rowsperstrip": 90}, _fetch_pages, (1, 90, 100)),
    "tiles": ({"compression": "zlib", "tile": (32, 48)}, _fetch_tiles, (1, 32, 48)),
    "plain tiles": ({"tile": (32, 48)}, _fetch_tiles, (1, 32, 48)),
    "predicted tiles": ({"compression": "lzw", "predictor": True, "tile": (16, 16)}, _fetch_tiles, (1, 16, 16)),
    "BigTIFF": ({"compression": "zlib", "tile": (32, 48), "bigtiff": True}, _fetch_tiles, (1, 32, 48)),
    "big-endian": ({"compression": "zlib", "tile": (32, 48), "byteorder": ">"}, _fetch_tiles, (1, 32, 48)),
}
PARTS = [
    (slice(None), slice(None), slice(None)),
    (slice(1, 4), slice(10, 77), slice(40, 100)),
    (slice(4, 5), slice(89, 90), slice(0, 1)),
    (slice(2, 2), slice(0, 5), slice(0, 5)),
]


def write(folder: Path, array: np.ndarray, **options) -> Path:
    path = folder / "a.tif"
    tifffile.imwrite(path, array, **{"photometric": "minisblack"} | options)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_any_part_is_read(tmp_path, kind, dtype):
    options, fetch, chunks = KINDS[kind]
    if dtype == np.float32 and "predictor" in options:
        options = options | {"predictor": 3, "compression": "zlib"}
    values = np.random.default_rng(0).integers(1, 250, (5, 90, 100)).astype(dtype)
    array = open_tiff(write(tmp_path, values, **options))
    assert (array.fetch.func, array.chunks) == (fetch, chunks)
    for part in PARTS:
        found = array.fetch(part)
        assert found.dtype.newbyteorder("=") == values.dtype
        np.testing.assert_array_equal(found, values[part])


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_colours_in_tiles_are_read(tmp_path, planarconfig):
    shape = (3, 3, 90, 100) if planarconfig == "separate" else (3, 90, 100, 3)
    values = np.random.default_rng(0).integers(1, 250, shape).astype(np.uint8)
    options = {"photometric": "rgb", "planarconfig": planarconfig, "tile": (32, 48), "compression": "zlib"}
    array = open_tiff(write(tmp_path, values, **options))
    assert array.fetch.func is _fetch_tiles
    assert array.chunks == ((1, 1, 32, 48) if planarconfig == "separate" else (1, 32, 48, 3))
    part = (slice(1, 3), *(slice(0, 2) if n == 3 else slice(20, 80) for n in shape[1:]))
    np.testing.assert_array_equal(array.fetch(part), values[part])


@pytest.mark.parametrize("kind", ["strips", "tiles", "BigTIFF"])
def test_damage_is_an_error_and_never_zeros(tmp_path, kind):
    """Of deflate, which has a checksum; LZW has none."""
    values = np.random.default_rng(0).integers(1, 250, (5, 90, 100)).astype(np.uint8)
    path = write(tmp_path, values, **KINDS[kind][0])
    array, content = open_tiff(path), path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[2].dataoffsets[0], tif.pages[2].databytecounts[0]
    path.write_bytes(content[: start + 4] + bytes(length - 8) + content[start + length - 4 :])
    with pytest.raises(DataError, match=r"a\.tif cannot be decoded .*check that it was copied completely"):
        array.fetch(PARTS[0])
    path.write_bytes(content[: start + length // 2])
    with pytest.raises(DataError, match="check that it was copied completely"):
        array.fetch(PARTS[0])


def test_a_part_of_tiles_takes_the_memory_of_its_tiles(tmp_path):
    values = np.zeros((4, 2048, 2048), np.uint8)
    array = open_tiff(write(tmp_path, values, compression="zlib", tile=(128, 128)))
    part = (slice(0, 4), slice(1000, 1100), slice(1000, 1100))
    array.fetch(part)  # what is loaded once
    tracemalloc.start()
    try:
        array.fetch(part)
        assert tracemalloc.get_traced_memory()[1] < values[0].nbytes / 4
    finally:
        tracemalloc.stop()
