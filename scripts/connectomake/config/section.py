"""The one base of every settings model: an unknown key is an error, and values never change once they are read.

Numbers written as text are read as numbers (``1e-3`` is text to a YAML 1.1 reader), but a truth value is never read as
a number: ``max_steps: true`` is a mistake, not one step.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Settings of one thing: frozen, and without room for a key that nobody reads.

    `effort` names the keys that say with what effort a result is made, not what it is: they are no part of its id.
    """

    effort: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, values: Any) -> Any:
        """Stop pydantic's reading of true as 1 wherever the field does not speak of bool."""
        if not isinstance(values, dict):
            return values
        kinds: dict[str, Any] = {key: field.annotation for key, field in cls.model_fields.items()}
        return {key: value if _allows_bool(kinds.get(key, Any)) else _guard(value) for key, value in values.items()}


def changed_keys(settings: Section) -> Iterator[str]:
    """Return the keys that differ from their defaults, dotted where nested.

    Settings travel as all of their values, so that a key was given tells nothing.
    """
    for key, field in type(settings).model_fields.items():
        value, default = getattr(settings, key), field.get_default(call_default_factory=True)
        if value == default:
            continue
        if isinstance(value, Section) and type(value) is type(default):
            yield from (f"{key}.{inner}" for inner in changed_keys(value))
        else:
            yield key


class TruthValue:
    """True or false where neither is meant: nothing that pydantic reads as something else, and shown as what it is."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return str(self.value).lower()


def _guard(value: Any) -> Any:
    """Wrap a truth value, and those in a list."""
    if isinstance(value, bool):
        return TruthValue(value)
    return [_guard(item) for item in value] if isinstance(value, list) else value


@cache
def _allows_bool(annotation: Hashable) -> bool:
    """Return whether a type speaks of bool or of anything; another section judges its own fields."""
    return annotation in (bool, Any) or any(
        isinstance(part, bool) or _allows_bool(part) for part in get_args(annotation)
    )
