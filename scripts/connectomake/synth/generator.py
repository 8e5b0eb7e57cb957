"""A trained generator: noise becomes latents, latents become a volume.

The idea is that of 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from connectomake.config.engine.fill_generated import GeneratedVolume
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.models.device import choose_device
from connectomake.synth.checkpoints import load_autoencoder, load_diffusion
from connectomake.synth.diffusion import Diffusion
from connectomake.synth.latents import Normalisation
from connectomake.synth.tiles import crop_to, pad_to_multiple


class Generator:
    """A trained generator.

    Parameters
    ----------
    autoencoder, diffusion
        The checkpoints model.ckpt of `autoencoder_stage2` and `train_diffusion`.
    cfg
        How volumes are made.

    Attributes
    ----------
    classes
        Names of the classes, in the order of their numbers.
    hashes
        Of the two checkpoints.

    Raises
    ------
    ModelError
        The diffusion model has learnt latents of another autoencoder.
    ConfigError
        It was trained with other settings of what makes volumes.
    """

    def __init__(self, autoencoder: Path, diffusion: Path, cfg: SynthConfig) -> None:
        self.cfg, self.device = cfg, choose_device(cfg.generate.device)
        self.autoencoder, own = load_autoencoder(autoencoder, self.device)
        self.denoiser, meta = load_diffusion(diffusion, self.device)
        if meta["autoencoder_hash"] != own["hash"]:
            raise ModelError(
                f"the diffusion model {diffusion} has learnt the latents of another autoencoder than {autoencoder}",
                expected=f"hash {meta['autoencoder_hash']}",
                got=own["hash"],
                hint="encode latents by this autoencoder and train the diffusion model again, or give the other one",
            )
        _check_settings(diffusion, SynthConfig.model_validate(meta["cfg"]), cfg)
        self.classes: list[str] = meta["classes"]
        self.hashes = {"autoencoder": own["hash"], "diffusion": meta["hash"]}
        self.normalisation = Normalisation.from_plain(meta["normalisation"])
        self.diffusion = Diffusion(cfg.diffusion.timesteps)

    @torch.inference_mode()
    def make(self, volume: GeneratedVolume, seed: int, condition: np.ndarray | None = None) -> np.ndarray:
        """Make a volume.

        Parameters
        ----------
        volume
            Its class and shape.
        seed
            Of its noise.
        condition
            (Z, Y, X) float32 distance map to make an image for, of the volume's shape.

        Returns
        -------
        ndarray
            (C, Z, Y, X) float32, about in [-1, 1]: the image, and where they are made together its distance map.

        Raises
        ------
        ModelError
            Some values are not finite.
        """
        cfg, ratio = self.cfg, self.cfg.autoencoder.ratio_zyx
        padded = [-(-n // m) * m for n, m in zip(volume.shape_zyx, cfg.multiple_zyx_vx, strict=True)]
        given = None
        if condition is not None:
            given = pad_to_multiple(torch.from_numpy(condition), cfg.multiple_zyx_vx)[None, None].to(self.device)
        own = torch.Generator().manual_seed(seed)
        sides = [n // r for n, r in zip(padded, ratio, strict=True)]
        noise = torch.randn((1, cfg.autoencoder.embedding, *sides), generator=own).to(self.device)
        y = torch.tensor([self.classes.index(volume.class_name)], device=self.device)
        clips = self.normalisation.clips
        drawn = self.diffusion.sample(self.denoiser, noise, y, given, cfg.generate, clips, [own])
        latents = self.autoencoder.quantise(self.normalisation.denormalise(drawn)).latents
        how = cfg.generate
        decoded = self.autoencoder.decode_in_tiles(latents, how.decode_zyx_vx, how.overlap)
        values: np.ndarray = crop_to(decoded, volume.shape_zyx)[0].cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError(
                f"some values of the generated volume {volume.name} are not finite",
                hint="look at the losses in diffusion/metrics.csv; train again with a lower learning rate",
            )
        return values


def _check_settings(path: Path, trained: SynthConfig, cfg: SynthConfig) -> None:
    """Reject settings that are not those of the training, as far as what is made depends on them.

    Raises
    ------
    ConfigError
        With the first that differs.
    """
    keys = ("autoencoder", "denoiser", "labels.kind", "labels.distance_nm", "diffusion.timesteps")
    for key in (*keys, "diffusion.label_dropout"):
        was, now = trained, cfg
        for part in key.split("."):
            was, now = getattr(was, part), getattr(now, part)
        if was != now:
            raise ConfigError(f"{path} was trained with another {key}", expected=was, got=now, hint="train it again")
