"""Which losses there are: their options, their other names, and the channels that they can be used on."""

from __future__ import annotations

from typing import NamedTuple

from connectomake.config.engine.explain import nearest


class Option(NamedTuple):
    """A setting of a loss: its default, and the least and the most that make sense."""

    default: float
    least: float
    most: float


class Suits(NamedTuple):
    """What channels a loss can be used on: by activation, only those that are 0 or 1, all of a target, how many."""

    activations: tuple[str, ...]
    binary: bool = False
    whole_target: bool = False
    channels: range = range(1, 10_000)


_LARGEST_WEIGHT = {"largest_weight": Option(10.0, 1.0, 1000.0)}
_POSITIVE_WEIGHT = {"positive_weight": Option(1.0, 0.001, 1000.0)}
_SMOOTH = {"smooth": Option(1.0, 1e-6, 1e6)}
_GAMMA = {"gamma": Option(2.0, 0.0, 10.0)}
_LEGACY_WEIGHT = {"largest_weight": Option(19.0, 1.0, 1000.0)}
_TRANSITION = {"transition": Option(1.0, 1e-6, 2.0)}

LOSS_OPTIONS: dict[str, dict[str, Option]] = {
    "balanced_bce": _LARGEST_WEIGHT,
    "bce": _POSITIVE_WEIGHT,
    "focal": _GAMMA | _POSITIVE_WEIGHT,
    "cross_entropy": {},
    "dice": _SMOOTH,
    "generalised_dice": {},
    "tversky": {"alpha": Option(0.5, 0.0, 1.0), "beta": Option(0.5, 0.01, 1.0)} | _SMOOTH,
    "dice_ce": _SMOOTH,
    "dice_focal": _SMOOTH | _GAMMA,
    "mse": {},
    "mae": {},
    "smooth_l1": _TRANSITION,
    "weighted_mse": _LEGACY_WEIGHT,
    "weighted_mae": _LEGACY_WEIGHT,
    "weighted_smooth_l1": _TRANSITION | _LEGACY_WEIGHT,
    "binary_regularisation": {"margin": Option(0.01, 0.001, 0.5)},
    "foreground_distance": {},
    "contour_distance": {},
    "foreground_contour": {},
    "non_overlap": {},
}
"""Loss -> its options. A new loss: a line here and in `SUITS`, and one in `losses/registry.py`."""

_ANY = Suits(("identity", "sigmoid", "tanh", "softmax"))
_OVERLAP = Suits(("sigmoid", "softmax"), binary=True)

SUITS: dict[str, Suits] = {
    "balanced_bce": Suits(("sigmoid",)),
    "bce": Suits(("sigmoid",)),
    "focal": Suits(("sigmoid",), binary=True),
    "cross_entropy": Suits(("softmax",), whole_target=True),
    "dice": _OVERLAP,
    "generalised_dice": _OVERLAP,
    "tversky": _OVERLAP,
    "dice_ce": Suits(("sigmoid", "softmax"), binary=True, whole_target=True),
    "dice_focal": Suits(("sigmoid",), binary=True),
    "mse": _ANY,
    "mae": _ANY,
    "smooth_l1": _ANY,
    "weighted_mse": _ANY,
    "weighted_mae": _ANY,
    "weighted_smooth_l1": _ANY,
    "binary_regularisation": Suits(("sigmoid",)),
    "non_overlap": Suits(("sigmoid",), channels=range(2, 4)),
}
"""Loss -> the channels that it can be used on; those of `SEES` know theirs by name."""

SEES: dict[str, tuple[str, str]] = {
    "foreground_distance": ("binary", "distance"),
    "contour_distance": ("contour", "distance"),
    "foreground_contour": ("binary", "contour"),
}
"""Losses that find their channels by themselves, by name."""

REGULARISERS = frozenset({"binary_regularisation", "non_overlap", *SEES})
"""Losses that see no truth: they teach nothing by themselves."""

LOSS_ALIASES: dict[str, str] = {
    "BCEWithLogitsLoss": "bce",
    "WeightedBCEWithLogitsLoss": "bce",
    "PerChannelBCEWithLogitsLoss": "balanced_bce",
    "WeightedBCE": "balanced_bce",
    "FocalLoss": "focal",
    "BCEFocalLoss": "focal",
    "CrossEntropyLoss": "cross_entropy",
    "DiceLoss": "dice",
    "GeneralizedDiceLoss": "generalised_dice",
    "TverskyLoss": "tversky",
    "DiceCELoss": "dice_ce",
    "DiceFocalLoss": "dice_focal",
    "MSELoss": "mse",
    "L1Loss": "mae",
    "SmoothL1Loss": "smooth_l1",
    "WeightedMSELoss": "weighted_mse",
    "WeightedMSE": "weighted_mse",
    "WeightedMAELoss": "weighted_mae",
    "WeightedMAE": "weighted_mae",
    "BinaryRegularization": "binary_regularisation",
    "BinaryReg": "binary_regularisation",
    "ForegroundDistanceConsistency": "foreground_distance",
    "ForegroundDTConsistency": "foreground_distance",
    "ContourDistanceConsistency": "contour_distance",
    "ContourDTConsistency": "contour_distance",
    "ForegroundContourConsistency": "foreground_contour",
    "FgContourConsistency": "foreground_contour",
    "NonOverlapRegularization": "non_overlap",
    "NonoverlapReg": "non_overlap",
}
"""Names of the same losses in PyTorch, MONAI and PyTorch Connectomics."""


def find_loss(name: str) -> str:
    """Return our name of a loss, of ours or of one that it has elsewhere.

    Raises
    ------
    ValueError
        There is none; the nearest name is suggested.
    """
    name = LOSS_ALIASES.get(name, name)
    if name not in LOSS_OPTIONS:
        hint = nearest(name, [*LOSS_OPTIONS, *LOSS_ALIASES])
        raise ValueError(
            f"there is no loss {name!r}: {hint if hint.startswith('did') else nearest(name, LOSS_OPTIONS)}"
        )
    return name
