"""How far apart two sets of feature vectors are."""

from __future__ import annotations

from math import nan

import numpy as np
from scipy.spatial.distance import cdist, pdist

BLOCK = 1024  # vectors whose distances to all others are held at a time


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the distance of Frechet between two sets, each taken for a normal distribution (Heusel et al. 2017).

    With centred vectors A and B, over the roots of their counts less one, the trace of the root of the product of both
    covariances is the sum of the singular values of A B^T. So it is exact with fewer vectors than features too, where
    the root of a singular matrix, which MONAI's FIDMetric takes, is slow and not; the number is the same.

    Parameters
    ----------
    x, y
        (N, F) and (M, F).

    Returns
    -------
    float
        At least 0, the square of a distance. It is higher the fewer vectors there are, so compare it only with one of
        as many. NaN where a set has fewer than two.
    """
    if min(len(x), len(y)) < 2:
        return nan
    a, b = ((s - s.mean(0)) / np.sqrt(len(s) - 1) for s in (x, y))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = np.square(x.mean(0) - y.mean(0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * cross
    return max(0.0, float(distance))


def rbf_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Return the squared maximum mean discrepancy of two sets under a Gaussian kernel (Gretton et al. 2012), unbiased.

    The biased estimate adds about 1/N + 1/M, which with the few volumes there are would hide all else. The unbiased one
    leaves out each vector's likeness to itself: it is 0 on average where both sets are of one distribution, whatever
    their sizes, and may be a little below. Unlike a linear kernel it sees differences of scale.

    Parameters
    ----------
    x, y
        (N, F) and (M, F).
    bandwidth
        s in exp(-d^2 / 2 s^2), see `median_distance`.

    Returns
    -------
    float
        At most 2. NaN where a set has fewer than two vectors, or the bandwidth is not above 0. Exact; distances are
        held for 1024 vectors at a time.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2 or not bandwidth > 0:
        return nan
    within = [(_sum_likeness(s, s, bandwidth) - len(s)) / (len(s) * (len(s) - 1)) for s in (x, y)]
    return sum(within) - 2 * _sum_likeness(x, y, bandwidth) / (n * m)


def median_distance(x: np.ndarray) -> float:
    """Return the median of the Euclidean distances between all pairs of vectors (N, F): a kernel's bandwidth.

    Take it of real volumes alone, so that what was made and its reference are judged by one kernel. NaN of fewer than
    two vectors.
    """
    return float(np.median(pdist(x))) if len(x) > 1 else nan


def _sum_likeness(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Sum the kernel over all pairs."""
    parts = (np.exp(cdist(x[k : k + BLOCK], y, "sqeuclidean") / (-2 * bandwidth**2)) for k in range(0, len(x), BLOCK))
    return float(sum(part.sum() for part in parts))
