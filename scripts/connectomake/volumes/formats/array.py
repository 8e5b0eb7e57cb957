"""What a format says of itself, and what it hands over: an array in the file's own axis order, described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPATIAL = "zyx"

PerAxis = Mapping[str, float] | tuple[float, ...]
"""A number per spatial axis: by the axis's letter, or in the order in which the array holds its spatial axes."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about its axes and its place; None wherever it is silent.

    Parameters
    ----------
    axes
        One letter per axis of the array, as in ``czyx``.
    voxel_size_nm, offset_nm
        Voxel size, and position of the centre of the first voxel, in nm.
    offset_vx
        The same position in voxels, for files that tell it so.
    """

    axes: str | None = None
    voxel_size_nm: PerAxis | None = None
    offset_nm: PerAxis | None = None
    offset_vx: PerAxis | None = None


@dataclass(frozen=True)
class FileArray:
    """An array in a file or folder, read in parts; can be pickled, so that worker processes open the file themselves.

    Parameters
    ----------
    source
        Its path, with ``::dataset`` where there is one; for messages and for opening it again.
    kind
        What a person calls the format.
    shape, dtype
        As in the file, all axes.
    metadata
        What the file says about itself.
    fetch
        Function that reads the part in a tuple of slices, one per axis, as an array of the same rank.
    chunks
        The part that the file holds (and so decodes) as one, per axis; None where any part costs only its own bytes.
    usual_axes
        The format's axis order where the file does not state one; the config may say otherwise.
    """

    source: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    metadata: Metadata
    fetch: Callable[[tuple[slice, ...]], np.ndarray]
    chunks: tuple[int, ...] | None = None
    usual_axes: str | None = None


@dataclass(frozen=True)
class Format:
    """A kind of file, or of folder: by what it is recognised, and how it is opened.

    Parameters
    ----------
    name, example
        What a person calls it, and how such a source is written, for messages.
    open
        Function of its path, and of the name of an array inside or None, that reads headers only. The package that
        decodes it is imported in there, not with the module.
    suffixes
        How the names of such files end, in lower case.
    recognise
        Function that says of a folder, and of the name of an array inside or None, whether it is one.
    of_files
        How the names of files end that are such a thing only together, in one folder.
    has_names
        Whether it holds arrays by name.
    is_remote
        Whether it is read behind a URL; `open` gets a `RemotePath` there.
    """

    name: str
    open: Callable[[Any, str | None], FileArray]
    example: str = ""
    suffixes: tuple[str, ...] = ()
    recognise: Callable[[Path, str | None], bool] | None = None
    of_files: tuple[str, ...] = ()
    has_names: bool = False
    is_remote: bool = False

    @property
    def described(self) -> str:
        """What errors list it as."""
        return f"{self.name} ({self.example})" if self.example else self.name

    def is_at(self, path: Path, key: str | None) -> bool:
        """Return whether a file or folder of this machine, with or without the name of an array, is one."""
        if path.is_dir():
            return self.recognise is not None and self.recognise(path, key)
        return path.name.lower().endswith(self.suffixes)
