"""The outermost module of every network: sections and stem in front of its body, heads behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from connectomake.config.settings.train_network import HeadConfig, NetworkConfig
from connectomake.errors import ModelError
from connectomake.models.receptive_field import trace_body
from connectomake.models.stem import depth_from_space, space_from_depth

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


class Body(nn.Module):
    """What an architecture is: it turns (N, C, [Z,] Y, X) into a list of features, finest first.

    The first has the size of the input. Without deep supervision it is the only one; with it, the others are at whole
    fractions of the size. `widths` tells the channels of each.
    """

    widths: tuple[int, ...]

    def convert_state(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn a state dict of this body alone, as its original implementation has it, into names of `Network`."""
        return {f"body.{name}": value for name, value in state.items()}


class SingleScale(Body):
    """A body around a network that gives features at the size of its input only.

    Parameters
    ----------
    network
        From (N, C, ...) to (N, width, ...).
    width
        Channels of its features.
    """

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.widths = network, (width,)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features in a list of one."""
        return [self.network(x)]


class Head(nn.Module):
    """The last layers, from features to logits at one scale.

    Parameters
    ----------
    dimensions
        2 or 3.
    in_channels, out_channels
        Of features and logits.
    blocks, channels
        As in `HeadConfig`.
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, blocks: int = 0, channels: int | None = None
    ) -> None:
        super().__init__()
        width, convolution = channels or in_channels, CONVOLUTIONS[dimensions]
        self.refine = nn.Sequential() if width == in_channels else nn.Sequential(convolution(in_channels, width, 1))
        if blocks:
            from connectomake.models.blocks import ResidualBlock  # MONAI takes seconds, and few networks have these

            self.refine.extend(ResidualBlock(dimensions, width) for _ in range(blocks))
        self.map = convolution(width, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to (N, out_channels, ...)."""
        return self.map(self.refine(x))


class Network(nn.Module):
    """A body between what all networks share: sections, stem, heads, deep supervision.

    In training, a network with deep supervision gives a tuple of logits, finest first, at whole fractions of the
    patch; every other one, and every one in evaluation, gives a tensor.

    Parameters
    ----------
    body
        The architecture.
    cfg
        Its settings.
    in_channels, out_channels
        Of the volume, and of all targets together.
    targets_of_channels
        For each output channel the target that it belongs to; needed where `cfg.heads` are told.

    Raises
    ------
    ModelError
        The heads do not give each target once.
    """

    def __init__(
        self,
        body: Body,
        cfg: NetworkConfig,
        in_channels: int,
        out_channels: int,
        targets_of_channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.cfg, self.in_channels, self.out_channels, self.body = cfg, in_channels, out_channels, body
        heads = cfg.heads or (HeadConfig(targets=("all",), blocks=0),)
        groups = _group_channels(cfg, out_channels, targets_of_channels)
        depth = cfg.stem_factor**cfg.dimensions
        self.heads = nn.ModuleList(
            nn.ModuleList(Head(cfg.dimensions, w, len(g) * depth, h.blocks, h.channels) for w in body.widths)
            for h, g in zip(heads, groups, strict=True)
        )
        order = [channel for group in groups for channel in group]
        # Where the channels of each head follow those of the one before, there is nothing to reorder.
        self._places = None if order == sorted(order) else [order.index(channel) for channel in range(out_channels)]

    def forward(self, volume: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Map (N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X).

        Raises
        ------
        ModelError
            The sides are not what the architecture needs.
        """
        check_input(volume, self.in_channels, self.cfg)
        features = self.body(self.prepare(volume))
        if not self.training or len(features) == 1:
            return self._give_logits(0, features[0], len(volume))
        return tuple(self._give_logits(scale, x, len(volume)) for scale, x in enumerate(features))

    def prepare(self, volume: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, Z, Y, X) into what the body takes: sections in 2-D, fewer voxels with more channels by a stem."""
        if self.cfg.dimensions == 2:
            volume = volume.transpose(1, 2).flatten(0, 1)
        return volume if self.cfg.stem_factor == 1 else depth_from_space(volume, self.cfg.stem_factor)

    def get_model_info(self) -> dict[str, Any]:
        """Return what the network is, as plain data.

        Returns
        -------
        dict
            ``architecture``, ``dimensions``, ``in_channels``, ``out_channels``, ``parameters``, ``trainable`` (of
            them), ``parts`` (name -> parameters), ``scales_zyx`` (of the outputs in training: 1 = the patch, 2 = half
            of it), ``divisor_zyx`` (of patches, in voxels), ``smallest_patch_zyx`` (in voxels), and
            ``receptive_field_zyx``: how many voxels an output voxel sees at most, norms and other means over the
            patch aside; None = the whole patch (attention).
        """
        trace = trace_body(self)
        counts = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return {
            "architecture": self.cfg.architecture,
            "dimensions": self.cfg.dimensions,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "parameters": sum(count for count, _ in counts),
            "trainable": sum(count for count, learns in counts if learns),
            "parts": self._count_parts(),
            "scales_zyx": [list(scale) for scale in trace.scales_zyx],
            "divisor_zyx": list(self.cfg.divisor_zyx),
            "smallest_patch_zyx": list(self.cfg.smallest_patch_zyx),
            "receptive_field_zyx": None if trace.field_zyx is None else list(trace.field_zyx),
        }

    def _give_logits(self, scale: int, features: torch.Tensor, batch: int) -> torch.Tensor:
        """Apply every head at one scale, and undo stem and sections."""
        parts = []
        for head in self.heads:
            logits = head[scale](features)  # type: ignore[index]
            parts.append(logits if self.cfg.stem_factor == 1 else space_from_depth(logits, self.cfg.stem_factor))
        merged = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if self._places is not None:
            merged = merged[:, self._places]
        return merged if self.cfg.dimensions == 3 else merged.unflatten(0, (batch, -1)).transpose(1, 2)

    def _count_parts(self) -> dict[str, int]:
        """Count the parameters of the parts of the body, and of the heads."""
        inner = self.body.network if isinstance(self.body, SingleScale) else self.body
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in inner.named_children()}
        counts["heads"] = sum(p.numel() for p in self.heads.parameters())
        return {name: count for name, count in counts.items() if count}


def _group_channels(cfg: NetworkConfig, out_channels: int, targets_of_channels: Sequence[str]) -> list[list[int]]:
    """Return the channels of each head."""
    if not cfg.heads:
        return [list(range(out_channels))]
    if len(targets_of_channels) != out_channels:
        raise ModelError(
            "separate heads need to know the target of each channel",
            expected=f"{out_channels} names",
            got=list(targets_of_channels),
        )
    try:
        cfg.check_heads(targets_of_channels)
    except ValueError as error:
        raise ModelError(str(error)) from None
    return [[c for c, target in enumerate(targets_of_channels) if target in head.targets] for head in cfg.heads]


def check_input(volume: torch.Tensor, in_channels: int, cfg: NetworkConfig) -> None:
    """Reject an input that a network cannot take.

    Parameters
    ----------
    volume
        The input.
    in_channels
        What it should have.
    cfg
        The settings of the network.

    Raises
    ------
    ModelError
        It is not (N, in_channels, Z, Y, X), or its sides do not suit the network.
    """
    if volume.ndim != 5 or volume.shape[1] != in_channels:
        raise ModelError(
            f"{cfg.architecture} cannot take this input",
            expected=f"(N, {in_channels}, Z, Y, X)",
            got=tuple(volume.shape),
        )
    try:
        cfg.check_patch(volume.shape[2:])
    except ValueError as error:
        raise ModelError(f"an input of {error}") from None
