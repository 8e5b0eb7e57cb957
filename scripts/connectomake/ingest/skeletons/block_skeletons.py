"""The skeletons of one block as flat arrays, on their way to be joined with those of its neighbours."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from connectomake.errors import DataError
from connectomake.files import replacing
from connectomake.geometry import Box


@dataclass(frozen=True)
class Pieces:
    """All skeletons of a block.

    Parameters
    ----------
    label
        (N,) int64, the label of each node.
    voxel
        (N, 3) int64 z, y, x, in voxels of the whole volume.
    radius_nm
        (N,) float32, distance to the label's surface, as far as the block shows it.
    edges
        (E, 2) int64, pairs of node numbers.
    """

    label: np.ndarray
    voxel: np.ndarray
    radius_nm: np.ndarray
    edges: np.ndarray

    def save(self, path: Path) -> None:
        """Write them as npz, atomically."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Pieces:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            The file is damaged, or gone.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} cannot be read ({error})",
                hint=f"remove {path.parent} and run again: all blocks are traced anew",
            ) from error


@dataclass(frozen=True)
class Tree:
    """The skeleton of one part of a label: (N, 3) voxels z, y, x of the block, (N,) radii in nm, (E, 2) edges."""

    voxel: np.ndarray
    radius_nm: np.ndarray
    edges: np.ndarray

    @classmethod
    def empty(cls) -> Tree:
        """Return a tree without nodes."""
        return cls(np.zeros((0, 3), np.int64), np.zeros(0, np.float32), np.zeros((0, 2), np.int64))

    def extend(self, voxel: np.ndarray, to: int | None) -> Tree:
        """Add a node (3,) with an edge to node `to`, or without one."""
        edge = [[to, len(self.voxel)]] if to is not None else np.zeros((0, 2), np.int64)
        return Tree(
            np.concatenate([self.voxel, voxel[None]]),
            np.append(self.radius_nm, np.float32(0)),
            np.concatenate([self.edges, np.asarray(edge, np.int64)]),
        )

    def keep(self, inside: np.ndarray) -> Tree:
        """Draw each run of nodes where `inside` (N,) bool is not set together into one of the nodes that it leads to.

        kimimaro fills a soma's holes before it traces it, and so may lead a path through a nucleus that has a label of
        its own. What such a path connects stays connected.
        """
        if inside.all():
            return self
        ends = inside[self.edges]
        within_run = self.edges[~ends.any(axis=1)]
        graph = coo_array((np.ones(len(within_run), bool), within_run.T), shape=(len(inside),) * 2)
        run = connected_components(graph, directed=False)[1]
        mixed = ends[:, 0] != ends[:, 1]
        leaving, swapped = self.edges[mixed], ends[mixed, 0]
        into = np.full(len(inside), -1)
        into[run[np.where(swapped, leaving[:, 1], leaving[:, 0])]] = np.where(swapped, leaving[:, 0], leaving[:, 1])
        moved = np.where(inside, np.arange(len(inside)), into[run])[self.edges]
        edges = moved[(moved >= 0).all(axis=1) & (moved[:, 0] != moved[:, 1])]
        return Tree(self.voxel[inside], self.radius_nm[inside], (np.cumsum(inside) - 1)[edges])


def gather(trees: Mapping[int, Tree], label_of: np.ndarray, box: Box) -> Pieces:
    """Put the trees of a block into flat arrays.

    Parameters
    ----------
    trees
        Part -> its tree.
    label_of
        (P + 1,) the label of each part.
    box
        The block.
    """
    order = sorted(trees)
    chosen = [Tree.empty(), *(trees[part] for part in order)]
    lengths = [len(tree.voxel) for tree in chosen]
    firsts = np.cumsum([0, *lengths[:-1]])
    return Pieces(
        label=np.repeat(label_of[[0, *order]].astype(np.int64), lengths),
        voxel=np.concatenate([tree.voxel for tree in chosen]) + box.start_zyx,
        radius_nm=np.concatenate([tree.radius_nm for tree in chosen]),
        edges=np.concatenate([tree.edges + first for tree, first in zip(chosen, firsts, strict=True)]),
    )
