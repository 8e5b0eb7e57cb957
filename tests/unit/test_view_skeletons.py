"""Skeletons come out of their npz as neuroglancer reads them: all of them, each by its id."""

from __future__ import annotations

import json

import numpy as np

from connectomake.view.precomputed_skeletons import index_skeletons
from connectomake.view.routes import Site
from connectomake.volumes.skeletons import Skeletons, save_skeletons


def decode_skeleton(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read a precomputed skeleton: (N, 3) x, y, z and (E, 2)."""
    nodes, edges = np.frombuffer(data, "<u4", 2)
    assert len(data) == 8 + 12 * nodes + 8 * edges
    positions = np.frombuffer(data, "<f4", 3 * nodes, 8).reshape(-1, 3)
    return positions, np.frombuffer(data, "<u4", 2 * edges, 8 + 12 * nodes).reshape(-1, 2)


def scattered_skeletons() -> Skeletons:
    """Three paths whose nodes and edges lie in any order, one lone node, and one id too large for a float."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat([0, 7, 2**60 + 1, 9], [5, 8, 4, 1]))
    chains = [np.flatnonzero(ids == i) for i in (0, 7, 2**60 + 1)]
    edges = np.concatenate([np.stack([c[:-1], c[1:]], 1) for c in chains])
    return Skeletons(rng.permutation(edges), ids, rng.uniform(-500, 500, (len(ids), 3)))


def test_skeletons_come_out_as_they_are(tmp_path):
    skeletons = scattered_skeletons()
    save_skeletons(tmp_path / "ingest" / "d" / "v" / "skeletons.npz", skeletons)
    site = Site(tmp_path)
    info = json.loads(site.find("/ingest/d/v/skeletons/info").body)
    assert info["@type"] == "neuroglancer_skeletons"
    assert info["transform"] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    listed = json.loads(site.find(f"/ingest/d/v/skeletons/{info['segment_properties']}/info").body)["inline"]
    assert listed["ids"] == ["0", "7", "9", str(2**60 + 1)]
    for name, length in zip(listed["ids"], listed["properties"][0]["values"], strict=True):
        positions, edges = decode_skeleton(site.find(f"/ingest/d/v/skeletons/{name}").body)
        nodes = np.flatnonzero(skeletons.node_skeleton_id == int(name))
        np.testing.assert_array_equal(positions, skeletons.node_pos_nm[nodes, ::-1].astype(np.float32))
        mine = skeletons.edges[np.isin(skeletons.edges, nodes).all(1)]
        assert sorted(map(tuple, nodes[edges])) == sorted(map(tuple, mine))
        steps = np.diff(skeletons.node_pos_nm[mine], axis=1)
        assert length == round(float(np.sqrt((steps**2).sum(-1)).sum()))
    assert site.find("/ingest/d/v/skeletons/8") is None
    assert site.find("/ingest/d/v/skeletons/07") is None
    assert site.find("/ingest/d/w/skeletons/info") is None


def test_what_no_client_can_show_is_left_out_of_skeletons():
    pos = np.zeros((4, 3))
    source = index_skeletons(Skeletons(np.array([[0, 1], [1, 2], [0, 3]]), np.array([-1, 5, 5, -1]), pos))
    assert source.ids.tolist() == [5]
    assert decode_skeleton(source.read("5"))[1].tolist() == [[0, 1]]
    nothing = index_skeletons(Skeletons(np.empty((0, 2)), np.empty(0), np.empty((0, 3))))
    assert nothing.read("5") is None
    assert json.loads(nothing.read("segment_properties/info"))["inline"]["ids"] == []
