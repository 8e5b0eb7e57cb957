"""Read YAML the way people mean it: YAML 1.2 scalars, no duplicate keys, and errors that name file and line.

YAML 1.1 (PyYAML's rules) reads ``1e-3`` as text, ``no`` as false, ``010`` as 8, ``1:30`` as 90 and ``2024-01-01`` as a
date. None of these is what a settings file means, so scalars are read by the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2, section 10.3); a number with a leading zero stays text.

ruamel.yaml 0.19 is no shorter way to that. It keeps line numbers and refuses keys given twice, but reads ``010`` as 10,
``1_000`` as 1000, dates as dates, and takes lists as keys, so the resolvers and the check of keys below would stay. It
takes 0.2 s for the files of ``config/``, twenty times as long (it has no C parser any more), and PyYAML would stay
beside it: Snakemake needs it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from connectomake.errors import ConfigError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster, where it was built


class _Loader(_Base):
    """PyYAML's safe loader with the scalars of YAML 1.2 and no room for a key given twice."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own attribute, copied on write by it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is here twice", key.start_mark
                )
            seen.add(key.value)
        self.flatten_mapping(node)  # <<: *anchor
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_FLOAT = (
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_FIRST_OF_NUMBER = list("-+.0123456789")
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", _FIRST_OF_NUMBER),
    ("float", _FLOAT, _FIRST_OF_NUMBER),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse_yaml(text: str, source: str) -> Any:
    """Read one YAML document.

    Parameters
    ----------
    text
        The document.
    source
        Where it comes from, for the error: a path, or e.g. ``--config override``.

    Raises
    ------
    ConfigError
        Where the text is not YAML, or holds a key twice; names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        said = " ".join(part for part in (error.problem, error.context) if part)
        raise ConfigError(f"{place}: this is not valid YAML: {' '.join(said.split())}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source}: this is not valid YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path, source: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises
    ------
    ConfigError
        Where the file cannot be read, is not YAML, or holds something else than ``key: value`` pairs.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{source}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: this file cannot be read: {error}") from None
    value = parse_yaml(text, source)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: the file is not a mapping", expected="key: value pairs", got=shorten(value))
    return value


def line_of(path: Path, keys: Sequence[str | int]) -> int | None:
    """Find the line (from 1) of a nested key in a YAML file, or of the deepest of its parents that is there.

    Reads the file again: it is for errors only. None where not even the first key is there.
    """
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    line = None
    for key in keys:
        child = None
        if isinstance(node, yaml.MappingNode):
            child = next(((k, v) for k, v in node.value if k.value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            child = (node.value[key], node.value[key])
        if child is None:
            break
        line, node = child[0].start_mark.line + 1, child[1]
    return line


def shorten(value: object) -> str:
    """Show a value in an error: one line, at most 80 characters of it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
