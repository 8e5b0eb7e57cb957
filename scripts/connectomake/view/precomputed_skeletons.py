"""Serve skeletons in neuroglancer's precomputed format, straight from the npz.

The format is neuroglancer's own (``src/datasource/precomputed/skeletons.md`` in its repository): x, y, z in nm. Its
positions are continuous, so a node lies where the OME-Zarr layers have that position.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from connectomake.volumes.skeletons import Skeletons, load_skeletons

PROPERTIES = "segment_properties"

_IDENTITY = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
_ID = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class SkeletonSource:
    """All skeletons of a volume, sorted by id, so that one of them is two slices.

    Parameters
    ----------
    ids
        (S,) int64, ascending, none negative, since neuroglancer's ids are unsigned.
    first_node, first_edge
        (S + 1,) int64, where the nodes and the edges of each skeleton begin.
    vertices
        (N, 3) float32, x, y, z in nm.
    edges
        (E, 2) uint32, pairs of nodes, counted from the first of their skeleton.
    length_nm
        (S,) float64, path lengths.
    """

    ids: np.ndarray
    first_node: np.ndarray
    first_edge: np.ndarray
    vertices: np.ndarray
    edges: np.ndarray
    length_nm: np.ndarray

    def read(self, key: str) -> bytes | None:
        """Return content of ``info``, ``segment_properties/info`` or ``ID``; None where there is no such skeleton."""
        if key == "info":
            return json.dumps(self._describe()).encode()
        if key == f"{PROPERTIES}/info":
            return json.dumps(self._list_skeletons()).encode()
        return self._encode(int(key)) if _ID.fullmatch(key) else None

    def _describe(self) -> dict[str, object]:
        return {
            "@type": "neuroglancer_skeletons",
            "transform": _IDENTITY,
            "vertex_attributes": [],
            "segment_properties": PROPERTIES,
        }

    def _list_skeletons(self) -> dict[str, object]:
        """Name every skeleton with its length: what neuroglancer fills the list of the layer with."""
        length = {
            "id": "length_nm",
            "type": "number",
            "data_type": "float32",
            "description": "path length",
            "values": np.round(self.length_nm).tolist(),
        }
        inline = {"ids": [str(i) for i in self.ids.tolist()], "properties": [length]}
        return {"@type": "neuroglancer_segment_properties", "inline": inline}

    def _encode(self, skeleton_id: int) -> bytes | None:
        place = int(np.searchsorted(self.ids, skeleton_id))
        if place == len(self.ids) or self.ids[place] != skeleton_id:
            return None
        vertices = self.vertices[self.first_node[place] : self.first_node[place + 1]]
        edges = self.edges[self.first_edge[place] : self.first_edge[place + 1]]
        return struct.pack("<II", len(vertices), len(edges)) + vertices.tobytes() + edges.tobytes()


def index_skeletons(skeletons: Skeletons) -> SkeletonSource:
    """Sort skeletons by id; edges between two skeletons, and skeletons of a negative id, are left out."""
    node_id = skeletons.node_skeleton_id
    order = np.argsort(node_id, kind="stable")
    order = order[np.searchsorted(node_id[order], 0) :]
    ids, first_node = np.unique(node_id[order], return_index=True)
    number = np.full(len(node_id), -1)
    number[order] = np.arange(len(order))
    pairs = node_id[skeletons.edges]
    edges = skeletons.edges[(pairs[:, 0] == pairs[:, 1]) & (pairs[:, 0] >= 0)]
    edges = edges[np.argsort(node_id[edges[:, 0]], kind="stable")]
    edge_id = node_id[edges[:, 0]]
    skeleton = np.searchsorted(ids, edge_id)
    steps_nm = np.linalg.norm(skeletons.node_pos_nm[edges[:, 0]] - skeletons.node_pos_nm[edges[:, 1]], axis=1)
    return SkeletonSource(
        ids=ids,
        first_node=np.append(first_node, len(order)),
        first_edge=np.append(np.searchsorted(edge_id, ids), len(edges)),
        vertices=skeletons.node_pos_nm[order, ::-1].astype("<f4"),
        edges=(number[edges] - first_node[skeleton][:, None]).astype("<u4"),
        length_nm=np.bincount(skeleton, steps_nm, len(ids)),
    )


def open_skeletons(npz: Path) -> SkeletonSource:
    """Read the skeletons of a volume; the last two that were read are kept, and read again where the file has changed.

    Raises
    ------
    MissingDataError
        The file does not exist.
    DataError
        It does not hold skeletons.
    """
    return _open(npz, npz.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _open(npz: Path, _changed_ns: int) -> SkeletonSource:
    return index_skeletons(load_skeletons(npz))
