"""The arrays of a submission are Zarr 2, hold no empty chunk, and say where they lie as the challenge does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from connectomake.cellmap.manifest import CropGrid
from connectomake.submit.arrays import (
    create_array,
    describe_array,
    list_chunks,
    measure_content,
    read_chunks,
    smallest_type,
)

GRID = CropGrid((20, 9, 33), (1.74, 2.0, 2.0), (23837.13, 7599.0, 35999.0))


def test_an_array_is_described_as_the_challenge_reads_it() -> None:
    files = {name: json.loads(text) for name, text in describe_array(GRID, np.uint16, (8, 16, 16)).items()}
    assert files[".zattrs"] == {
        "voxel_size": [1.74, 2.0, 2.0],
        "translation": [23837.13, 7599.0, 35999.0],
        "shape": [20, 9, 33],
    }
    array = files[".zarray"]
    assert array.pop("compressor")["cname"] == "zstd"
    assert array == {
        "zarr_format": 2,
        "shape": [20, 9, 33],
        "chunks": [8, 9, 16],
        "dtype": "<u2",
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
    }
    assert json.loads(describe_array(GRID)[".zarray"])["dtype"] == "|u1"


def test_what_is_written_is_read_as_zarr_2_and_empty_chunks_are_not_stored(tmp_path: Path) -> None:
    folder = tmp_path / "crop1/mito"
    array = create_array(folder, GRID, np.uint32, (8, 8, 8))
    values = np.zeros(GRID.shape_zyx, np.uint32)
    values[9, 2, 3], values[19, 8, 32] = 70000, 5
    array[...] = values
    assert [file.name for file in list_chunks(folder)] == ["1.0.0", "2.1.4"]
    found = zarr.open_array(folder, mode="r")
    assert found.metadata.zarr_format == 2
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found[...], values)
    assert measure_content(folder) == (2, 70000)
    assert {box.start_zyx: chunk.shape for box, chunk in read_chunks(folder)} == {
        (8, 0, 0): (8, 8, 8),
        (16, 8, 32): (4, 1, 1),
    }


def test_an_array_that_is_there_is_opened_and_kept(tmp_path: Path) -> None:
    create_array(tmp_path, GRID)[0, 0, 0] = 1
    (tmp_path / ".zattrs").unlink()  # as if it was killed in between
    (tmp_path / ".0.0.0123.partial").write_bytes(b"half a chunk")
    array = create_array(tmp_path, GRID)
    assert array[0, 0, 0] == 1
    assert array.attrs["shape"] == [20, 9, 33]
    assert [file.name for file in list_chunks(tmp_path)] == ["0.0.0"]


def test_an_array_of_zeros_holds_nothing(tmp_path: Path) -> None:
    create_array(tmp_path, GRID)
    assert measure_content(tmp_path) == (0, 0)
    assert not list_chunks(tmp_path)
    assert not zarr.open_array(tmp_path, mode="r")[...].any()


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(0, "uint8"), (1, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "uint32")],
)
def test_ids_are_never_wrapped(largest: int, dtype: str) -> None:
    assert smallest_type(largest).name == dtype
