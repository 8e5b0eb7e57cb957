"""A colour for every label: the same id has the same colour in every figure, on every machine.

Truth is shown in the colours of the labels that match it best, so that whatever has another colour is an error.
"""

from __future__ import annotations

import numpy as np

BORDER_DARKNESS = 0.35
NO_PARTNER = 1 << 61
"""Truth objects that no label matches are numbered from here on, above every label."""
HUES_DEG = (0, 14, 28, 42, 54, 70, 100, 140, 165, 182, 200, 218, 244, 278, 305, 330, 360)
"""Hues about equally far apart to the eye, which has more names for red to yellow than for green or violet."""


def hash_ids(ids: np.ndarray) -> np.ndarray:
    """Spread ids evenly over 64 bits (the finaliser of splitmix64, Steele et al. 2014).

    Parameters
    ----------
    ids
        Integers of any shape.

    Returns
    -------
    ndarray of uint64
        Of the same shape.
    """
    ids = np.asarray(ids)
    value = ids.reshape(-1).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)  # scalars would warn of overflow
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (value ^ (value >> np.uint64(31))).reshape(ids.shape)


def colour_ids(ids: np.ndarray) -> np.ndarray:
    """Assign each id a strong colour; 0 and negative ids (background, unknown) are black.

    Parameters
    ----------
    ids
        Integers of any shape.

    Returns
    -------
    ndarray of uint8
        The shape of ids and a last axis R, G, B.
    """
    ids = np.asarray(ids)
    value = hash_ids(ids)
    share = (value >> np.uint64(40)).astype(np.float64) / 2**24
    hue = np.interp(share, np.linspace(0, 1, len(HUES_DEG)), HUES_DEG) / 60
    saturation = 0.55 + 0.12 * (value & np.uint64(3)).astype(np.float64)
    brightness = 0.73 + 0.09 * ((value >> np.uint64(2)) & np.uint64(3)).astype(np.float64)
    # HSV to RGB in closed form: channel n is v - v s max(0, min(k, 4 - k, 1)) with k = (n + hue) mod 6
    k = (np.array([5.0, 3.0, 1.0]) + hue[..., None]) % 6
    dip = np.clip(np.minimum(k, 4 - k), 0, 1)
    rgb = brightness[..., None] * (1 - saturation[..., None] * dip)
    rgb[ids <= 0] = 0
    return np.round(rgb * 255).astype(np.uint8)


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """Colour a whole image of labels: (H, W) integers give (H, W, 3) uint8."""
    ids, index = np.unique(labels, return_inverse=True)
    return colour_ids(ids)[index.reshape(labels.shape)]


def match_truth(labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Pair truth objects with labels that are each other's largest overlap.

    Parameters
    ----------
    labels, truth
        Integers of the same shape; values <= 0 take no part.

    Returns
    -------
    dict
        Truth id -> label id, one to one. An object that was split is paired with its largest part, one that was merged
        with a larger one has no partner.
    """
    both = (labels > 0) & (truth > 0)
    if not both.any():
        return {}
    label_ids, label_index = np.unique(labels[both], return_inverse=True)
    truth_ids, truth_index = np.unique(truth[both], return_inverse=True)
    pairs, counts = np.unique(truth_index * np.int64(label_ids.size) + label_index, return_counts=True)
    truth_of, label_of = np.divmod(pairs, label_ids.size)
    order = np.argsort(counts, kind="stable")
    best_label = np.zeros(truth_ids.size, np.int64)
    best_truth = np.zeros(label_ids.size, np.int64)
    best_label[truth_of[order]] = label_of[order]  # the last write, of the largest count, stays
    best_truth[label_of[order]] = truth_of[order]
    mutual = best_truth[best_label] == np.arange(truth_ids.size)
    return {int(truth_ids[t]): int(label_ids[best_label[t]]) for t in np.flatnonzero(mutual)}


def adopt_ids(truth: np.ndarray, partners: dict[int, int]) -> np.ndarray:
    """Return truth objects the ids of their partners, and all others ids that no label has, so that colours follow.

    Parameters
    ----------
    truth
        (H, W) integers.
    partners
        Truth id -> label id, from `match_truth`.

    Returns
    -------
    ndarray of int64
        (H, W); values <= 0 stay as they are.
    """
    ids, index = np.unique(truth, return_inverse=True)
    free = (hash_ids(ids) >> np.uint64(2)).astype(np.int64) | np.int64(NO_PARTNER)
    adopted = np.array(
        [partners.get(int(i), int(f)) if i > 0 else int(i) for i, f in zip(ids, free, strict=True)], np.int64
    )
    return adopted[index.reshape(truth.shape)]


def find_borders(labels: np.ndarray) -> np.ndarray:
    """Mark pixels whose right or lower neighbour belongs to something else: (H, W) integers give (H, W) bool."""
    borders = np.zeros(labels.shape, bool)
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    borders[:-1] |= labels[:-1] != labels[1:]
    return borders


def overlay(gray: np.ndarray, labels: np.ndarray, opacity: float | np.ndarray = 0.5) -> np.ndarray:
    """Lay coloured labels over a gray image, borders darker, background left as it is.

    Parameters
    ----------
    gray
        (H, W) uint8.
    labels
        (H, W) integers; values <= 0 are clear.
    opacity
        0 (clear) to 1, for all pixels or as (H, W).

    Returns
    -------
    ndarray of uint8
        (H, W, 3).
    """
    colours = colour_labels(labels).astype(np.float32)
    borders = find_borders(labels) & (labels > 0)
    alpha = np.broadcast_to(np.asarray(opacity, np.float32), labels.shape) * (labels > 0)
    image = gray[..., None] * (1 - alpha[..., None]) + colours * alpha[..., None]
    image[borders] *= 1 - BORDER_DARKNESS
    return np.round(image).astype(np.uint8)
