"""What the settings of every network have in common, and what can be known of a network from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import mul
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from connectomake.config.engine.explain import nearest
from connectomake.config.section import Section

Width = Annotated[int, Field(gt=0)]
Triple = tuple[int, int, int]

# What checkpoints of networks from elsewhere have in place of an architecture; see `train_foreign.py`.
FOREIGN = ("torchscript", "exported_program", "monai_bundle")


class HeadConfig(Section):
    """The last layers for some of the targets: each head learns from the same features, by itself."""

    targets: tuple[str, ...] = Field(min_length=1, description="the targets whose channels this head gives")
    blocks: int = Field(1, ge=0, description="residual blocks before the last layer")
    channels: Width | None = Field(None, description="channels of these blocks; null = as many as the features have")

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.channels is not None and not self.blocks:
            raise ValueError("channels are those of the blocks, and there are none")
        return self


class NetworkConfig(Section):
    """What every network has, whatever its architecture."""

    architecture: str = Field(description="the kind of network")
    dimensions: Literal[2, 3] = Field(3, description="2 = each section (z) is seen by itself, as an image")
    stem_factor: Literal[1, 2, 4] = Field(
        1,
        description="work at 1/n of the resolution on n^3 times the channels (pixel shuffle); 2 makes training on a "
        "CPU about half as expensive per voxel, at some cost in the finest detail",
    )
    heads: tuple[HeadConfig, ...] = Field(
        (), description="last layers of their own for some targets; empty = one layer for all"
    )

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input, the stem not counted (z, y, x)."""
        return 16, 16, 16

    @property
    def divisor_zyx(self) -> Triple:
        """What each side of a patch or window must be a multiple of, in voxels (z, y, x)."""
        z, y, x = (self.stem_factor * factor for factor in self.shrink_zyx)
        return (1, y, x) if self.dimensions == 2 else (z, y, x)

    @property
    def smallest_patch_zyx(self) -> Triple:
        """A patch, in voxels (z, y, x), that is no larger than the network needs."""
        z, y, x = self.divisor_zyx
        return z, y, 2 * x

    def check_patch(self, patch_zyx: Sequence[int]) -> None:
        """Reject a patch or window that the network cannot work on.

        Parameters
        ----------
        patch_zyx
            Its sides, in voxels.

        Raises
        ------
        ValueError
            The sides are not multiples of `divisor_zyx`, or one voxel is left at the coarsest level.
        """
        sides, divisor = list(patch_zyx), self.divisor_zyx
        if any(side % d for side, d in zip(sides, divisor, strict=True)):
            low = [max(d, side // d * d) for side, d in zip(sides, divisor, strict=True)]
            high = [-(-side // d) * d for side, d in zip(sides, divisor, strict=True)]
            raise ValueError(
                f"{sides} must be multiples of {list(divisor)} for {self.architecture}: nearest are {low} and {high}"
            )
        if sides[-self.dimensions :] == list(divisor[-self.dimensions :]):
            raise ValueError(
                f"{sides} leaves one voxel at the coarsest level of {self.architecture}, which instance norm cannot "
                f"normalise: make one side {2 * divisor[2]}"
            )

    def check_heads(self, targets: Iterable[str]) -> None:
        """Reject heads that do not give each target exactly once.

        Parameters
        ----------
        targets
            The targets that the network learns; a name may come more than once.

        Raises
        ------
        ValueError
            A target is in no head or in two, or a head names one that is not learnt.
        """
        if not self.heads:
            return
        learnt, given = set(targets), [target for head in self.heads for target in head.targets]
        for target in given:
            if target not in learnt:
                raise ValueError(f"heads: {target!r} is no target of this training: {nearest(target, learnt)}")
            if given.count(target) > 1:
                raise ValueError(f"heads: target {target!r} is in more than one head")
        if learnt - set(given):
            raise ValueError(f"heads: target {min(learnt - set(given))!r} is in no head")


def multiply(factors_zyx: Iterable[Triple]) -> Triple:
    """Multiply factors axis by axis."""
    z, y, x = (reduce(mul, axis, 1) for axis in zip(*factors_zyx, strict=True))
    return z, y, x


def check_length(key: str, values: Sequence[Any], length: int) -> None:
    """Reject a setting with another number of entries than there are levels, by ValueError."""
    if len(values) != length:
        raise ValueError(f"{key} must have {length} entries for as many levels as filters tells, got {len(values)}")
