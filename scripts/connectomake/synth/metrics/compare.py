"""The numbers of made volumes beside those of real ones, class by class and shape by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np

from connectomake.config.settings.synth import SynthMetricsConfig
from connectomake.synth.metrics.compared_volumes import Group, Piece
from connectomake.synth.metrics.distances import frechet_distance, median_distance, rbf_mmd
from connectomake.synth.metrics.diversity import choose_scales, mean_likeness
from connectomake.synth.metrics.histograms import Look, histogram_distance
from connectomake.synth.metrics.reconstruction import Scores
from connectomake.synth.metrics.rows import ALL, Row

Better = Literal["higher", "lower", "none"]
RECONSTRUCTION: tuple[tuple[str, Better], ...] = (("psnr_db", "higher"), ("ssim", "higher"), ("seam_ratio", "lower"))

LOOKS = ("mean", "std", "gradient")


@dataclass(frozen=True)
class Seen:
    """What is kept of a volume that was looked at.

    Parameters
    ----------
    piece
        The volume; it is read again for MS-SSIM.
    features
        (F,) float64.
    look
        Its grey values.
    nearest
        Distance of its latents to the nearest ones learnt; NaN where that was not measured.
    """

    piece: Piece
    features: np.ndarray
    look: Look
    nearest: float = nan


@dataclass(frozen=True)
class Compared:
    """The volumes of a class and shape.

    Parameters
    ----------
    made
        By the generator.
    held
        Real ones that nothing was learnt from.
    learnt
        Real ones that it has learnt from, as many as were made where there are as many: how far these are from those
        held out is the floor for those made.
    """

    made: Sequence[Seen]
    held: Sequence[Seen]
    learnt: Sequence[Seen]


def compare(group: Group, seen: Compared, network: str, cfg: SynthMetricsConfig) -> list[Row]:
    """Return the numbers of a class and shape.

    Parameters
    ----------
    group
        Which.
    seen
        Its volumes.
    network
        Name of what gave the features.
    cfg
        How many pairs MS-SSIM is of, and what draws them.
    """
    made, held, learnt = seen.made, seen.held, seen.learnt

    def row(
        metric: str, values: Sequence[float], other: Sequence[Seen], better: Better = "none", features: str = "voxels"
    ) -> Row:
        return Row(*group.as_text(), metric, values[0], len(made), values[1], len(other), features, better)

    x, y, floor = (np.array([one.features for one in some]) for some in (made, held, learnt))
    bandwidth = median_distance(np.array([one.features for one in (*held, *learnt)]))
    said = f"{network}, {x.shape[-1]} features"
    apart = [frechet_distance(some, y) for some in (x, floor)]
    discrepancy = [rbf_mmd(some, y, bandwidth) for some in (x, floor)]
    nearest = [_mean([one.nearest for one in some]) for some in (made, held)]
    looks = [[one.look for one in some] for some in (made, held, learnt)]
    moved = [histogram_distance(some, looks[1]) for some in (looks[0], looks[2])]
    rows = [
        row("frechet_distance", apart, learnt, "lower", said),
        row("rbf_mmd", discrepancy, learnt, "lower", said),
        _compare_pairs(group, made, held, cfg),
        row("nearest_latent", nearest, held, features="autoencoder's latents"),
        row("histogram_distance", moved, learnt, "lower"),
    ]
    means = {name: [_mean([getattr(look, name) for look in some]) for some in looks[:2]] for name in LOOKS}
    return rows + [row(name, values, held) for name, values in means.items()]


def list_reconstructions(scores: Sequence[tuple[Group, dict[str, Scores]]]) -> list[Row]:
    """Return the mean scores of held-out volumes' reconstructions: of all, then of each class and shape.

    Parameters
    ----------
    scores
        The group of each volume, and its scores by stage.
    """
    rows = []
    for group in (None, *sorted({group for group, _ in scores})):
        own = [found for other, found in scores if group in (None, other)]
        for stage in own[0]:
            for metric, better in RECONSTRUCTION:
                values = [getattr(found[stage], metric) for found in own]
                place = (ALL, ALL) if group is None else group.as_text()
                rows.append(Row(*place, f"{stage}_{metric}", _mean(values), len(values), better=better))
    return rows


def _compare_pairs(group: Group, made: Sequence[Seen], held: Sequence[Seen], cfg: SynthMetricsConfig) -> Row:
    """Return MS-SSIM between made volumes, and between held-out ones."""
    (value, n), (reference, n_reference) = (
        mean_likeness([one.piece.read_image for one in s], cfg.pairs, np.random.default_rng([cfg.seed, k]))
        for k, s in enumerate((made, held))
    )
    kernel, scales = choose_scales(group.shape_zyx_vx)
    said = f"MS-SSIM, kernel {kernel}, {scales} scale" + "s" * (scales != 1)
    return Row(*group.as_text(), "ms_ssim", value, n, reference, n_reference, said)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan
