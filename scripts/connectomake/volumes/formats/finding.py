"""Say which arrays a file holds when the one asked for is not among them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_MOST_LISTED = 20


def explain_missing_array(path: object, key: str | None, found: Sequence[str]) -> str:
    """Compose the message for an array that is not in a file.

    Parameters
    ----------
    path
        The file, store or URL.
    key
        What was asked for; None where nothing was and the file leaves a choice.
    found
        The arrays that it holds.
    """
    listed = ", ".join(found[:_MOST_LISTED]) + (
        f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    )
    holds = f"it holds {listed}" if found else "it holds no array at all"
    if key is None:
        choice = f": write {path}::NAME" if found else ""
        return f"{path} needs the name of the array to read{choice}; {holds}"
    by_end = {name.rsplit("/", 1)[-1].lower(): name for name in found}  # volumes/raw is what "raw" or "Raw" means
    near = by_end.get(key.rsplit("/", 1)[-1].lower()) or next(
        iter(get_close_matches(key, found, n=1, cutoff=0.5)), None
    )
    return f"there is no array '{key}' in {path}; {holds}" + (f"; did you mean {path}::{near}?" if near else "")


def explain_missing_folder(path: str, there: Sequence[str]) -> str:
    """Compose the message for a remote folder that is not there.

    Parameters
    ----------
    path
        The folder that was asked for.
    there
        The folders beside it, as far as they are known.
    """
    near = get_close_matches(path.rpartition("/")[2], there, n=1)
    beside = f"; beside it are {', '.join(there[:_MOST_LISTED])}" if there else ""
    return f"{path} does not exist" + (f"; did you mean {near[0]}?" if near else beside)
