"""Small files are whole or absent, and a disk that refuses is explained."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json, replacing, write_json


def test_json_comes_back_with_numpy_values_and_paths_made_plain(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"n": np.int64(3), "f": np.float32(0.5), "a": np.arange(2), "t": (1, 2), "p": Path("x/y")})
    assert read_json(path) == {"n": 3, "f": 0.5, "a": [0, 1], "t": [1, 2], "p": "x/y"}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        write_json(path, object())

    with pytest.raises(TypeError), replacing(path) as temporary:  # noqa: PT012 - the body must fail after it wrote
        temporary.write_text("half")
        raise TypeError
    assert read_json(path) == 1
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "no room left to write .*a.json.*GB free"), (errno.EACCES, "could not write .*a.json")],
)
def test_a_disk_that_refuses_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DataError, match=message):
        write_json(tmp_path / "a.json", 1)
    assert not os.listdir(tmp_path)


def test_a_missing_file_and_one_that_is_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"b\.json does not exist"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text('{"a": ')
    with pytest.raises(DataError, match=r"c\.json is not valid JSON"):
        read_json(tmp_path / "c.json")
