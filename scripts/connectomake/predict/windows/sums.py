"""The sums that blended windows are added up in, which go on from one block to the next below it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from connectomake.geometry import Box
from connectomake.predict.pages import new_array


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
        """Give a copy of the sums of what is left in a box."""
        return Sums(self.box.intersect(box), len(self.values), self.device, self)

    def blend(self, box: Box) -> torch.Tensor:
        """Give the means, (channels, Z, Y, X), of a box in this one; its sums are used up. 0 where no window lies."""
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
