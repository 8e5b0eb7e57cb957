"""How well an autoencoder reconstructs volumes, and whether the borders of its patches can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from monai.metrics import PSNRMetric, SSIMMetric

RANGE = 2.0  # of values in [-1, 1]
WINDOW = 11  # of SSIM, voxels


@dataclass(frozen=True)
class Scores:
    """How like its original a reconstruction is.

    Parameters
    ----------
    psnr_db
        Peak signal-to-noise ratio, in dB of the range -1 to 1; infinite where there is no error.
    ssim
        Structural similarity, at most 1.
    seam_ratio
        Errors at borders of patches over errors elsewhere, see `measure_seams`.
    """

    psnr_db: float
    ssim: float
    seam_ratio: float


def score_reconstruction(made: torch.Tensor, real: torch.Tensor, patch_zyx_vx: Sequence[int]) -> Scores:
    """Compare a reconstruction with its original.

    Parameters
    ----------
    made
        (Z, Y, X); what lies outside [-1, 1] counts as the nearest.
    real
        (Z, Y, X) in [-1, 1].
    patch_zyx_vx
        What was encoded by itself; a multiple of it lies at the start of the volume.

    Returns
    -------
    Scores
        SSIM with MONAI's Gaussian window of 11 voxels, or along shorter axes of the largest odd number that fits.
    """
    made, real = made.float().clamp(-1, 1), real.float()
    windows = [min(WINDOW, n - 1 + n % 2) for n in real.shape]
    psnr = PSNRMetric(RANGE)(made[None, None], real[None, None])
    ssim = SSIMMetric(3, data_range=RANGE, win_size=windows)(made[None, None], real[None, None])
    return Scores(
        float(torch.as_tensor(psnr)),
        float(torch.as_tensor(ssim)),
        measure_seams((made - real).cpu().numpy(), patch_zyx_vx),
    )


def measure_seams(error: np.ndarray, patch_zyx_vx: Sequence[int]) -> float:
    """Compare errors at the borders of patches with those elsewhere.

    Parameters
    ----------
    error
        (Z, Y, X), of any sign.
    patch_zyx_vx
        Sides of the patches that the volume was encoded in, from its start (voxels).

    Returns
    -------
    float
        Mean of |error| in the voxels on either side of a border between two patches, over that of all others: 1 where
        no seam can be seen. NaN where there is one patch, or no error elsewhere.
    """
    near = np.zeros(error.shape, bool)
    for axis, (side, patch) in enumerate(zip(error.shape, patch_zyx_vx, strict=True)):
        borders = np.arange(patch, side, patch)
        lines = np.moveaxis(near, axis, 0)
        lines[borders] = lines[borders - 1] = True
    size = np.abs(error)
    elsewhere = float(size[~near].mean()) if not near.all() else 0.0
    return float(size[near].mean()) / elsewhere if near.any() and elsewhere > 0 else nan


class CodeUse:
    """Which codes of a codebook a set of volumes needs."""

    def __init__(self, codes: int) -> None:
        self.counts = np.zeros(codes, np.int64)

    def add(self, codes: torch.Tensor) -> None:
        """Count the codes (int64, any shape) of one volume."""
        self.counts += np.bincount(codes.cpu().numpy().ravel(), minlength=self.counts.size)

    @property
    def used(self) -> float:
        """Share of the codes that are needed at all."""
        return float((self.counts > 0).mean())

    @property
    def perplexity(self) -> float:
        """How many codes there would be if all were needed alike: exp of their entropy."""
        share = self.counts[self.counts > 0] / self.counts.sum()
        return float(np.exp(-(share * np.log(share)).sum()))
