"""Which of many points is nearest: to the median of its group, to a place, to another set of points."""

from __future__ import annotations

from typing import Any

import numpy as np

SAMPLED = 16  # one point in so many gives the first guess of how near two sets come to each other


def nearest_to_median(group: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return for each group the row of the point nearest to the median of its points, axis by axis.

    Parameters
    ----------
    group
        (M,) integers from 0 to G - 1, each at least once.
    points
        (M, 3); an even number of points has the lower of the two in the middle as its median. Of points equally near,
        the first in z, y, x is taken, so that the order of the rows changes nothing.

    Returns
    -------
    np.ndarray
        (G,) rows.
    """
    count = np.bincount(group)
    middle = np.cumsum(count) - count + (count - 1) // 2
    median = np.stack([axis[np.lexsort((axis, group))][middle] for axis in points.T], axis=1)
    away = ((points - median[group]) ** 2).sum(axis=1)
    order = np.lexsort((*points.T[::-1], away, group))
    return order[np.cumsum(count) - count]


def nearest_of_group(group: np.ndarray, place: np.ndarray, group_of: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return for each place the nearest of the points of its own group; of equally near ones, the first in z, y, x.

    Parameters
    ----------
    group, place
        (M,) integers and (M, 3): the places.
    group_of, points
        (P,) integers and (P, 3): the points; every group of a place has one.

    Returns
    -------
    np.ndarray
        (M, 3).
    """
    from scipy.spatial import cKDTree

    if not len(group):
        return np.zeros((0, 3))
    ids, number = np.unique(group_of, return_inverse=True)
    far = 2 * np.ptp(points, axis=0).sum() + 1  # groups lie so far apart on a fourth axis that none reaches another's
    order = np.lexsort((*points.T[::-1], number))
    tree = cKDTree(np.column_stack([points, number * far])[order])
    away, nearest = tree.query(np.column_stack([place, np.searchsorted(ids, group) * far]), k=8)
    is_tie = away <= away[:, :1] * (1 + 1e-9)
    return points[order[np.where(is_tie, nearest, len(points)).min(axis=1)]]


class Forest:
    """Search trees over nodes, each over at least twice as many as the next (Bentley and Saxe 1980).

    Nodes come in one lot after the other, and each is put into a new tree a logarithmic number of times.

    Parameters
    ----------
    position
        (N, 3) of all nodes; lots are given as node numbers.
    """

    def __init__(self, position: np.ndarray) -> None:
        self.position = position
        self.trees: list[tuple[np.ndarray, Any]] = []

    def add(self, nodes: np.ndarray) -> None:
        """Put in another lot."""
        from scipy.spatial import cKDTree

        while self.trees and len(self.trees[-1][0]) < 2 * len(nodes):
            nodes = np.concatenate([self.trees.pop()[0], nodes])
        self.trees.append((nodes, cKDTree(self.position[nodes], balanced_tree=False)))

    def closest(self, nodes: np.ndarray) -> tuple[int, int]:
        """Return the node in the forest and the one of these that lie closest to each other."""
        best, pair = np.inf, (-1, -1)
        for others, tree in self.trees:
            guess = min(best, tree.query(self.position[nodes[::SAMPLED]])[0].min())
            distance, nearest = tree.query(self.position[nodes], distance_upper_bound=guess * (1 + 1e-9) + 1e-6)
            k = int(np.argmin(distance))
            if distance[k] < best:
                best, pair = distance[k], (int(others[nearest[k]]), int(nodes[k]))
        return pair
