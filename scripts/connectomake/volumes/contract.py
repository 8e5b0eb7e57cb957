"""Take typed fields out of a file that one stage wrote and another reads; what is wrong with it becomes one line.

The first version of a file carries no mark, so that files from before there were versions, and files written today,
have the same bytes: nothing that is finished runs again. From the second version on, `mark_version` writes `SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.geometry import Box, Triple, TripleNm, to_triple, to_triple_nm

SCHEMA = "schema"
"""The key of the version."""

Found = TypeVar("Found")


class Record:
    """A mapping that was read from a file.

    Parameters
    ----------
    value
        What stands in the file.
    where
        The file, as errors name it.
    hint
        What to do where it is not as it should be.
    prefix
        Keys that lead to the mapping inside the file, each followed by a dot.

    Raises
    ------
    DataError
        The value is no mapping.
    """

    def __init__(self, value: object, where: str, hint: str, prefix: str = "") -> None:
        self.where, self.hint, self.prefix = where, hint, prefix
        if not isinstance(value, Mapping):
            raise DataError(
                f"{where}: {prefix.rstrip('.')}: wrong value" if prefix else f"{where} has another content",
                expected="key: value pairs",
                got=_shorten(value),
                hint=hint,
            )
        self.values: Mapping[str, Any] = value

    def check_version(self, newest: int) -> None:
        """Reject a file whose version is newer than `newest`; one without a version is of the first.

        Raises
        ------
        DataError
            The version is newer, or no version.
        """
        version = self.values.get(SCHEMA, 1)
        if type(version) is int and 1 <= version <= newest:
            return
        hint = f"update Connectomake, or {self.hint}" if type(version) is int and version > newest else self.hint
        expected = "1" if newest == 1 else f"a version from 1 to {newest}"
        raise DataError(
            f"{self.where}: {SCHEMA}: this version is not known", expected=expected, got=_shorten(version), hint=hint
        )

    def text(self, key: str) -> str:
        """Return a string."""
        return self._take(key, "text", lambda value: value if isinstance(value, str) else None)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        return self._take(key, "true or false", lambda value: value if isinstance(value, bool) else None)

    def whole(self, key: str) -> int:
        """Return a whole number."""
        return self._take(key, "a whole number", _as_whole)

    def number(self, key: str) -> float:
        """Return a number."""
        return self._take(key, "a number", lambda value: float(value) if _is_number(value) else None)

    def pair(self, key: str) -> tuple[float, float]:
        """Return two numbers."""
        return self._take(key, "two numbers", _as_pair)

    def triple(self, key: str) -> Triple:
        """Return three whole numbers z, y, x, such as a shape in voxels."""
        return self._take(key, "three whole numbers z, y, x", _as_triple)

    def triple_nm(self, key: str) -> TripleNm:
        """Return three numbers z, y, x, such as a voxel size in nm."""
        return self._take(key, "three numbers z, y, x", _as_triple_nm)

    def box(self, key: str) -> Box:
        """Return a box of voxels, [[z, y, x], [z, y, x]] in the file."""
        return self._take(key, "start and stop of a box, [[z, y, x], [z, y, x]]", _as_box)

    def boxes(self, key: str) -> tuple[Box, ...]:
        """Return a list of boxes of voxels."""
        return self._take(key, "a list of boxes, [[z, y, x], [z, y, x]] each", lambda value: _as_all(value, _as_box))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return self._take(key, "a list of texts", lambda value: _as_all(value, _as_text))

    def wholes(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        return self._take(key, "a list of whole numbers", lambda value: _as_all(value, _as_whole))

    def triples(self, key: str) -> tuple[Triple | None, ...]:
        """Return a list of triples of whole numbers, of which some may be null."""
        expected = "a list with three whole numbers z, y, x, or null, for each channel"
        found = self._take(key, expected, lambda value: _as_all(value, _as_triple_or_null))
        return tuple(to_triple(triple) if triple else None for triple in found)

    def section(self, key: str) -> Record:
        """Return the mapping under a key."""
        return Record(self._get(key, "key: value pairs"), self.where, self.hint, f"{self.prefix}{key}.")

    def sections(self, key: str) -> list[Record]:
        """Return the mappings in the list under a key."""
        listed = self._take(key, "a list", lambda value: value if isinstance(value, list | tuple) else None)
        return [Record(v, self.where, self.hint, f"{self.prefix}{key}.{i}.") for i, v in enumerate(listed)]

    def optional(self, take: Callable[[str], Found], key: str) -> Found | None:
        """Return what one of the other methods returns for a key; None where that is missing, or null.

        >>> record = Record({"axes": None}, "volume.json", "ingest it again")
        >>> record.optional(record.text, "axes") is record.optional(record.text, "crop") is None
        True
        """
        return None if self.values.get(key) is None else take(key)

    def wrong(self, key: str, expected: str) -> DataError:
        """Return the error for a value that is not what it should be."""
        got = _shorten(self.values.get(key))
        return DataError(f"{self.where}: {self.prefix}{key}: wrong value", expected=expected, got=got, hint=self.hint)

    def _get(self, key: str, expected: str) -> Any:
        if key not in self.values:
            raise DataError(
                f"{self.where}: {self.prefix}{key} is missing", expected=expected, got="nothing", hint=self.hint
            )
        return self.values[key]

    def _take(self, key: str, expected: str, convert: Callable[[Any], Found | None]) -> Found:
        found = convert(self._get(key, expected))
        if found is None:
            raise self.wrong(key, expected)
        return found


def read_record(path: Path, version: int, hint: str) -> Record:
    """Read a JSON file that has versions.

    Parameters
    ----------
    path
        The file.
    version
        The newest that is known.
    hint
        What to do where the file is not as it should be.

    Raises
    ------
    MissingDataError
        The file does not exist.
    DataError
        It is not JSON, no mapping, or of a version that is not known.
    """
    record = Record(read_json(path), str(path), hint)
    record.check_version(version)
    return record


def mark_version(content: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the content of a file with its version, which stands first; the first version is not marked.

    >>> mark_version({"name": "left"}, 1), mark_version({"name": "left"}, 2)
    ({'name': 'left'}, {'schema': 2, 'name': 'left'})
    """
    return dict(content) if version == 1 else {SCHEMA: version, **content}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _as_whole(value: object) -> int | None:
    return value if isinstance(value, int) and _is_whole(value) else None


def _as_triple(value: object) -> Triple | None:
    is_triple = isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_whole, value))
    return to_triple(value) if is_triple else None  # type: ignore[arg-type]


def _as_triple_or_null(value: object) -> Triple | tuple[()] | None:
    return () if not value else _as_triple(value)


def _as_triple_nm(value: object) -> TripleNm | None:
    is_triple = isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))
    return to_triple_nm(value) if is_triple else None  # type: ignore[arg-type]


def _as_pair(value: object) -> tuple[float, float] | None:
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    return (float(value[0]), float(value[1])) if is_pair else None  # type: ignore[index]


def _as_box(value: object) -> Box | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    start, stop = map(_as_triple, value)
    return None if start is None or stop is None else Box(start, stop)


def _as_all(value: object, convert: Callable[[Any], Found | None]) -> tuple[Found, ...] | None:
    """Convert each item of a list; None where it is no list, or an item cannot be converted."""
    if not isinstance(value, list | tuple):
        return None
    items = [convert(item) for item in value]
    return None if any(item is None for item in items) else tuple(item for item in items if item is not None)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
