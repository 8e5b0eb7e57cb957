"""Name settings: `preset`, or `preset@key=value@key=value` with what differs from the preset and nothing else.

Results are stored under these names, so two different settings never share one, and one setting has one name however it
was written: `1e-3` or `0.001`, as a dotted key or nested, in any order. To that end a name is made from the checked
settings, never from the text, and a readable name is used only if reading it back on top of the preset gives the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from connectomake.config.engine.compose import Preset
from connectomake.config.engine.explain import Layer
from connectomake.config.engine.layers import compose, nest
from connectomake.config.section import Section

LONGEST = 80  # characters; a chain of ids is one path, and its parts are file names (at most 255 bytes)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TAKEN = {"true", "false", "none", "x"}  # what true, false, null and the empty list are written as
_ABSENT = "<absent>"
_BETWEEN = "@"  # no comma: Snakemake separates wildcards by it when it tells a job on a cluster what to make

Leaves = dict[tuple[str, ...], str]


def name_settings(preset: Preset, settings: Section) -> str:
    """Return the id of some settings of a stage.

    Parameters
    ----------
    preset
        The preset they started from.
    settings
        The preset with overrides and a point of a sweep laid over it.

    Returns
    -------
    str
        ``default``, ``default@threshold=0.7`` or, where not all of it can be written in 80 characters that are safe in
        a path, what can be and 10 hexadecimal digits of a hash of all: ``default@max_steps=600@85c94eeffd``.

    Examples
    --------
    A list of numbers is written with x between them: ``default@window_zyx_vx=16x64x64``.
    """
    changed = _changes(preset.settings, settings)
    if not changed:
        return preset.name
    room = LONGEST - len(preset.name) - 1
    entries = _fewest(preset, settings, changed)
    parts = _readable(entries)
    if parts and len(parts) == len(entries) and len(_BETWEEN.join(parts)) <= room:
        return _BETWEEN.join([preset.name, *parts])
    plain = json.dumps(sorted([list(keys), value] for keys, value in changed.items()))
    digits = hashlib.sha256(plain.encode()).hexdigest()[:10]
    kept: list[str] = []
    for part in parts:
        if len(_BETWEEN.join([*kept, part, digits])) <= room:
            kept.append(part)
    return _BETWEEN.join([preset.name, *kept, digits])


def join_names(name: str, parts: Sequence[str]) -> str:
    """Write ids of settings that have no results of their own into the id of the stage that they are part of.

    Where they are too long for the name of a file, a hash of them is written instead.

    Examples
    --------
    >>> join_names("gpu@seed=1", ["sections"])
    'gpu@seed=1+sections'
    """
    joined = "+".join([name, *sorted(parts)])
    return joined if len(joined) <= 2 * LONGEST else f"{name}+{hashlib.sha256(joined.encode()).hexdigest()[:10]}"


def name_point(point: Mapping[str, Any]) -> str:
    """Name a point of a sweep for people: each key by its end, two parts at most and no stage where that will do.

    Parameters
    ----------
    point
        Dotted key -> value.

    Returns
    -------
    str
        Without a comma or a space inside of a value; empty for no point.

    Examples
    --------
    >>> name_point({"train.optimizer.learning_rate": 0.001, "decode.threshold": 0.5, "augment": "heavy"})
    'optimizer.learning_rate=0.001, threshold=0.5, augment=heavy'
    >>> name_point({"train.seed": 1, "split.seed": 2, "train.patch_zyx_vx": [16, 64, 64]})
    'train.seed=1, split.seed=2, patch_zyx_vx=16x64x64'
    >>> name_point({"train.losses": [{"loss": "bce"}, {"loss": "dice", "weight": 0.5}]})
    'losses=bce;(loss:dice;weight:0.5)'
    """
    return ", ".join(f"{_shorten_key(key, point)}={_say(value)}" for key, value in point.items())


def _shorten_key(key: str, among: Iterable[str]) -> str:
    """Return the last two parts of a key without its stage, and more where another key ends the same."""
    parts = key.split(".")
    others = [other.split(".") for other in among if other != key]
    for length in range(min(2, max(len(parts) - 1, 1)), len(parts)):
        if not any(other[-length:] == parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return key


def _say(value: Any) -> str:
    """Write any value in few signs."""
    if isinstance(value, Mapping):
        return ";".join(f"{key}:{_say(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        plain = _write(list(value))
        return plain or ";".join(_say_item(item) for item in value)
    return _write(value) or re.sub(r"[,\s]+", "_", str(value))


def _say_item(item: Any) -> str:
    """Write an item of a list: of a mapping of one thing, only this; other mappings in brackets."""
    if isinstance(item, Mapping):
        return _say(next(iter(item.values()))) if len(item) == 1 else f"({_say(item)})"
    return _say(item)


def _changes(before: Section, after: Section) -> Leaves:
    """Return what differs, as JSON text (to which 1, 1.0 and true are three things), of what is there after."""
    old, new = dict(_leaves(_without_effort(before), ())), dict(_leaves(_without_effort(after), ()))
    return {keys: new.get(keys, _ABSENT) for keys in sorted({*old, *new}) if old.get(keys) != new.get(keys)}


def _without_effort(settings: Section) -> dict[str, Any]:
    """Return settings as plain values; what only says with what effort a result is made is left out, in each part."""
    values = settings.model_dump(mode="json", exclude=set(settings.effort))
    parts = {name: getattr(settings, name) for name in values}
    return values | {name: _without_effort(part) for name, part in parts.items() if isinstance(part, Section)}


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Walk through nested mappings to the values that are none."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, str(key)))
    else:
        yield keys, json.dumps(value + 0.0 if isinstance(value, float) else value, sort_keys=True)  # no -0.0


def _fewest(preset: Preset, settings: Section, changed: Leaves) -> Leaves:
    """Leave out what follows from the rest (a default of a chosen model, say); give nothing if all do not suffice."""
    entries = {keys: value for keys, value in changed.items() if value != _ABSENT}
    if not _gives(preset, entries, settings):
        return {}
    for keys in sorted(entries, reverse=True):
        fewer = {other: value for other, value in entries.items() if other != keys}
        if fewer and _gives(preset, fewer, settings):
            entries = fewer
    return entries


def _gives(preset: Preset, entries: Leaves, settings: Section) -> bool:
    """Return whether a preset with these values over it is these settings."""
    changes = (Layer("", nest(keys, json.loads(value))) for keys, value in entries.items())
    try:
        return not _changes(type(settings).model_validate(compose([*preset.layers, *changes])), settings)
    except ValidationError:
        return False


def _readable(entries: Leaves) -> list[str]:
    """Write entries as key=value, sorted; without those that would be ambiguous or unsafe in a path."""
    written = [(keys, _write(json.loads(value))) for keys, value in sorted(entries.items())]
    return [f"{'.'.join(keys)}={text}" for keys, text in written if text is not None and all(map(_KEY.fullmatch, keys))]


def _write(value: Any) -> str | None:
    """Write a value so that no other value is written the same: words, numbers, truth values and lists of numbers."""
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return repr(value).replace("e+", "e")
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and value not in _TAKEN else None
    if isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return "x".join(str(_write(v)) for v in value) + ("x" if len(value) < 2 else "")
    return None
