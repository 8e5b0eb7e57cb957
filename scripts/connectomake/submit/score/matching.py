"""Pair truth objects with submitted ones, one to one, at the least cost; and find where another choice costs the same.

The toolbox solves one min-cost flow for a crop (OR-tools); a truth object goes to a submitted one that shares voxels
with it, or stays alone at a cost above that of any pair. Here each group of objects that overlap, directly or through
others, is solved by itself (Jonker and Volgenant 1987, the sparse form of scipy), with the same whole-numbered costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BATCH_ROWS = 256  # truth objects that are solved in one call, whole groups together


@dataclass(frozen=True)
class Matching:
    """Pairs at the least cost.

    Parameters
    ----------
    chosen
        Indices of the chosen pairs, ascending.
    other
        Another choice of the same cost, as far from `chosen` as one can be; the same where there is none.
    """

    chosen: np.ndarray
    other: np.ndarray


def match_objects(truth: np.ndarray, submitted: np.ndarray, iou: np.ndarray, cost_steps: int) -> Matching:
    """Choose pairs so that no object comes twice and costs are least.

    Parameters
    ----------
    truth, submitted
        (K,) numbers of the objects of each pair; no pair comes twice.
    iou
        (K,) float32, above 0.
    cost_steps
        See `Metric`.
    """
    cost = np.trunc((1.0 - iou.astype(np.float64)) * cost_steps)
    row, column = (np.unique(ids, return_inverse=True)[1] for ids in (truth, submitted))
    lone = np.zeros(len(row), bool)
    if len(row):
        lone = (np.bincount(row)[row] == 1) & (np.bincount(column)[column] == 1)
    chosen, other = [np.flatnonzero(lone)], [np.flatnonzero(lone)]
    rest = np.flatnonzero(~lone)
    for members in _batches(row[rest], column[rest]):
        batch = rest[members]
        first = _solve(row[batch], column[batch], cost[batch], cost_steps + 1)
        # Costs times n + 1, and one more for each pair that was chosen: of all cheapest choices, the most different.
        n = len(np.unique(row[batch])) + 1
        used = np.zeros(len(batch))
        used[first] = 1
        second = _solve(row[batch], column[batch], cost[batch] * n + used, (cost_steps + 1) * n)
        chosen.append(batch[first])
        other.append(batch[second])
    return Matching(np.sort(np.concatenate(chosen)), np.sort(np.concatenate(other)))


def _batches(row: np.ndarray, column: np.ndarray) -> list[np.ndarray]:
    """Put pairs together, whole groups of objects, until a batch has enough rows."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(row):
        return []
    rows, row = np.unique(row, return_inverse=True)
    column = np.unique(column, return_inverse=True)[1] + len(rows)
    n = int(column.max()) + 1
    n_groups, group = connected_components(coo_array((np.ones(len(row), bool), (row, column)), (n, n)), directed=False)
    before = np.cumsum(np.bincount(group[: len(rows)], minlength=n_groups))
    batch = (before // _BATCH_ROWS)[group[row]]
    order = np.argsort(batch, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(batch[order])) + 1)


def _solve(row: np.ndarray, column: np.ndarray, cost: np.ndarray, alone: float) -> np.ndarray:
    """Return the indices of the cheapest pairs, where each row may also stay alone, at a cost.

    All costs are whole numbers, so no sum is rounded and the solver always ends; one is added to each, which changes
    no choice, because the solver takes 0 for "no pair".
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    row, column = (np.unique(ids, return_inverse=True)[1] for ids in (row, column))
    n_rows, n_columns = int(row.max()) + 1, int(column.max()) + 1
    own = np.arange(n_rows)
    costs = np.concatenate([cost, np.full(n_rows, float(alone))]) + 1
    places = np.concatenate([row, own]), np.concatenate([column, n_columns + own])
    partner = min_weight_full_bipartite_matching(csr_array((costs, places), (n_rows, n_columns + n_rows)))[1]
    return np.flatnonzero(partner[row] == column)
