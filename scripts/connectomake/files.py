"""Write small files so that they are either whole or absent, and explain a disk that refuses.

Every file whose presence means "this is finished" goes through `replacing`: a killed job, a full disk or a power cut
leaves the old file or none, never half of a new one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectomake.errors import DataError, MissingDataError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Return a temporary path beside `path`; when the body ends well, put it in place, durably and in one step.

    Parameters
    ----------
    path
        The file to make or replace. Its folder is made where missing.

    Yields
    ------
    Path
        Where to write. It keeps the suffix of `path`, since many writers choose the format by it.

    Raises
    ------
    DataError
        The disk is full, a quota is used up, or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:100]}.{uuid.uuid4().hex}.partial{path.suffix}")
    with explain_write_failure(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync_to_disk(temporary)
            temporary.replace(path)
            sync_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically and durably.

    Parameters
    ----------
    path
        The file to make or replace.
    value
        Plain data; numpy scalars and arrays become numbers and lists, paths become text.
    """
    text = json.dumps(value, indent=2, default=_to_plain) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    MissingDataError
        The file does not exist.
    DataError
        The file is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingDataError(f"{path} does not exist") from error
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error})", hint="delete it and run the step that makes it again"
        ) from error


@contextmanager
def explain_write_failure(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write below `path` into a `DataError` that says how much room is left."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DataError):  # MissingDataError is an OSError too, and already clear
            raise
        free = f"{_free_bytes(path) / 1e9:.2f} GB free on that disk"
        if error.errno in _FULL:
            message, hint = (
                f"no room left to write {path}",
                "free some space or raise the quota, then run the same command again",
            )
        else:
            message, hint = (
                f"could not write {path} ({error.strerror or error})",
                "check the folder's permissions and the disk",
            )
        raise DataError(message, got=free, hint=hint) from error


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content (or a folder's list of names) would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not sync folders
            raise
    finally:
        os.close(handle)


def _free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that would hold `path`."""
    existing = next(p for p in (Path(path).absolute(), *Path(path).absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def _to_plain(value: Any) -> Any:
    """Turn numpy values and paths into what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
