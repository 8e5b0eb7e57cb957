"""Gaussian diffusion: noise is added to latents step by step, and taken away again by a network that predicts it.

Cosine schedule as in Nichol & Dhariwal 2021, as 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059) has it; samplers
of Ho et al. 2020 (DDPM) and Song et al. 2021 (DDIM).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from connectomake.config.settings.synth import GenerateConfig
from connectomake.synth.biflownet import BiFlowNet

OFFSET = 0.008  # of the cosine, so that the first steps add noise at all
LARGEST_BETA = 0.9999
# Latents known to lie in [-1, 1] stay there; others within so many standard deviations. At the first of 1000 steps the
# signal is 1.6e-5: what the network is wrong by, divided by that, would flood whatever follows.
CLIPPED, UNCLIPPED = 1.0, 5.0


class Diffusion:
    """Latents with noise, and back.

    Parameters
    ----------
    timesteps
        Steps from latents to noise.

    Attributes
    ----------
    alphas_cumprod
        (timesteps,) float64: after each step, the share of the variance that is still signal.
    """

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.alphas_cumprod = (1 - cosine_betas(timesteps)).cumprod(0)

    def add_noise(self, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return latents (N, E, Z, Y, X) after t (N,) steps, with noise of the same shape."""
        alpha_bar = self.alphas_cumprod[t.cpu()].to(x0.device)[:, None, None, None, None]
        return alpha_bar.sqrt().to(x0) * x0 + (1 - alpha_bar).sqrt().to(x0) * noise

    def loss(
        self,
        model: nn.Module,
        x0: torch.Tensor,
        y: torch.Tensor,
        condition: torch.Tensor | None,
        generator: torch.Generator,
        kind: Literal["l1", "l2"] = "l1",
    ) -> torch.Tensor:
        """Return how far the noise that a network predicts is from the noise added, at steps drawn alike.

        Parameters
        ----------
        model
            As `BiFlowNet`.
        x0
            (N, E, Z, Y, X) float32 latents.
        y
            (N,) integers: their classes.
        condition
            As of `BiFlowNet`.
        generator
            Draws steps and noise, on the CPU: the same for every device.
        kind
            Mean of the differences, or of their squares.
        """
        t = torch.randint(self.timesteps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator).to(x0.device)
        noise_prediction = model(self.add_noise(x0, t, noise), t.to(x0.device), y, condition)
        return (functional.l1_loss if kind == "l1" else functional.mse_loss)(noise_prediction, noise)

    @torch.no_grad()
    def sample(
        self,
        model: BiFlowNet,
        noise: torch.Tensor,
        y: torch.Tensor,
        condition: torch.Tensor | None,
        cfg: GenerateConfig,
        clip: bool,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Make latents of noise. Each is a function of its own noise and generator alone, whatever the batch.

        Parameters
        ----------
        model
            The denoiser; with guidance, one that knows the class "any".
        noise
            (N, E, Z, Y, X) float32, normal.
        y
            (N,) integers: the classes.
        condition
            As of `BiFlowNet`.
        cfg
            `sampler`, `steps` (a divisor of `timesteps`), `eta`, `guidance`.
        clip
            Whether latents are known to lie in [-1, 1].
        generators
            One for each sample, on the CPU: what ddpm, or ddim with eta, adds.

        Returns
        -------
        Tensor
            (N, E, Z, Y, X) float32.
        """
        # With all steps and all noise, the step of ddim is that of ddpm.
        steps, eta = (self.timesteps, 1.0) if cfg.sampler == "ddpm" else (cfg.steps, cfg.eta)
        limit = CLIPPED if clip else UNCLIPPED
        stride, x = self.timesteps // steps, noise
        for t in range(self.timesteps - 1, -1, -stride):
            noise_prediction = predict_noise(model, x, torch.full_like(y, t), y, condition, cfg.guidance)
            x = self.step(x, noise_prediction, t, t - stride, limit, eta, generators)
        return x

    def step(
        self,
        x: torch.Tensor,
        noise_prediction: torch.Tensor,
        t: int,
        next_t: int,
        limit: float,
        eta: float,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Take noise away from latents.

        Parameters
        ----------
        x
            (N, E, Z, Y, X) float32 latents after step t.
        noise_prediction
            The noise in them, of the same shape.
        t, next_t
            The step that they are at, and the one to go back to; below 0 = no noise at all.
        limit
            Latents without noise are clipped to [-limit, limit].
        eta
            Share of ddpm's noise that is added.
        generators
            One for each sample, on the CPU, which draw that noise.
        """
        alpha_bar, alpha_bar_next = (
            float(self.alphas_cumprod[t]),
            float(self.alphas_cumprod[next_t]) if next_t >= 0 else 1.0,
        )
        x0 = ((x - (1 - alpha_bar) ** 0.5 * noise_prediction) / alpha_bar**0.5).clamp(-limit, limit)
        noise_prediction = (x - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5  # what fits x0 as it was clipped
        added = eta**2 * (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
        x = alpha_bar_next**0.5 * x0 + max(0.0, 1 - alpha_bar_next - added) ** 0.5 * noise_prediction
        if added:
            fresh = [torch.randn(x.shape[1:], generator=generator) for generator in generators]
            x = x + added**0.5 * torch.stack(fresh).to(x)
        return x


def predict_noise(
    model: BiFlowNet,
    x: torch.Tensor,
    t: torch.Tensor,
    y: torch.Tensor,
    condition: torch.Tensor | None,
    guidance: float,
) -> torch.Tensor:
    """Return the noise that a network predicts; with guidance (Ho & Salimans 2022), away from that without a class."""
    noise_prediction: torch.Tensor = model(x, t, y, condition)
    if guidance == 1:
        return noise_prediction
    plain = model(x, t, torch.full_like(y, model.classes), condition)
    return plain + guidance * (noise_prediction - plain)


def cosine_betas(timesteps: int) -> torch.Tensor:
    """Return the share of the variance that each step replaces by noise: (timesteps,) float64, in (0, 0.9999]."""
    places = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64, device="cpu")
    alphas_cumprod = torch.cos((places + OFFSET) / (1 + OFFSET) * pi / 2) ** 2
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=LARGEST_BETA)
