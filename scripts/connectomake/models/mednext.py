"""MedNeXt v1 (Roy et al. 2023, MICCAI), equal to the original implementation weight for weight.

The body carries the original's names, so that its state dicts load (`convert_original_state`). MONAI's MedNeXt is no
substitute: in its sizes B, M and L the first two downsampling blocks expand by other factors than the original's, it
has no response normalisation on the way down, and no checkpointing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from connectomake.config.settings.train_architectures import MedNextConfig, MedNextCustomConfig
from connectomake.models.network import CONVOLUTIONS, TRANSPOSED, Body
from connectomake.models.registry import register_architecture

LEVELS = 4
_DEEP = (2, 3, 4, 4, 4, 4, 4, 3, 2)
# Per size: blocks at the nine positions (encoder 0-3, bottleneck, decoder 3-0), and how much they expand the channels.
SIZES = {
    "S": ((2,) * 9, (2,) * 9),
    "B": ((2,) * 9, _DEEP),
    "M": ((3, 4, 4, 4, 4, 4, 4, 4, 3), _DEEP),
    "L": ((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


@register_architecture("mednext")
def build_mednext(cfg: MedNextConfig, in_channels: int) -> Body:
    """Build one of the four sizes; sides must be multiples of 16."""
    return MedNext(cfg, in_channels, *SIZES[cfg.size])


@register_architecture("mednext_custom")
def build_custom_mednext(cfg: MedNextCustomConfig, in_channels: int) -> Body:
    """Build a MedNeXt of any size; sides must be multiples of 16."""
    expansions = (cfg.expansions,) * 9 if isinstance(cfg.expansions, int) else cfg.expansions
    return MedNext(cfg, in_channels, cfg.blocks, expansions)


class MedNext(Body):
    """A U-Net of four levels and a bottleneck made of ConvNeXt blocks, with additive skips.

    Parameters
    ----------
    cfg
        Channels of the finest level, kernel, and options.
    in_channels
        Of the input.
    blocks, expansions
        For the nine positions: encoder 0 to 3, bottleneck, decoder 3 to 0.
    """

    def __init__(
        self,
        cfg: MedNextConfig | MedNextCustomConfig,
        in_channels: int,
        blocks: Sequence[int],
        expansions: Sequence[int],
    ) -> None:
        super().__init__()
        axes, kernel = cfg.dimensions, cfg.kernel_size
        self.checkpointing = cfg.gradient_checkpointing
        widths = [cfg.filters * 2**level for level in range(LEVELS + 1)]
        self.widths = tuple(widths if cfg.deep_supervision else widths[:1])

        def stage(position: int, width: int) -> nn.Sequential:
            chain = (Block(axes, width, width, expansions[position], kernel, cfg.grn) for _ in range(blocks[position]))
            return nn.Sequential(*chain)

        self.stem = CONVOLUTIONS[axes](in_channels, cfg.filters, 1)
        for level, (fine, coarse) in enumerate(pairwise(widths)):
            # Positions 8, 7, 6, 5 belong to decoder levels 0, 1, 2, 3. The original's first downsampling has no GRN.
            down, up = level + 1, 2 * LEVELS - level
            self.add_module(f"enc_block_{level}", stage(level, fine))
            self.add_module(
                f"down_{level}", DownBlock(axes, fine, coarse, expansions[down], kernel, cfg.grn and level > 0)
            )
            self.add_module(f"up_{level}", UpBlock(axes, coarse, fine, expansions[up], kernel, cfg.grn))
            self.add_module(f"dec_block_{level}", stage(up, fine))
        self.bottleneck = stage(LEVELS, widths[-1])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (N, C, [Z,] Y, X) to features, finest first."""
        x = self.stem(x)
        skips = []
        for level in range(LEVELS):
            skips.append(self._run(f"enc_block_{level}", x))
            x = self._run(f"down_{level}", skips[-1])
        features = [self._run("bottleneck", x)]
        for level in reversed(range(LEVELS)):
            x = skips[level] + self._run(f"up_{level}", features[0])
            features.insert(0, self._run(f"dec_block_{level}", x))
        return features[: len(self.widths)]

    def convert_state(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn a state dict of the original implementation (and of BANIS) into names of `Network`."""
        return convert_original_state(state, len(self.widths))

    def _run(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Run a block, or a stage block by block; with checkpointing, only what lies between blocks is kept."""
        part = self.get_submodule(name)
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return part(x)
        for block in part if isinstance(part, nn.Sequential) else [part]:
            x = checkpoint(block, x, use_reentrant=False)
        return x


class Block(nn.Module):
    """Depthwise convolution, norm, expansion, GELU, compression; plus the input.

    Parameters
    ----------
    dimensions
        2 or 3.
    in_channels, out_channels
        Of input and output.
    expansion
        Channels inside, as a multiple of `in_channels`.
    kernel_size
        Of the depthwise convolution, odd.
    grn
        Normalise the response of each channel by that of all (ConvNeXt V2, Woo et al. 2023).
    """

    depthwise: Mapping[int, Callable[..., nn.Module]] = CONVOLUTIONS
    stride = 1

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, expansion: int, kernel_size: int, grn: bool
    ) -> None:
        super().__init__()
        pointwise, inside = CONVOLUTIONS[dimensions], expansion * in_channels
        depthwise = self.depthwise[dimensions]
        self.conv1 = depthwise(
            in_channels, in_channels, kernel_size, stride=self.stride, padding=kernel_size // 2, groups=in_channels
        )
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = pointwise(in_channels, inside, 1)
        self.conv3 = pointwise(inside, out_channels, 1)
        self.grn = grn
        if grn:
            shape = (1, inside, *[1] * dimensions)
            self.grn_gamma, self.grn_beta = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
        if self.stride > 1:
            self.res_conv = depthwise(in_channels, out_channels, 1, stride=self.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to the same shape."""
        return x + self.transform(x)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is added to the input."""
        x = functional.gelu(self.conv2(self.norm(self.conv1(x))))
        return self.conv3(self.normalise_response(x) if self.grn else x)

    def normalise_response(self, x: torch.Tensor) -> torch.Tensor:
        """Strengthen the channels that respond more than the others do."""
        strength = torch.linalg.vector_norm(x, dim=tuple(range(2, x.ndim)), keepdim=True)
        relative = strength / (strength.mean(dim=1, keepdim=True) + 1e-6)
        return self.grn_gamma * (x * relative) + self.grn_beta + x


class DownBlock(Block):
    """A block that halves the resolution."""

    stride = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to (N, out_channels, ...) of half the sides."""
        return self.transform(x) + self.res_conv(x)


class UpBlock(Block):
    """A block that doubles the resolution; the voxel that transposed convolutions lack is put in front of each axis."""

    depthwise = TRANSPOSED
    stride = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to (N, out_channels, ...) of twice the sides."""
        front = (1, 0) * (x.ndim - 2)
        return functional.pad(self.transform(x), front) + functional.pad(self.res_conv(x), front)


def convert_original_state(state: Mapping[str, torch.Tensor], scales: int) -> dict[str, torch.Tensor]:
    """Turn a state dict of the original implementation (and of BANIS) into one of `Network` with a single head.

    Parameters
    ----------
    state
        Name -> tensor, without a prefix. Last layers are transposed convolutions there, of kernels of one voxel.
    scales
        Outputs of the network: last layers of coarser ones are left out, as is the original's unused `dummy_tensor`.

    Returns
    -------
    dict
        Name -> tensor.
    """
    converted = {}
    for name, value in state.items():
        if name.startswith("out_"):
            scale, _, kind = name.removeprefix("out_").partition(".conv_out.")
            if int(scale) < scales:
                converted[f"heads.0.{scale}.map.{kind}"] = value.transpose(0, 1) if kind == "weight" else value
        elif name != "dummy_tensor":
            converted[f"body.{name}"] = value
    return converted
