"""What is peculiar to the NISB benchmark: axes x, y, z that no file states, and skeletons as a pickled networkx graph.

NISB holds ``{setting}/{split}/seed{i}/data.zarr`` with arrays `img` (x, y, z, channel) and `seg` (x, y, z), and
beside it ``skeleton.pkl``. Ingest turns the arrays to z, y, x once. A pickle can run any code when it is read, so the
reader allows the few classes that such a graph consists of and refuses the rest.
"""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.volumes.formats.remote import Place

AXES = {("img", 4): "xyzc", ("img", 3): "xyz", ("seg", 3): "xyz"}

_PLAIN = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list set slice str tuple",
    "collections": "OrderedDict defaultdict",
    "_codecs": "encode",  # how older pickle protocols store bytes
    "numpy": "dtype ndarray float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "networkx.classes.graph": "Graph",
    "networkx.classes.reportviews": "NodeView NodeDataView EdgeView EdgeDataView DegreeView",
    "networkx.classes.coreviews": "AtlasView AdjacencyView",
}
_ALLOWED = {(module, name) for module, names in _PLAIN.items() for name in names.split()}


class GraphUnpickler(pickle.Unpickler):
    """An unpickler for networkx graphs with numbers and numpy arrays as attributes, and for nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class.

        Raises
        ------
        pickle.UnpicklingError
            The pickle asks for anything else; nothing of it has run.
        """
        module = module.replace("numpy.core.", "numpy._core.")  # numpy 1 wrote the old name
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no graph of skeletons needs")
        return getattr(importlib.import_module(module), name)


def guess_nisb_axes(array: Place, rank: int) -> str | None:
    """Return the axis order of `img` and `seg` in a NISB store; None for every other array.

    Parameters
    ----------
    array
        Folder of a Zarr array, here or behind a URL.
    rank
        Its number of axes.
    """
    axes = AXES.get((array.name, rank))
    return axes if axes and all((array.parent / name).is_dir() for name in ("img", "seg")) else None


def read_graph_pickle(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the skeletons of a NISB cube.

    Parameters
    ----------
    path
        A pickled networkx graph whose nodes carry `id` (skeleton) and `nm_position` (x, y, z in nm).

    Returns
    -------
    edges : (E, 2) int64
        Pairs of node numbers.
    node_skeleton_id : (N,)
        The skeleton of each node, in the type that the file has.
    node_pos_nm : (N, 3) float64
        Positions, z, y, x in nm.

    Raises
    ------
    DataError
        The pickle holds something other than such a graph, or asks for code.
    """
    graph = _load(path)
    try:
        numbers = {node: i for i, node in enumerate(graph.nodes)}
        data = [graph.nodes[node] for node in numbers]
        ids = np.array([d["id"] for d in data])
        positions_xyz = np.array([_triple(d["nm_position"]) for d in data]).reshape(-1, 3)
        edges = np.array([(numbers[a], numbers[b]) for a, b in graph.edges()], np.int64).reshape(-1, 2)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not hold skeletons as NISB writes them ({type(error).__name__}: {error})",
            expected="a networkx graph whose nodes have id and nm_position (x, y, z)",
        ) from error
    return edges, ids, np.ascontiguousarray(positions_xyz[:, ::-1])


def _triple(position: Any) -> np.ndarray:
    values = np.asarray(position, np.float64)
    if values.shape != (3,):
        raise ValueError(f"nm_position is not three numbers but {position!r}")
    return values


def _load(path: Path) -> Any:
    try:
        return GraphUnpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to spell
        raise DataError(
            f"{path} was not read, since it is not a plain graph ({error})",
            hint="get the file from the benchmark's own server, or convert the skeletons to SWC or npz",
        ) from error
