"""The ways to lay a box of voxels on the axes, and what becomes of an offset or a vector in it.

`augment.orientation` turns arrays for training; this turns tensors, and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from connectomake.config.channels import Offset
from connectomake.geometry import Triple, to_triple

AXES = "zyx"


@dataclass(frozen=True, order=True)
class Symmetry:
    """Exchange axes, then mirror some: one of the 48 ways to lay a box of voxels on the axes.

    Parameters
    ----------
    order
        Axis a of the result is axis ``order[a]`` of the source.
    mirrored
        Whether axis a of the result is reversed.
    """

    order: Triple = (0, 1, 2)
    mirrored: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn a (..., Z, Y, X) tensor: a copy where an axis is mirrored, else a view."""
        first = tensor.ndim - 3
        turned = tensor.permute(*range(first), *(first + axis for axis in self.order))
        dims = [first + axis for axis in range(3) if self.mirrored[axis]]
        return turned.flip(dims) if dims else turned

    def undo(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn a turned (..., Z, Y, X) tensor back: a copy where an axis is mirrored, else a view."""
        return self._inverse.apply(tensor)

    def turn(self, offset_zyx: Sequence[int]) -> Offset:
        """Give what an offset between two voxels becomes."""
        return to_triple(
            [-offset_zyx[a] if m else offset_zyx[a] for a, m in zip(self.order, self.mirrored, strict=True)]
        )

    def turn_component(self, axes: str) -> tuple[str, bool]:
        """Give, of a component along `axes` (such as "zy"), which one it becomes, and whether its sign changes."""
        turned = [self.order.index(AXES.index(axis)) for axis in axes]
        return "".join(AXES[a] for a in turned), sum(self.mirrored[a] for a in turned) % 2 == 1

    def after(self, other: Symmetry) -> Symmetry:
        """Give the symmetry that does another one first, and then this one."""
        mirrored = [m != other.mirrored[a] for a, m in zip(self.order, self.mirrored, strict=True)]
        return Symmetry(to_triple([other.order[a] for a in self.order]), (mirrored[0], mirrored[1], mirrored[2]))

    @cached_property
    def _inverse(self) -> Symmetry:
        places = to_triple([self.order.index(axis) for axis in range(3)])
        return Symmetry(places, (self.mirrored[places[0]], self.mirrored[places[1]], self.mirrored[places[2]]))
