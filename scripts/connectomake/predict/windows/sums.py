"""The sums that blended windows are added up in, which go on from one block to the next below it."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from connectomake.geometry import Box


def new_array(shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """Make an array of zeros in pages of its own.

    Parameters
    ----------
    shape, dtype
        Of the array.
    """
    dtype = np.dtype(dtype)
    size = prod(shape)
    pages = mmap.mmap(-1, max(1, size * dtype.itemsize))
    return np.frombuffer(pages, dtype, size).reshape(shape)


class Sums:
    """Weighted values, and the weights, of the voxels of a box; float32.

    Parameters
    ----------
    box
        The box.
    channels
        Channels of the values.
    device
        Where they are.
    above
        Sums that these go on from, where the two boxes overlap.
    """

    def __init__(self, box: Box, channels: int, device: torch.device, above: Sums | None = None) -> None:
        self.box = box
        self.values = _zeros((channels, *box.shape_zyx), device)
        self.weight = _zeros(box.shape_zyx, device)
        if above is not None:
            common = above.box.intersect(box)
            there, here = common.within(above.box).slices, common.within(box).slices
            self.values[:, *here] = above.values[:, *there]
            self.weight[here] = above.weight[there]

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self.weight.device

    def add(self, values: torch.Tensor, weights: torch.Tensor, window: Box) -> None:
        """Add a window where it lies in the box.

        The product is rounded before it is added: a fused multiply-add, which compilers use in some places and not in
        others, would make a voxel's last bits depend on where in the block it lies.

        Parameters
        ----------
        values
            (channels, Z, Y, X) float32, the window's; modified.
        weights
            (Z, Y, X) float32, those of its voxels; on the device of the values.
        window
            Where it lies.
        """
        common = window.intersect(self.box)
        there, here = common.within(self.box).slices, common.within(window).slices
        weights = weights[here]
        self.values[:, *there] += values[:, *here].mul_(weights).to(self.device)
        self.weight[there] += weights.to(self.device)

    def cut(self, box: Box) -> Sums:
        """Return a copy of the sums of what is left in a box."""
        return Sums(self.box.intersect(box), len(self.values), self.device, self)

    def blend(self, box: Box) -> torch.Tensor:
        """Return the means, (channels, Z, Y, X), of a box in this one; its sums are used up. 0 where no window lies."""
        here = box.within(self.box).slices
        weight = self.weight[here]
        weight += weight == 0
        values = self.values[:, *here]
        values /= weight
        return values


def _zeros(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    if device.type == "cpu":
        return torch.from_numpy(new_array(shape, "float32"))
    return torch.zeros(tuple(shape), device=device)
