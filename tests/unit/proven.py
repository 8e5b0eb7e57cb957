"""Tests of what fewer bits give are of no use on a CPU that computes wrongly in them: it is refused there."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from connectomake.errors import ConfigError


@contextmanager
def skip_where_refused() -> Iterator[None]:
    """Skip a test whose type the check of arithmetic refuses on this CPU, with what was found wrong as the reason."""
    try:
        yield
    except ConfigError as error:
        if "gives wrong numbers on this CPU" not in str(error):
            raise
        pytest.skip(str(error))
