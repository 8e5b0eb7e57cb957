"""Skeletons as three arrays, kept as npz; SWC files and NISB's pickled graphs are converted."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from connectomake.errors import DataError, MissingDataError
from connectomake.files import replacing
from connectomake.geometry import Box, to_triple, voxel_at
from connectomake.volumes.formats.nisb import read_graph_pickle
from connectomake.volumes.formats.stack import sort_naturally
from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)

_NAMES = ("edges", "node_skeleton_id", "node_pos_nm")
_EXACT_IN_FLOAT = 2**53  # beyond, float64 skips whole numbers


@dataclass(frozen=True)
class Skeletons:
    """All skeletons of a volume.

    Loops, skeletons of one node and of no length, and the id 0 are allowed: every metric is defined for them.

    Parameters
    ----------
    edges
        (E, 2) int64, pairs of node numbers.
    node_skeleton_id
        (N,) int64, the skeleton that each node belongs to.
    node_pos_nm
        (N, 3) float64, z, y, x in nm; the voxel that holds a node is round((position - offset) / voxel size).

    Raises
    ------
    DataError
        Shapes do not fit together, an edge names no node, a position is not finite, or an id is not a whole number
        below 2**63.
    """

    edges: np.ndarray
    node_skeleton_id: np.ndarray
    node_pos_nm: np.ndarray

    def __post_init__(self) -> None:
        position = np.ascontiguousarray(_with_columns(self.node_pos_nm, 3, "positions"), np.float64)
        edges = to_whole(_with_columns(self.edges, 2, "edges"), "an edge")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "node_skeleton_id", to_whole(self.node_skeleton_id, "a skeleton id"))
        object.__setattr__(self, "node_pos_nm", position)
        nodes = len(self.node_pos_nm)
        if self.node_skeleton_id.shape != (nodes,):
            raise DataError("skeletons: one id per node", expected=(nodes,), got=self.node_skeleton_id.shape)
        if self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < nodes:
            raise DataError(
                "skeletons: an edge names a node that does not exist",
                expected=f"0 to {nodes - 1}",
                got=f"{self.edges.min()} to {self.edges.max()}",
            )
        if not np.isfinite(self.node_pos_nm).all():
            bad = int(np.flatnonzero(~np.isfinite(self.node_pos_nm).all(1))[0])
            raise DataError(f"skeletons: the position of node {bad} is not finite", got=self.node_pos_nm[bad].tolist())


def to_whole(values: Any, what: str) -> np.ndarray:
    """Turn whole numbers of any type into int64, none of them into another number.

    Parameters
    ----------
    values
        Array or list of any shape.
    what
        What one of them is, for the error.

    Raises
    ------
    DataError
        One is not whole, 2**63 or more, or of a type that may have lost its last digits.
    """
    array = np.asarray(values)
    if array.dtype == np.int64 or array.size == 0:
        return np.ascontiguousarray(array, np.int64)
    problem = array.dtype.kind not in "iufb"  # objects: Python's integers of more than 64 bits, or no numbers
    if array.dtype.kind == "f":
        problem = not (np.abs(array) < _EXACT_IN_FLOAT).all() or bool((array != np.floor(array)).any())
    elif array.dtype.kind == "u":
        problem = int(array.max()) > np.iinfo(np.int64).max
    if problem:
        raise DataError(
            f"skeletons: {what} is not a whole number that fits",
            expected="below 2**63, and below 2**53 where it is given as a float",
            got=f"{array.dtype} up to {array.max()}" if array.dtype.kind in "iuf" else f"{array.dtype}",
            hint="renumber them, and save them as integers",
        )
    return np.ascontiguousarray(array, np.int64)


def _with_columns(values: Any, columns: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size and (array.ndim != 2 or array.shape[1] != columns):
        raise DataError(f"skeletons: {what} have another shape", expected=f"(number, {columns})", got=array.shape)
    return array.reshape(-1, columns)


def load_skeletons(path: str | Path, *, swc_unit_nm: float = 1.0) -> Skeletons:
    """Read skeletons of any known format.

    Parameters
    ----------
    path
        ``.npz`` as `save_skeletons` writes it, an ``.swc`` file or a folder of them, or NISB's ``.pkl``.
    swc_unit_nm
        nm per unit of length in SWC files, which do not state it: 1 for nm, 1000 for micrometres, 8 for voxels of 8 nm.

    Raises
    ------
    MissingDataError
        Nothing lies there.
    DataError
        The format is not known, or the file does not hold skeletons.
    """
    path = Path(path)
    if not path.exists():
        raise MissingDataError(
            f"{path} does not exist", expected="skeletons: .npz, .swc, a folder of .swc, or NISB's .pkl"
        )
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".swc":
        found = read_swc(path, unit_nm=swc_unit_nm)
    elif suffix == ".npz":
        found = _read_npz(path)
    elif suffix in (".pkl", ".pickle"):
        found = _make(path, *read_graph_pickle(path))
    else:
        raise DataError(
            f"the format of {path} is not known", expected="skeletons: .npz, .swc, a folder of .swc, or NISB's .pkl"
        )
    return _without_repeats(found, path)


def label_under(
    labels: Readable, skeletons: Skeletons, skeleton_id: int, position_zyx_nm: Sequence[float]
) -> int | None:
    """Return the label under the node of a skeleton that is nearest to a position.

    Skeletons may be numbered in another way than labels.

    Returns
    -------
    int or None
        None where the skeleton has no node, or that node lies outside the volume.
    """
    nodes = skeletons.node_pos_nm[skeletons.node_skeleton_id == skeleton_id]
    if not len(nodes):
        return None
    nearest = nodes[np.linalg.norm(nodes - position_zyx_nm, axis=1).argmin()]
    voxel = voxel_at(nearest, labels.voxel_size_zyx_nm, labels.offset_zyx_nm)
    box = Box(to_triple(voxel.tolist()), to_triple((voxel + 1).tolist()))
    return int(labels.read(box).item()) if Box.of_shape(labels.shape_zyx).contains(box) else None


def save_skeletons(path: Path, skeletons: Skeletons) -> None:
    """Write skeletons as npz, atomically; an empty set is a valid file."""
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(skeletons, name) for name in _NAMES})


def read_swc(path: Path, *, unit_nm: float = 1.0) -> Skeletons:
    """Read an SWC file, or all in a folder: lines of `node type x y z radius parent`, parent -1 = none.

    A file is one skeleton. Its id is the number that its name consists of or, where the names of a folder are not all
    numbers, its place in the folder counted from 1.

    Parameters
    ----------
    path
        File or folder.
    unit_nm
        nm per unit of length.

    Raises
    ------
    DataError
        A line is not SWC, a node comes twice, a parent does not exist or is the node's own descendant, the id in a name
        is 2**63 or more, or the folder holds no SWC file.
    """
    files = sort_naturally(list(path.glob("*.[sS][wW][cC]"))) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no .swc file")
    by_name = all(f.stem.isdecimal() for f in files)
    edges, ids, positions = [], [], []
    first = 0
    for place, file in enumerate(files, 1):
        one = _read_swc_file(file, int(file.stem) if by_name else place)
        edges.append(one.edges + first)
        ids.append(one.node_skeleton_id)
        positions.append(one.node_pos_nm * unit_nm)
        first += len(one.node_pos_nm)
    return Skeletons(np.concatenate(edges), np.concatenate(ids), np.concatenate(positions))


def _read_npz(path: Path) -> Skeletons:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = [arrays[name] for name in _NAMES]
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as skeletons ({error})", expected=f"arrays {', '.join(_NAMES)} of numbers"
        ) from error
    return _make(path, *found)


def _make(path: Path, edges: Any, node_skeleton_id: Any, node_pos_nm: Any) -> Skeletons:
    """Make skeletons of what a file holds, and name the file where they are none."""
    try:
        return Skeletons(edges, node_skeleton_id, node_pos_nm)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _without_repeats(skeletons: Skeletons, path: Path) -> Skeletons:
    """Drop edges that come again, and those from a node to itself: their length would be counted again."""
    edges = np.sort(skeletons.edges, axis=1)
    _, first = np.unique(edges, axis=0, return_index=True)
    kept = np.sort(first)
    kept = kept[edges[kept, 0] != edges[kept, 1]]
    if len(kept) == len(edges):
        return skeletons
    log.warning(
        "%s: %d of %d edges come again, or lead from a node to itself: left out",
        path,
        len(edges) - len(kept),
        len(edges),
    )
    return replace(skeletons, edges=skeletons.edges[kept])


def _read_swc_file(file: Path, name: int) -> Skeletons:
    """Read one file as the skeleton of that id, in the file's unit."""
    lines = [line.split("#")[0].split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    try:
        rows = np.array([[float(v) for v in words[:7]] for words in lines if words]).reshape(-1, 7)
    except ValueError as error:
        raise DataError(
            f"{file} is not SWC ({error})", expected="lines of seven numbers: node type x y z radius parent"
        ) from error
    ids = np.full(len(rows), name, np.int64 if name <= np.iinfo(np.int64).max else object)
    return _make(file, _swc_edges(rows[:, 0], rows[:, 6], file), ids, rows[:, 4:1:-1])


def _swc_edges(node: np.ndarray, parent: np.ndarray, file: Path) -> np.ndarray:
    """Return the (E, 2) edges from children to parents, by the nodes' places in the file."""
    try:
        node, parent = to_whole(node, "a node"), to_whole(parent, "a parent")
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    order = np.argsort(node, kind="stable")
    again = np.flatnonzero(np.diff(node[order]) == 0)
    if len(again):
        raise DataError(f"{file}: the node {node[order[again[0]]]} comes twice", hint="number the nodes anew")
    child = np.flatnonzero(parent >= 0)
    place = np.searchsorted(node[order], parent[child]).clip(max=max(0, len(node) - 1))
    missing = node[order[place]] != parent[child]
    if missing.any():
        raise DataError(f"{file}: a node names {parent[child][missing][0]} as its parent, which is not in the file")
    edges = np.stack([child, order[place]], axis=1)
    graph = coo_array((np.ones(len(edges), bool), edges.T), shape=(len(node),) * 2)
    # A tree has one root, and one that runs in a circle has none.
    if connected_components(graph, directed=False)[0] != len(node) - len(child):
        raise DataError(
            f"{file}: the parents of some nodes lead round in a circle", hint="each tree needs one root, of parent -1"
        )
    return edges
