"""How alike two volumes look, beyond their voxels: a term of the autoencoder's loss.

`gradient` needs no weights; `lpips` and `medicalnet` judge by networks that others trained. A new kind is a class here,
its options in `config/settings/synth.py`, and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from connectomake.config.settings.synth import PerceptualConfig
from connectomake.synth.perceptual_networks import FixedNetwork, load_medicalnet, load_vgg16

SCALES = 3
EPSILON = 1e-8
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of LPIPS: from [-1, 1] to what VGG16 was trained on


class Gradient(nn.Module):
    """Differences of neighbours along each axis on three scales, and amplitudes of the spectrum; without weights.

    The idea of the second part is Jukebox's (Dhariwal et al. 2020): an amplitude does not say where a texture lies, so
    a blurred texture costs more than one that is shifted.
    """

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the distance of x and y, (N, C, Z, Y, X) in [-1, 1], as a number."""
        x, y = x.float(), y.float()
        spectrum = functional.mse_loss(_amplitudes(x), _amplitudes(y))
        error, terms = x - y, []
        for scale in range(SCALES):
            if scale:
                error = functional.avg_pool3d(error, [2 if side > 3 else 1 for side in error.shape[2:]])
            terms += [error.diff(dim=axis).abs().mean() for axis in (2, 3, 4) if error.shape[axis] > 1]
        return spectrum + torch.stack(terms).mean()


class Lpips(FixedNetwork):
    """LPIPS (Zhang et al. 2018) of some slices along each axis, summed over the axes, as in 3D MedDiffusion.

    The slices are drawn from PyTorch's global generator.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, cfg: PerceptualConfig) -> None:
        super().__init__(load_vgg16(str(cfg.weights), str(cfg.heads)))
        self.share = cfg.slices
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the distance of x and y, (N, C, Z, Y, X) in [-1, 1] with sides of at least 16, as a number."""
        return torch.stack([self._compare(*self._draw(axis, x, y)) for axis in (2, 3, 4)]).sum()

    def _draw(self, axis: int, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        """Return the same random slices of both, each channel by itself."""
        flat = [part.movedim(axis, 2).flatten(0, 2)[:, None] for part in (x, y)]
        count = max(1, int(self.share * len(flat[0])))
        chosen = torch.randperm(len(flat[0]))[:count].to(x.device)
        return [part[chosen] for part in flat]

    def _compare(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean distance of slices (S, 1, A, B)."""
        seen = [self.network((part - self.shift) / self.scale) for part in (x, y)]
        heads = self.network.get_submodule("heads").parameters()
        terms = [(head * _differ(a, b)).sum(1).mean() for head, a, b in zip(heads, *seen, strict=True)]
        return torch.stack(terms).sum()


class MedicalNetDistance(FixedNetwork):
    """Difference of the last features of MedicalNet's ResNet-10."""

    def __init__(self, cfg: PerceptualConfig) -> None:
        super().__init__(load_medicalnet(str(cfg.weights)))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the distance of x and y, (N, C, Z, Y, X), as a number; each channel is a volume of its own."""
        a, b = (self.network(_standardise(part.flatten(0, 1)[:, None].float())) for part in (x, y))
        return _differ(a, b).sum(1).mean()


KINDS: dict[str, Callable[[PerceptualConfig], nn.Module]] = {
    "gradient": lambda cfg: Gradient(),
    "lpips": Lpips,
    "medicalnet": MedicalNetDistance,
}


def build_perceptual(cfg: PerceptualConfig) -> nn.Module:
    """Make what tells how alike volumes look.

    Parameters
    ----------
    cfg
        Its kind, and the files of its weights.

    Returns
    -------
    Module
        From (x, y), (N, C, Z, Y, X) each, to a number. It has no parameters and no state, so that the weights of others
        come into no checkpoint, and is always in evaluation mode.

    Raises
    ------
    ConfigError
        A file of weights is missing, or holds another network.
    """
    return KINDS[cfg.kind](cfg)


def _amplitudes(x: torch.Tensor) -> torch.Tensor:
    """Return the amplitudes of the spectrum; with a little added, since the root has no slope at 0."""
    spectrum = torch.fft.rfftn(x, dim=(2, 3, 4), norm="ortho")
    return (spectrum.real.square() + spectrum.imag.square() + EPSILON).sqrt()


def _standardise(x: torch.Tensor) -> torch.Tensor:
    """Bring a batch to mean 0 and deviation 1."""
    return (x - x.mean()) / (x.std() + EPSILON)


def _differ(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the squared difference of features, each place of length 1 over the channels."""
    return (functional.normalize(a.float(), dim=1) - functional.normalize(b.float(), dim=1)).square()
