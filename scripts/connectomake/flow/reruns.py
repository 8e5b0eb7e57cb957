"""Which code a rule's result depends on: where it changes, results that are cheap to remake are made again."""

from __future__ import annotations

from collections.abc import Callable

from connectomake.flow.paths import Wildcards
from connectomake.provenance import code_of


def code(*modules: str) -> Callable[[Wildcards], str]:
    """Return a function that returns the hash of modules or packages of connectomake, with what they import."""
    return lambda wildcards: code_of(*modules)
