"""The codebook: latents become the nearest of a fixed number of codes, which follow the latents by a moving average.

Idea: VQ-VAE (van den Oord et al. 2017) with data initialisation and restarts, as in 3D MedDiffusion (Wang et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from connectomake.config.settings.synth_networks import AutoencoderConfig

EPSILON = 1e-7  # of Laplace's smoothing: a code that nothing uses is not divided by 0
SPREAD = 0.01  # noise, over the root of a code's length, that tells codes apart that start at the same latent
CHUNK = 2**24  # distances that are held at a time: 64 MB


@dataclass(frozen=True)
class Quantised:
    """Latents as codes.

    Parameters
    ----------
    codes
        (N, z, y, x) int64: which code each latent is nearest to.
    latents
        (N, E, z, y, x): those codes; gradients pass through to what was quantised (straight-through).
    commitment
        How far the latents are from their codes, weighted: a term of the loss.
    perplexity
        How many codes are in use in this batch, if they were used evenly.
    """

    codes: torch.Tensor
    latents: torch.Tensor
    commitment: torch.Tensor
    perplexity: torch.Tensor


class Codebook(nn.Module):
    """`cfg.codes` codes of `cfg.embedding` numbers; all its state is in buffers, so that a resumed training goes on.

    In training each forward moves the codes: they are the moving average of the latents nearest to them. The first
    forward starts them at latents; codes that are hardly used start anew at latents of the batch. What is drawn depends
    on the number of forwards alone. With several processes all have the same codes.
    """

    codes: torch.Tensor
    counts: torch.Tensor
    sums: torch.Tensor
    updates: torch.Tensor

    def __init__(self, cfg: AutoencoderConfig) -> None:
        super().__init__()
        self.decay, self.restart_below, self.weight = cfg.code_decay, cfg.restart_below, cfg.commitment
        self.register_buffer("codes", torch.zeros(cfg.codes, cfg.embedding))
        self.register_buffer("counts", torch.zeros(cfg.codes))
        self.register_buffer("sums", torch.zeros(cfg.codes, cfg.embedding))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, z: torch.Tensor) -> Quantised:
        """Quantise latents (N, E, z, y, x), and in training learn from them."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            vectors = z.detach().movedim(1, -1).flatten(0, -2)
            if self.training and not self.updates:
                self._start(vectors)
            found = self.find(vectors)
            codes = found.view(z.shape[0], *z.shape[2:])
            near = self.look_up(codes)
            used = torch.bincount(found, minlength=len(self.codes)).float()
            if self.training:
                self._follow(vectors, found, used)
            latents = z + (near - z).detach() if z.requires_grad else near
            return Quantised(codes, latents, self.weight * functional.mse_loss(z, near), _perplexity(used))

    def find(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the nearest code of each vector.

        Parameters
        ----------
        vectors
            (V, E) float32.

        Returns
        -------
        Tensor
            (V,) int64. The distances to all codes are held for a few vectors at a time: 64 MB.
        """
        lengths, size = self.codes.square().sum(1), max(1, CHUNK // len(self.codes))
        return torch.cat([torch.addmm(lengths, v, self.codes.T, alpha=-2).argmin(1) for v in vectors.split(size)])

    def look_up(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the latents (N, E, z, y, x) of codes (N, z, y, x) int64."""
        return functional.embedding(codes, self.codes).movedim(-1, 1).contiguous()

    def _start(self, vectors: torch.Tensor) -> None:
        """Start the codes at latents."""
        self.codes.copy_(self._draw(vectors))
        self.sums.copy_(self.codes)
        self.counts.fill_(1)

    def _follow(self, vectors: torch.Tensor, found: torch.Tensor, used: torch.Tensor) -> None:
        """Move the codes towards the latents nearest to them; start those anew that are hardly used."""
        used, sums = used.clone(), torch.zeros_like(self.sums).index_add_(0, found, vectors)
        for value in (used, sums):
            if dist.is_initialized():
                dist.all_reduce(value)
        self.counts.lerp_(used, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + EPSILON) / (total + len(self.codes) * EPSILON) * total
        codes = self.sums / smoothed[:, None]
        if self.restart_below:
            codes = torch.where(self.counts[:, None] < self.restart_below, self._draw(vectors), codes)
        self.codes.copy_(codes)
        self.updates += 1

    def _draw(self, vectors: torch.Tensor) -> torch.Tensor:
        """Draw a latent for each code: of the first process, for all."""
        count, length = self.codes.shape
        generator = torch.Generator().manual_seed(int(self.updates))
        order = torch.randperm(len(vectors), generator=generator)[:count]
        drawn = vectors[order.repeat(-(-count // len(order)))[:count].to(vectors.device)]
        if len(order) < count:
            drawn = drawn + SPREAD / length**0.5 * torch.randn(drawn.shape, generator=generator).to(drawn)
        if dist.is_initialized():
            dist.broadcast(drawn, 0)
        return drawn


def _perplexity(used: torch.Tensor) -> torch.Tensor:
    share = used / used.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())
