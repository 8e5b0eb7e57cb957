"""The discriminator, a 3-D PatchGAN, and the losses between it and the autoencoder.

Idea: VQ-GAN (Esser et al. 2021) and pix2pixHD (Wang et al. 2018), in three dimensions as in 3D MedDiffusion (Wang et
al. 2025). The network is MONAI's; its losses are not used, since they send logits through tanh and average over the
inner features too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import PatchDiscriminator
from torch import nn
from torch.nn import functional

from connectomake.config.settings.synth_networks import DiscriminatorConfig


def build_discriminator(cfg: DiscriminatorConfig, channels: int) -> nn.Module:
    """Make a network that tells real volumes from reconstructions.

    Parameters
    ----------
    cfg
        Sizes.
    channels
        Channels of a volume.

    Returns
    -------
    Module
        From (N, channels, Z, Y, X) to a list: the inner features, and as the last the logits, (N, 1, z, y, x).
    """
    return PatchDiscriminator(
        spatial_dims=3,
        channels=cfg.channels,
        in_channels=channels,
        num_layers_d=cfg.layers,
        norm="BATCH" if cfg.norm == "batch" else ("INSTANCE", {"affine": True}),
        bias=True,
        padding=cfg.padding,
    )


def adversarial_loss(seen_made: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the autoencoder's loss: it falls as the discriminator takes reconstructions for real.

    Parameters
    ----------
    seen_made
        What the discriminator returns for reconstructions.

    Returns
    -------
    Tensor
        A number: minus the mean logit.
    """
    return -seen_made[-1].mean()


def discriminator_loss(
    cfg: DiscriminatorConfig, seen_real: Sequence[torch.Tensor], seen_made: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the discriminator's own loss.

    Parameters
    ----------
    cfg
        Its kind: hinge or softplus.
    seen_real, seen_made
        What the discriminator returns for real volumes, and for reconstructions without their gradient.

    Returns
    -------
    Tensor
        A number: 1 (hinge) or 0.69 (softplus) where it cannot tell, 0 where it is sure and right.
    """
    fall = functional.softplus if cfg.loss == "softplus" else _hinge
    return 0.5 * (fall(-seen_real[-1]).mean() + fall(seen_made[-1]).mean())


def feature_loss(seen_real: Sequence[torch.Tensor], seen_made: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return how far the inner features of reconstructions are from those of real volumes.

    Parameters
    ----------
    seen_real, seen_made
        What the discriminator returns; no gradient goes to `seen_real`.

    Returns
    -------
    Tensor
        A number: the mean differences of the layers, summed.
    """
    pairs = zip(seen_made[:-1], seen_real[:-1], strict=True)
    return torch.stack([functional.l1_loss(made, real.detach()) for made, real in pairs]).sum()


def _hinge(logits: torch.Tensor) -> torch.Tensor:
    return functional.relu(1 + logits)
