"""The inter-patch flow of BiFlowNet: a U-Net over all latents, whose widest levels the transformers feed.

The idea is that of 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from connectomake.config.settings.synth_networks import DenoiserConfig
from connectomake.synth.transformer import attend

EPS = 1e-5


class InterFlow(nn.Module):
    """A U-Net over all latents.

    Parameters
    ----------
    cfg
        Settings.
    condition
        Numbers of the condition.
    """

    def __init__(self, cfg: DenoiserConfig, condition: int) -> None:
        super().__init__()
        self.fused = cfg.fused
        sides = list(pairwise(cfg.dim * mult for mult in (1, *cfg.mults)))
        halved = [cfg.fused - 1 <= level < len(sides) - 1 for level in range(len(sides))]
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        for n, (i, o) in enumerate(sides):
            rest = (cfg, condition, cfg.attention[n])
            self.down.extend([_Step(i, o, *rest), _Step(o, o, *rest)])
            self.shrink.append(nn.Conv3d(o, o, 4, stride=2, padding=1) if halved[n] else nn.Identity())
        for n, (i, o) in reversed(list(enumerate(sides))):
            rest = (cfg, condition, cfg.attention[n])
            self.up.extend([_Step(2 * o, o, *rest), _Step(2 * o, i, *rest)])
            grows = n > 0 and halved[n - 1]
            self.grow.append(nn.ConvTranspose3d(i, i, 4, stride=2, padding=1) if grows else nn.Identity())
        lowest = sides[-1][1]
        self.middle = nn.ModuleList(_Step(lowest, lowest, cfg, condition, attends) for attends in (True, False))
        self.join = _Residual(2 * cfg.dim, cfg.dim, cfg.groups)

    def forward(self, x: torch.Tensor, features: Sequence[torch.Tensor], condition: torch.Tensor) -> torch.Tensor:
        """Map latents to latents.

        Parameters
        ----------
        x
            (N, dim, Z, Y, X), sides multiples of what is halved.
        features
            (N, dim, Z, Y, X): one for each of the first levels on the way down, and of the last ones on the way up.
        condition
            (N, C).

        Returns
        -------
        Tensor
            (N, dim, Z, Y, X).
        """
        stem, kept = x, []
        for n, shrink in enumerate(self.shrink):
            x = x + features[n] if n < self.fused else x
            for step in self.down[2 * n : 2 * n + 2]:
                x = step(x, condition)
                kept.append(x)
            x = shrink(x)
        for step in self.middle:
            x = step(x, condition)
        for n, grow in enumerate(self.grow):
            left = len(self.grow) - n
            x = x + features[2 * self.fused - left] if left <= self.fused else x
            for step in self.up[2 * n : 2 * n + 2]:
                x = step(torch.cat([x, kept.pop()], 1), condition)
            x = grow(x)
        return self.join(torch.cat([x, stem], 1))


class _Step(nn.Module):
    """A residual, and attention where the level has it."""

    def __init__(self, in_channels: int, out_channels: int, cfg: DenoiserConfig, condition: int, attends: bool) -> None:
        super().__init__()
        self.residual = _Residual(in_channels, out_channels, cfg.groups, condition)
        self.attention = _Attention(out_channels, cfg) if attends else nn.Identity()

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to as many voxels, given (N, C)."""
        return self.attention(self.residual(x, condition))


class _Residual(nn.Module):
    """Two convolutions with a shortcut; the condition, if there is one, shifts and scales what the first gives."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, condition: int = 0) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv3d(i, out_channels, 3, padding=1) for i in (in_channels, out_channels))
        self.norm1, self.norm2 = (nn.GroupNorm(groups, out_channels, eps=EPS) for _ in range(2))
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * out_channels)) if condition else None
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to as many voxels, given (N, C)."""
        seen = self.norm1(self.conv1(x))
        if self.modulate is not None:
            scale, shift = self.modulate(condition)[..., None, None, None].chunk(2, 1)
            seen = seen * (1 + scale) + shift
        seen = self.norm2(self.conv2(nn.functional.silu(seen)))
        return nn.functional.silu(seen) + self.shortcut(x)


class _Attention(nn.Module):
    """Every voxel looks at all others."""

    def __init__(self, channels: int, cfg: DenoiserConfig) -> None:
        super().__init__()
        self.heads, inner = cfg.heads, cfg.heads * cfg.head_channels
        self.norm = nn.LayerNorm(channels, eps=EPS, bias=False)
        self.qkv = nn.Linear(channels, 3 * inner, bias=False)
        self.project = nn.Conv3d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        q, k, v = self.qkv(self.norm(x.flatten(2).transpose(1, 2))).chunk(3, 2)
        seen = attend(q, k, v, self.heads).transpose(1, 2)
        return x + self.project(seen.unflatten(2, x.shape[2:]))
