"""Turn windows, and say what becomes of an offset or a vector in them; `augment.orientation` turns what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from connectomake.channels import Offset
from connectomake.geometry import Turn, to_triple

AXES = "zyx"


class Symmetry(Turn):
    """A turn of tensors, and back."""

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
