"""Regularisers: what predictions shall be like among themselves, whatever the truth is.

Those of PyTorch Connectomics (Lin et al. 2021), averaged over the voxels whose truth is known, so that they do not
shape a network where nobody says what is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.config.settings.train_loss_kinds import Loss, Option, Suits

if TYPE_CHECKING:
    import torch

    from connectomake.losses.seen import Seen

TINY = 1e-7  # keeps the slope of a root finite


def binary_regularisation(seen: Seen, *, margin: float) -> torch.Tensor:
    """Average 1 / |p - 0.5|: 2 where the network is sure, more where it is not.

    Parameters
    ----------
    seen
        Sigmoid channels.
    margin
        Where |p - 0.5| is below this, it counts as this, and has no slope.
    """
    return seen.average(seen.mask / (seen.prediction - 0.5).abs().clamp(min=margin))


def foreground_distance(seen: Seen) -> torch.Tensor:
    """Average the cross-entropy of the foreground, of the sign of the distance, weighted by the size of the distance.

    Parameters
    ----------
    seen
        Foreground (sigmoid), distance (tanh).
    """
    from torch.nn import functional

    known = _all_known(seen)
    foreground, distance = seen.logits[:, 0], seen.prediction[:, 1]
    inside = functional.softplus(-foreground) * distance.clamp(min=0)
    outside = functional.softplus(foreground) * (-distance).clamp(min=0)
    return seen.average((inside + outside) * known, known)


def contour_distance(seen: Seen) -> torch.Tensor:
    """Average the square of contour times |distance|: contours lie where the distance is 0.

    Parameters
    ----------
    seen
        Contour (sigmoid), distance (tanh).
    """
    known = _all_known(seen)
    return seen.average((seen.prediction[:, 0] * seen.prediction[:, 1]) ** 2 * known, known)


def foreground_contour(seen: Seen) -> torch.Tensor:
    """Average the squared difference between contours and the slope of the foreground within each section.

    A voxel counts if all 5 x 5 voxels of its section around it are known, of which its slope is made. Different from
    PyTorch Connectomics: outside of the patch the foreground goes on as at its border, instead of ending there.

    Parameters
    ----------
    seen
        Foreground (sigmoid), contour (sigmoid); the last two axes are those of the section.
    """
    from torch.nn import functional

    known = 1 - functional.max_pool2d(1 - _as_sections(_all_known(seen)), 5, stride=1, padding=2)
    foreground, contour = (_as_sections(seen.prediction[:, c]) for c in (0, 1))
    around = functional.pad(foreground, (1, 1, 1, 1), mode="replicate")
    along_x = around[..., 1:-1, 2:] - around[..., 1:-1, :-2]
    along_y = around[..., 2:, 1:-1] - around[..., :-2, 1:-1]
    slope = (along_x**2 + along_y**2 + TINY).sqrt().clamp(max=1 - TINY)
    edge = functional.max_pool2d(slope, 3, stride=1, padding=1)
    return seen.average((edge - contour) ** 2 * known, known)


def non_overlap(seen: Seen) -> torch.Tensor:
    """Average the product of two probabilities: such as the two sides of a synapse, which are never in one place.

    Parameters
    ----------
    seen
        Two sigmoid channels; or a third, which says where this counts and learns nothing from it.
    """
    known = _all_known(seen)
    product = seen.prediction[:, 0] * seen.prediction[:, 1]
    if len(seen.channels) == 3:
        product = product * seen.prediction[:, 2].detach()
    return seen.average(product * known, known)


def _all_known(seen: Seen) -> torch.Tensor:
    """Return 1 where all channels are known, else 0, without the channel axis."""
    return seen.mask.amin(1)


def _as_sections(values: torch.Tensor) -> torch.Tensor:
    """Return (N, Z, Y, X) as (N Z, 1, Y, X)."""
    return values.reshape(-1, 1, *values.shape[-2:])


BINARY_REGULARISATION = Loss(
    binary_regularisation,
    suits=Suits(("sigmoid",)),
    options={"margin": Option(0.01, 0.001, 0.5)},
    compares=False,
    aliases=("BinaryRegularization", "BinaryReg"),
)
FOREGROUND_DISTANCE = Loss(
    foreground_distance,
    sees=("binary", "distance"),
    compares=False,
    aliases=("ForegroundDistanceConsistency", "ForegroundDTConsistency"),
)
CONTOUR_DISTANCE = Loss(
    contour_distance,
    sees=("contour", "distance"),
    compares=False,
    aliases=("ContourDistanceConsistency", "ContourDTConsistency"),
)
FOREGROUND_CONTOUR = Loss(
    foreground_contour,
    sees=("binary", "contour"),
    compares=False,
    aliases=("ForegroundContourConsistency", "FgContourConsistency"),
)
NON_OVERLAP = Loss(
    non_overlap,
    suits=Suits(("sigmoid",), channels=range(2, 4)),
    compares=False,
    aliases=("NonOverlapRegularization", "NonoverlapReg"),
)
