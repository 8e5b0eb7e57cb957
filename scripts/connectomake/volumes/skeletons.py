"""Skeletons as three arrays, kept as npz; SWC files and NISB's pickled graphs are converted."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectomake.errors import DataError, MissingDataError
from connectomake.volumes.files import replacing
from connectomake.volumes.formats.stack import sort_naturally
from connectomake.volumes.nisb import read_graph_pickle

_NAMES = ("edges", "node_skeleton_id", "node_pos_nm")


@dataclass(frozen=True)
class Skeletons:
    """All skeletons of a volume.

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
        Shapes do not fit together, an edge names no node, or a position is not finite.
    """

    edges: np.ndarray
    node_skeleton_id: np.ndarray
    node_pos_nm: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", np.ascontiguousarray(self.edges, np.int64).reshape(-1, 2))
        object.__setattr__(self, "node_skeleton_id", np.ascontiguousarray(self.node_skeleton_id, np.int64))
        object.__setattr__(self, "node_pos_nm", np.ascontiguousarray(self.node_pos_nm, np.float64).reshape(-1, 3))
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
        return read_swc(path, unit_nm=swc_unit_nm)
    if suffix == ".npz":
        return _read_npz(path)
    if suffix in (".pkl", ".pickle"):
        return Skeletons(*read_graph_pickle(path))
    raise DataError(
        f"the format of {path} is not known", expected="skeletons: .npz, .swc, a folder of .swc, or NISB's .pkl"
    )


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
        A line is not SWC, a parent does not exist, or the folder holds no SWC file.
    """
    files = sort_naturally(list(path.glob("*.[sS][wW][cC]"))) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no .swc file")
    by_name = all(f.stem.isdecimal() for f in files)
    edges, ids, positions = [], [], []
    first = 0
    for place, file in enumerate(files, 1):
        file_edges, file_positions = _read_swc_file(file)
        edges.append(file_edges + first)
        ids.append(np.full(len(file_positions), int(file.stem) if by_name else place))
        positions.append(file_positions * unit_nm)
        first += len(file_positions)
    return Skeletons(np.concatenate(edges), np.concatenate(ids), np.concatenate(positions))


def _read_npz(path: Path) -> Skeletons:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Skeletons(*(arrays[name] for name in _NAMES))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as skeletons ({error})", expected=f"arrays {', '.join(_NAMES)}"
        ) from error


def _read_swc_file(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give (E, 2) edges and (N, 3) positions z, y, x of one file, in the file's unit."""
    lines = [line.split("#")[0].split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    try:
        rows = np.array([[float(v) for v in words[:7]] for words in lines if words]).reshape(-1, 7)
    except ValueError as error:
        raise DataError(
            f"{file} is not SWC ({error})", expected="lines of seven numbers: node type x y z radius parent"
        ) from error
    number = {int(node): place for place, node in enumerate(rows[:, 0])}
    children = np.flatnonzero(rows[:, 6] >= 0)
    try:
        edges = [(place, number[int(rows[place, 6])]) for place in children]
    except KeyError as error:
        raise DataError(f"{file}: a node names {error} as its parent, which is not in the file") from error
    return np.array(edges, np.int64).reshape(-1, 2), rows[:, 4:1:-1].copy()
