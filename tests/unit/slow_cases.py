"""Mark the cases of a test slow that differ little from one that always runs."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_but(fast: Container[Any], cases: Iterable[Any], why: str) -> list[Any]:
    """Mark cases slow, but for the fast ones; a case of several parameters is a tuple."""
    mark = pytest.mark.slow(why)
    return [
        case if case in fast else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
        for case in cases
    ]
