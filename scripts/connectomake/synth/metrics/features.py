"""Volumes as vectors of features, by the autoencoder's own encoder or by MedicalNet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from connectomake.config.settings.synth import SynthMetricsConfig
from connectomake.errors import ConfigError
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.perceptual_networks import load_medicalnet
from connectomake.synth.tiles import tile, untile

BATCH = 8  # patches that are encoded at a time
HEAD = 2  # layers of the encoder behind its last block: norm and convolution


@dataclass(frozen=True)
class Encoded:
    """A volume as the networks see it.

    Parameters
    ----------
    z
        (1, E, z, y, x) float32, not quantised.
    features
        (F,) float64.
    """

    z: torch.Tensor
    features: np.ndarray


class FeatureReader:
    """Encodes volumes and gives their features: mean and standard deviation over all places of each map of a network.

    With ``features: encoder`` these are the maps that the autoencoder's last block gives, before its head. The distance
    of Frechet on them is called FD-AE; it is no FID, whose features are those of Inception, and numbers of different
    autoencoders cannot be compared. Means alone, as 3D MedDiffusion takes them, would hardly see textures that differ
    in contrast.

    Parameters
    ----------
    model
        The autoencoder, in evaluation mode.
    cfg
        Which features.

    Raises
    ------
    ConfigError
        The file of MedicalNet is missing or holds another network.
    """

    def __init__(self, model: PatchVolumeAutoencoder, cfg: SynthMetricsConfig) -> None:
        self.model, self.network = model, None
        if cfg.features == "medicalnet":
            if cfg.weights is None:
                raise ConfigError("metrics.features medicalnet needs metrics.weights: the path of a file")
            device = model.codebook.codes.device
            self.network = load_medicalnet(cfg.weights, "metrics.weights").to(device)
        self.name = "FD-AE" if self.network is None else "MedicalNet ResNet-10"

    def read(self, x: torch.Tensor) -> Encoded:
        """Encode a volume (1, C, Z, Y, X) in [-1, 1] whose sides are multiples of the patch.

        Memory is that of a few patches and of their latents; MedicalNet sees the whole image at once, so it needs 8
        floats for each voxel.
        """
        patch = self.model.cfg.patch_zyx_vx
        layers = list(self.model.encoder)
        body, head = nn.Sequential(*layers[:-HEAD]), nn.Sequential(*layers[-HEAD:], self.model.pre_quantise)
        latents, pooled = [], Pooled()
        with torch.inference_mode():
            for patches in tile(x, patch).split(BATCH):
                maps = body(patches)
                pooled.add(maps)
                latents.append(head(maps))
            if self.network is not None:
                image = x[:, :1]
                pooled = Pooled()
                pooled.add(self.network((image - image.mean()) / image.std().clamp_min(1e-6)))
            grid = [n // side for n, side in zip(x.shape[2:], patch, strict=True)]
            return Encoded(untile(torch.cat(latents), grid).float(), pooled.vector)


class Pooled:
    """Mean and standard deviation of maps over all that is added."""

    def __init__(self) -> None:
        self.count, self.sums, self.squares = 0, np.zeros(1), np.zeros(1)

    def add(self, maps: torch.Tensor) -> None:
        """Add maps (N, F, z, y, x)."""
        values = maps.movedim(1, 0).flatten(1).double()
        self.count += values.shape[1]
        self.sums = self.sums + values.sum(1).cpu().numpy()
        self.squares = self.squares + values.square().sum(1).cpu().numpy()

    @property
    def vector(self) -> np.ndarray:
        """Means, then standard deviations: (2F,) float64."""
        mean = self.sums / self.count
        return np.concatenate([mean, np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))])
