"""The PatchVolume autoencoder: it encodes a volume patch by patch, and decodes it as a whole.

Idea: 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059): the encoder sees one patch at a time, so it learns from
small random patches; a second stage trains the decoder alone on whole volumes, and the seams between patches go.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import torch
from torch import nn

from connectomake.config.settings.synth_networks import AutoencoderConfig
from connectomake.models.checkpoint import hash_network
from connectomake.synth.blocks import Attention, NormActivation, Residual, double, halve
from connectomake.synth.codebook import Codebook, Quantised
from connectomake.synth.tiles import crop_to, decode_in_tiles, pad_to_multiple, tile, untile


class PatchVolumeAutoencoder(nn.Module):
    """From volumes to latents and back.

    Parameters
    ----------
    cfg
        Sizes.
    channels
        Channels of a volume.

    Attributes
    ----------
    encoder, pre_quantise
        From a patch to its latents.
    codebook
        From latents to the nearest codes.
    post_quantise, decoder
        From codes to a volume of any size.
    """

    def __init__(self, cfg: AutoencoderConfig, channels: int) -> None:
        super().__init__()
        self.cfg, self.channels, self.frozen = cfg, channels, False
        self.encoder = _make_encoder(cfg, channels)
        self.pre_quantise = nn.Conv3d(cfg.embedding, cfg.embedding, 1)
        self.codebook = Codebook(cfg)
        self.post_quantise = nn.Conv3d(cfg.embedding, cfg.embedding, 1)
        self.decoder = _make_decoder(cfg, channels)

    def encode(self, x: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Encode volumes, each patch by itself.

        Parameters
        ----------
        x
            (N, C, Z, Y, X) in [-1, 1]; sides are multiples of the patch.
        batch
            Patches at a time; None = all.

        Returns
        -------
        Tensor
            (N, E, Z/rz, Y/ry, X/rx), not quantised.

        Raises
        ------
        ModelError
            A side is no multiple of the patch.
        """
        patches = tile(x, self.cfg.patch_zyx_vx)
        latents = torch.cat([self.pre_quantise(self.encoder(p)) for p in patches.split(batch or len(patches))])
        return untile(latents, [n // side for n, side in zip(x.shape[2:], self.cfg.patch_zyx_vx, strict=True)])

    def quantise(self, z: torch.Tensor) -> Quantised:
        """Return the codes nearest to latents (N, E, z, y, x); in training the codebook learns from them."""
        return self.codebook(z)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode quantised latents (N, E, z, y, x) as a whole, to (N, C, Z, Y, X) of about [-1, 1].

        Memory without gradients, beside weights and what convolutions need for themselves: 5 maps of `cfg.hidden`
        channels at full resolution, or 5 * 48 * 4 bytes = 1 kB per voxel for 3D MedDiffusion: 16 GB for 256^3.
        """
        return self.decoder(self.post_quantise(latents))

    def decode_in_tiles(
        self, latents: torch.Tensor, tile_zyx_vx: tuple[int, int, int] | None, overlap: float
    ) -> torch.Tensor:
        """Decode as `decode` does, but the full resolution, which takes most of the memory, in tiles that are blended.

        All below it is decoded as a whole, so that attention and all norms but those of the last level see everything;
        tiles that are decoded from latents to voxels by themselves differ far more from the whole.

        Memory is a quarter of that of `decode`, 4 GB for 256^3, or that of a tile, if it is more.

        Parameters
        ----------
        latents
            (N, E, z, y, x), quantised.
        tile_zyx_vx
            Part that is decoded at once (voxels); None = all.
        overlap
            Share of a tile that overlaps the next, in [0, 1).

        Returns
        -------
        Tensor
            (N, C, Z, Y, X) float32.
        """
        if tile_zyx_vx is None:
            return self.decode(latents).float()
        doubling = [(k, layer) for k, layer in enumerate(self.decoder) if isinstance(layer, nn.ConvTranspose3d)]
        place, last = doubling[-1]
        half = self.decoder[:place](self.post_quantise(latents))
        return decode_in_tiles(self.decoder[place:], half, last.stride, tile_zyx_vx, overlap)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Encode, quantise and decode volumes (N, C, Z, Y, X) of any size, padded in between."""
        padded = pad_to_multiple(x, self.cfg.patch_zyx_vx)
        return crop_to(self.decode(self.quantise(self.encode(padded)).latents), x.shape[2:])

    def freeze_encoder(self) -> None:
        """Keep encoder and codebook as they are from now on: no gradients, no updates, whatever `train` is told."""
        self.frozen = True
        for part in self._encoding.values():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but not of what is frozen."""
        super().train(mode)
        if self.frozen:
            for part in self._encoding.values():
                part.eval()
        return self

    def frozen_hash(self) -> str:
        """Return the SHA-256 of encoder, pre_quantise and codebook, which the second stage must not change."""
        weights = {
            f"{name}.{key}": value.cpu()
            for name, part in self._encoding.items()
            for key, value in part.state_dict().items()
        }
        return hash_network(weights, {})

    @property
    def _encoding(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "pre_quantise": self.pre_quantise, "codebook": self.codebook}


def _make_encoder(cfg: AutoencoderConfig, channels: int) -> nn.Sequential:
    """Make the path from (N, channels, ...) to (N, embedding, ...) at the resolution of latents."""
    sizes, halved = _levels(cfg)
    layers: list[nn.Module] = [nn.Conv3d(channels, cfg.hidden, 3, padding=1)]
    for level, (size_in, size_out) in enumerate(pairwise([cfg.hidden, *sizes])):
        layers += [Residual(size_in, size_out, cfg.groups), Residual(size_out, size_out, cfg.groups)]
        if level < len(halved):
            layers.append(halve(size_out, halved[level]))
    return nn.Sequential(*layers, *_make_middle(cfg, sizes[-1]), *_make_head(cfg, sizes[-1], cfg.embedding))


def _make_decoder(cfg: AutoencoderConfig, channels: int) -> nn.Sequential:
    """Make the path from (N, embedding, ...) to (N, channels, ...) at the resolution of voxels."""
    sizes, halved = _levels(cfg)
    sizes, doubled = sizes[::-1], halved[::-1]
    layers: list[nn.Module] = [nn.Conv3d(cfg.embedding, sizes[0], 3, padding=1), *_make_middle(cfg, sizes[0])]
    for level, (size_in, size_out) in enumerate(pairwise([sizes[0], *sizes])):
        layers += [Residual(size_in, size_out, cfg.groups), Residual(size_out, size_out, cfg.groups)]
        if level < len(doubled):
            layers.append(double(size_out, doubled[level]))
    return nn.Sequential(*layers, *_make_head(cfg, sizes[-1], channels))


def _levels(cfg: AutoencoderConfig) -> tuple[list[int], list[tuple[bool, bool, bool]]]:
    """Return the channels of each level, finest first, and which axes are halved after each but the last.

    An axis that is halved less often than others stays at the finer levels: thick sections become isotropic first.
    """
    count = max(cfg.halvings_zyx)
    sizes = [cfg.hidden * 2**level for level in range(count)]
    z, y, x = cfg.halvings_zyx
    halved = [(level >= count - z, level >= count - y, level >= count - x) for level in range(count)]
    return [*sizes, sizes[-1]], halved


def _make_middle(cfg: AutoencoderConfig, size: int) -> list[nn.Module]:
    """Make the blocks at the resolution of latents, where each sees all others."""
    attention = Attention(size, cfg.groups, cfg.heads, cfg.head_channels)
    return [Residual(size, size, cfg.groups), attention, Residual(size, size, cfg.groups)]


def _make_head(cfg: AutoencoderConfig, size: int, channels: int) -> list[nn.Module]:
    """Make the last layers, which give the output."""
    return [NormActivation(size, cfg.groups), nn.Conv3d(size, channels, 3, padding=1)]
