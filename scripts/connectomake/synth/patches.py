"""What the autoencoder learns from, random patches of examples, and what it is validated on, whole examples.

Patch i is drawn from a generator seeded with (seed, i): it is the same whichever process makes it, in whatever order,
before or after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain, zip_longest

import numpy as np

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple
from connectomake.synth.examples import Example, classes_of, read_example

TRIES = 10  # to find a patch that is not of one grey value alone, such as air around a body
_GROUP, _PATCH = 1, 2  # parts of the seed: what is drawn

Sample = dict[str, np.ndarray]


class Volumes:
    """Examples as the networks see them; the first of them, as many as fit in the memory, are read only once.

    Parameters
    ----------
    examples
        Which.
    cfg
        How they are read.
    memory_gb
        Memory to keep them in (GB).
    """

    def __init__(self, examples: Sequence[Example], cfg: SynthConfig, memory_gb: float) -> None:
        self.examples, self.cfg = examples, cfg
        self._kept: list[np.ndarray] = []
        left = memory_gb * 1e9
        for example in examples:
            left -= 4 * cfg.image_channels * float(np.prod(example.shape_zyx_vx))
            if left < 0:
                break
            self._kept.append(read_example(example, cfg))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return an example, (C, Z, Y, X) float32 in [-1, 1]; not to be changed."""
        return self._kept[index] if index < len(self._kept) else read_example(self.examples[index], self.cfg)


class RandomPatches:
    """An endless sequence of random patches, flipped and turned in the plane of y and x.

    All patches of a batch have one shape: that of the patch, or of whole examples. Of patches of a single grey value
    another is drawn, a few times.

    Parameters
    ----------
    volumes
        Where they come from, all alike often.
    side_zyx_vx
        The largest patch; None = whole examples.
    batch
        So many consecutive patches have one shape.
    seed
        Of what is drawn.

    Raises
    ------
    DataError
        There is nothing to learn from.
    """

    def __init__(self, volumes: Volumes, side_zyx_vx: Triple | None, batch: int, seed: int) -> None:
        if not len(volumes):
            raise DataError("no example to learn from", hint="run list_examples again")
        self.volumes, self.side_zyx_vx, self.batch, self.seed = volumes, side_zyx_vx, batch, seed

    def __getitem__(self, number: int) -> Sample:
        """Make a patch: ``volume`` (C, Z, Y, X) float32 in [-1, 1]."""
        rng = np.random.default_rng((self.seed, _PATCH, number))
        group = self._groups[self._group_of(number // self.batch)]
        for _ in range(TRIES):
            index = group[rng.integers(len(group))]
            example, volume = self.volumes.examples[index], self.volumes[index]
            shape = _cut(example.shape_zyx_vx, self.side_zyx_vx)
            start = [int(rng.integers(n - side + 1)) for n, side in zip(example.shape_zyx_vx, shape, strict=True)]
            patch = volume[:, *Box.of_shape(shape).shift(start).slices]
            if np.ptp(patch[0]) > 0:
                break
        _, y_nm, x_nm = example.voxel_size_zyx_nm
        return {"volume": turn(patch, rng, quarter=shape[1] == shape[2] and y_nm == x_nm)}

    def _group_of(self, batch: int) -> int:
        """Draw the shape of a batch, each as often as there are examples of it."""
        sizes = np.cumsum([len(group) for group in self._groups])
        drawn = np.random.default_rng((self.seed, _GROUP, batch)).integers(sizes[-1])
        return int(np.searchsorted(sizes, drawn, side="right"))

    @cached_property
    def _groups(self) -> list[list[int]]:
        """The numbers of examples whose patches have one shape."""
        found: dict[Triple, list[int]] = {}
        for index, example in enumerate(self.volumes.examples):
            found.setdefault(_cut(example.shape_zyx_vx, self.side_zyx_vx), []).append(index)
        return list(found.values())


class WholeExamples:
    """Some examples, the middle of each.

    Parameters
    ----------
    examples
        Of which the first few of each class are taken.
    cfg
        How they are read.
    count
        How many at most.
    side_zyx_vx
        The largest part; None = all of an example.
    """

    def __init__(self, examples: Sequence[Example], cfg: SynthConfig, count: int, side_zyx_vx: Triple | None) -> None:
        classes = [[e for e in examples if e.class_name == name] for name in classes_of(examples)]
        mixed = [example for example in chain(*zip_longest(*classes)) if example is not None]
        self.volumes, self.side_zyx_vx = Volumes(mixed[:count], cfg, 0.0), side_zyx_vx

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, number: int) -> Sample:
        """Read an example: ``volume`` (C, Z, Y, X) float32 in [-1, 1]."""
        volume = self.volumes[number]
        shape = _cut(self.volumes.examples[number].shape_zyx_vx, self.side_zyx_vx)
        start = [(n - side) // 2 for n, side in zip(volume.shape[1:], shape, strict=True)]
        return {"volume": volume[:, *Box.of_shape(shape).shift(start).slices]}


def turn(volume: np.ndarray, rng: np.random.Generator, *, quarter: bool) -> np.ndarray:
    """Flip along y, along x, and turn by a quarter in their plane, each with probability 0.5.

    Nothing is turned over along z: what lies above what, in a body or in a stack of sections, is to be learnt.

    Parameters
    ----------
    volume
        (C, Z, Y, X).
    rng
        What draws.
    quarter
        Whether quarter turns are possible: y and x are alike.
    """
    flip_y, flip_x, transpose = rng.random(3) < 0.5
    volume = volume[:, :, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return np.ascontiguousarray(volume.swapaxes(2, 3) if quarter and transpose else volume)


def _cut(shape_zyx: Triple, side_zyx: Triple | None) -> Triple:
    """Return the shape of a patch of an example."""
    z, y, x = shape_zyx if side_zyx is None else map(min, shape_zyx, side_zyx)
    return z, y, x
