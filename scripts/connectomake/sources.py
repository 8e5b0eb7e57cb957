"""What the text that names a volume or a file means: a path or URL, where it starts, and ``::name`` of an array inside.

Loads nothing but the standard library: every job that Snakemake starts asks here.
"""

from __future__ import annotations

import os
import re

from connectomake.errors import MissingDataError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a single letter is a drive of Windows


def is_remote(source: str) -> bool:
    """Return whether a source is a URL rather than a path.

    Examples
    --------
    >>> is_remote("s3://bucket/a.zarr::s0"), is_remote("C:/a.zarr::s0"), is_remote("$HOME/a.zarr")
    (True, False, False)
    """
    return _SCHEME.match(source) is not None


def locate(path: str, folder: str = "") -> str:
    """Return the path that a config means: relative to its folder, ``~`` and ``$NAME`` filled in, ``::name`` kept.

    Path and folder may be URLs.

    Raises
    ------
    MissingDataError
        See `expand`.

    Examples
    --------
    >>> locate("a.h5::raw", "/data"), locate("a.zarr::s0", "s3://bucket"), locate("s3://bucket/a.zarr", "/data")
    ('/data/a.h5::raw', 's3://bucket/a.zarr::s0', 's3://bucket/a.zarr')
    """
    file, separator, name = path.partition("::")
    file = expand(file)
    return (file if is_remote(file) else os.path.join(expand(folder), file)) + separator + name


def make_absolute(source: str) -> str:
    """Return a source that means the same from every working directory."""
    file, separator, name = source.partition("::")
    return (file if is_remote(file) else os.path.abspath(file)) + separator + name


def expand(path: str) -> str:
    """Fill in ``~`` and ``$NAME``.

    Raises
    ------
    MissingDataError
        The environment has no variable of that name.
    """
    expanded = os.path.expandvars(os.path.expanduser(path))
    if "$" in expanded:
        raise MissingDataError(
            f"{path} names an environment variable that is not set", hint="set it, or write the path out"
        )
    return expanded
