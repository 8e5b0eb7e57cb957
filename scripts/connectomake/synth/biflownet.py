"""BiFlowNet: from noisy latents to the noise in them, by two flows.

Transformers see the latents one sub-volume at a time, for the detail; a U-Net, which they feed, sees all of them at
once. Both are told the noise's level, the class, and how large the volume is. The idea is that of 3D MedDiffusion (Wang
et al. 2025, arXiv 2412.13059), whose networks these are; a map as a condition and a class that means "any" are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import nn

from connectomake.config.settings.synth import SynthConfig
from connectomake.config.settings.synth_networks import DenoiserConfig
from connectomake.errors import ModelError
from connectomake.synth.transformer import IntraFlow, draw_linear, set_zero
from connectomake.synth.unet import InterFlow

PERIOD = 1e4  # of the slowest wave that tells the noise's level, over 2 pi (steps)
UNIT = 64  # latents that count as a size of 1


class BiFlowNet(nn.Module):
    """The denoiser.

    Parameters
    ----------
    cfg
        Settings.
    channels
        Numbers of a latent.
    classes
        Classes of volumes.
    condition_channels
        Of a map of voxels that is given with the latents; 0 = none.
    ratio_zyx
        Voxels of that map per latent along each axis, powers of two.
    null_class
        Whether there is a class more, of the number `classes`, which means "any".
    """

    def __init__(
        self,
        cfg: DenoiserConfig,
        channels: int,
        classes: int,
        condition_channels: int = 0,
        ratio_zyx: Sequence[int] = (1, 1, 1),
        null_class: bool = False,
    ) -> None:
        super().__init__()
        dim, width = cfg.dim, 4 * cfg.dim
        self.classes, self.dim, self.divisor = classes, dim, cfg.divisor
        self.time = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + null_class, width)
        self.size = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width))
        self.stem = nn.Conv3d(channels, dim, 3, padding=1)
        self.map = _read_map(condition_channels, dim, ratio_zyx) if condition_channels else None
        self.intra, self.inter = IntraFlow(cfg, channels, 2 * width), InterFlow(cfg, 2 * width)
        self.head = nn.Conv3d(dim, channels, 1)
        draw_linear(self)
        self.intra.reset()

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the noise in latents.

        Parameters
        ----------
        x
            (N, E, Z, Y, X) float32 latents with noise.
        t
            (N,) integers: the step of the diffusion.
        y
            (N,) integers: the class.
        condition
            (N, C, Z, Y, X) float32: the map, at the voxels' resolution.

        Returns
        -------
        Tensor
            (N, E, Z, Y, X).

        Raises
        ------
        ModelError
            The latents' sides cannot be cut and halved, or a map is missing or there is one too many.
        """
        self._check(x, condition)
        size = x.new_tensor(x.shape[2:]) / UNIT
        step_and_class = self.time(encode_steps(t, self.dim)) + self.label(y)
        embedding = torch.cat([step_and_class, self.size(size).expand_as(step_and_class)], 1)
        features = self.stem(x)
        if self.map is not None:
            features = features + self.map(condition)
        noise: torch.Tensor = self.head(self.inter(features, self.intra(x, embedding), embedding))
        return noise

    def _check(self, x: torch.Tensor, condition: torch.Tensor | None) -> None:
        if any(side % self.divisor for side in x.shape[2:]):
            raise ModelError(
                "the denoiser cannot take latents of this shape",
                expected=f"sides that are multiples of {self.divisor}",
                got=list(x.shape[2:]),
                hint="pad the volumes as SynthConfig.multiple_zyx_vx says before they are encoded",
            )
        if (condition is None) != (self.map is None):
            has, given = ("no" if missing is None else "a" for missing in (self.map, condition))
            raise ModelError("the denoiser's condition", expected=f"{has} map", got=f"{given} map")


def build_denoiser(cfg: SynthConfig, classes: int) -> BiFlowNet:
    """Build the denoiser that settings ask for, for so many classes, with random weights."""
    return BiFlowNet(
        cfg.denoiser,
        cfg.autoencoder.embedding,
        classes,
        condition_channels=int(cfg.labels.kind == "conditional"),
        ratio_zyx=cfg.autoencoder.ratio_zyx,
        null_class=cfg.diffusion.label_dropout > 0,
    )


def encode_steps(t: torch.Tensor, dim: int) -> torch.Tensor:
    """Return waves that tell steps of diffusion: (N,) to (N, dim) float32, first sines, then cosines, in [-1, 1]."""
    count = dim // 2
    powers = torch.arange(count, dtype=torch.float32, device=t.device) / (count - 1)
    angles = t[:, None].float() * torch.exp(-log(PERIOD) * powers)
    return torch.cat([angles.sin(), angles.cos()], 1)


def _read_map(channels: int, dim: int, ratio_zyx: Sequence[int]) -> nn.Module:
    """Make what brings a map to the latents' resolution; at first it says nothing."""
    halvings = [ratio.bit_length() - 1 for ratio in ratio_zyx]
    layers: list[nn.Module] = []
    for left in range(max(halvings), 0, -1):  # an axis that is halved less often is halved last
        z, y, x = (1 + (left <= count) for count in halvings)
        width = max(1, dim >> left)
        layers += [nn.Conv3d(channels, width, (z + 2, y + 2, x + 2), stride=(z, y, x), padding=1), nn.SiLU()]
        channels = width
    last = nn.Conv3d(channels, dim, 3, padding=1)
    set_zero(last)
    return nn.Sequential(*layers, last)
