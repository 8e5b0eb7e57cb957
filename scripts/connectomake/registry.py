"""Things that settings can name, each in a file of its own that is loaded when it is first asked for.

One mechanism for decoders, architectures, losses, targets, augmentations, metrics and formats: a registry is a table of
names, with the place of each thing. A new one is its file, and its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from connectomake.errors import ConfigError

T = TypeVar("T")


def load(place: str) -> Any:
    """Return what lies at ``module:attribute``; the module is imported."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


class Registry(Mapping[str, T], Generic[T]):
    """Name -> thing; a `Mapping` whose values are loaded when they are asked for.

    Parameters
    ----------
    kind
        What it holds, as errors say it: ``decoder``.
    places
        Name -> ``module:attribute``, such as ``connectomake.decode.decoders.flow:FLOW``; names keep this order.
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind = kind
        self._places = dict(places)
        self._loaded: dict[str, T] = {}

    def add(self, name: str, place: str) -> None:
        """Add a thing that lies elsewhere, such as in a program that uses this one.

        Raises
        ------
        ConfigError
            The name is taken.
        """
        if self._places.setdefault(name, place) != place:
            raise ConfigError(f"there is a {self.kind} named {name!r} already", got=f"{self._places[name]} and {place}")

    def module_of(self, name: str) -> str:
        """Return the module that a thing lies in; see `provenance.code_of`."""
        return self._place_of(name).partition(":")[0]

    def __getitem__(self, name: str) -> T:
        """Return a thing.

        Raises
        ------
        ConfigError
            There is none of that name; the nearest names are said.
        """
        if name not in self._loaded:
            self._loaded[name] = load(self._place_of(name))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places  # Mapping would load it

    def _place_of(self, name: str) -> str:
        if name not in self._places:
            meant = get_close_matches(name, self._places, 1)
            raise ConfigError(
                f"there is no such {self.kind}",
                expected=" or ".join(sorted(self._places)),
                got=name,
                hint=f"did you mean {meant[0]!r}?" if meant else "",
            )
        return self._places[name]
