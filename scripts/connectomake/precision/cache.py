"""Answers about this computer that take seconds to find, kept in the user's cache folder.

A folder of home may be shared by nodes of many kinds: whatever an answer depends on is in its key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from connectomake.errors import DataError
from connectomake.files import replacing

log = logging.getLogger(__name__)

SCHEMA = 1  # of the files; another number makes all answers anew


def cache_folder() -> Path | None:
    """Return the folder, which need not exist yet; None where this user has no home."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "connectomake" / "arithmetic"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    base = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return base / "connectomake" / "arithmetic"


def look_up(kind: str, key: Mapping[str, Any], find: Callable[[], str | None]) -> str | None:
    """Return a kept answer, or find it and keep it.

    A file that cannot be read is replaced; where the folder cannot be written, every process finds the answer anew.

    Parameters
    ----------
    kind
        Begins the file's name.
    key
        All that the answer depends on, as plain data.
    find
        Finds the answer; None, which is not kept, where it cannot be found this time.
    """
    key = {"schema": SCHEMA, **key}
    folder = cache_folder()
    if folder is None:
        return find()
    text = json.dumps(key, sort_keys=True)
    file = folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    known = _read(file)
    if known.get("key") == json.loads(text) and isinstance(known.get("answer"), str):
        return str(known["answer"])
    answer = find()
    if answer is None:
        return None
    try:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({"answer": answer, "key": key}, indent=1), encoding="utf-8")
    except (DataError, OSError) as error:
        log.debug("%s cannot be kept: %s", file, error)
    return answer


def _read(file: Path) -> dict[str, Any]:
    """Read a kept answer; empty where there is none, or not a whole one."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
