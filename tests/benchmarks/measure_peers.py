"""Skeletons and labels to measure on, and the ways that others measure them.

`measure_by_graph` goes about it as BANIS and funlib.evaluate do: a networkx graph, a loop over its nodes and edges for
every tolerance of mergers. It is written anew from the definitions and gives the numbers of `skeleton_metrics`.
"""

from collections import Counter, defaultdict

import networkx
import numpy as np
from peers import make_affinities
from skimage.metrics import adapted_rand_error, variation_of_information

from connectomake.decode import affinity_cc3d

TOLERANCES = {"nerl": 0, "nerl_5": 5, "nerl_20": 20, "nerl_100": 100, "nerl_inf": np.inf}


def make_skeletons(nodes, per_skeleton=125):
    """Return edges, skeleton ids, positions and segments like those of NISB cubes.

    Random trees; splits on 0.4 % of the edges, mergers of 15 % of the skeletons, 1 % of the nodes in background.
    """
    rng = np.random.default_rng(17)
    skeletons = max(2, nodes // per_skeleton)
    skeleton = np.sort(rng.integers(1, skeletons + 1, nodes))
    starts_tree = np.r_[True, np.diff(skeleton) > 0]
    child = np.flatnonzero(~starts_tree)
    tree_start = np.maximum.accumulate(np.where(starts_tree, np.arange(nodes), 0))[child]
    edges = np.stack([np.maximum(child - rng.geometric(0.6, len(child)), tree_start), child], axis=1)
    segment = np.cumsum(starts_tree | (rng.random(nodes) < 0.004))
    name = np.arange(segment[-1] + 1)
    joined = rng.choice(np.arange(1, len(name)), (max(1, skeletons * 15 // 100), 2), replace=False)
    name[joined[:, 1]] = joined[:, 0]
    segment = np.where(rng.random(nodes) < 0.01, 0, name[segment])
    position_nm = rng.normal(0, 30, (nodes, 3)).cumsum(axis=0)
    return edges, skeleton, position_nm, segment.astype(np.uint32)


def measure_by_graph(edges, node_skeleton_id, node_pos_nm, node_segment_id):
    """Return VOI, splits and NERL with each tolerance, by loops over a graph."""
    graph = networkx.Graph()
    for node, (skeleton, position) in enumerate(zip(node_skeleton_id.tolist(), node_pos_nm, strict=True)):
        graph.add_node(node, skeleton=skeleton, position=position)
    graph.add_edges_from(edges.tolist())
    segment_of = {node: int(node_segment_id[node]) for node in graph.nodes}
    found = {name: _expected_run(graph, segment_of, ignored) for name, ignored in TOLERANCES.items()}
    longest = _expected_run(graph, {node: graph.nodes[node]["skeleton"] for node in graph.nodes}, 0)
    found = {name: erl / longest for name, erl in found.items()}
    cut = ((segment_of[u], segment_of[v]) for u, v in graph.edges)
    found["n_splits"] = sum(a != b and a != 0 and b != 0 for a, b in cut)
    pairs = Counter((graph.nodes[n]["skeleton"], g) for n, g in segment_of.items())
    split, merge = _information(pairs)
    return found | {"voi_split": split, "voi_merge": merge}


def _expected_run(graph, segment_of, ignored):
    """Go through all nodes for the mergers, and through all edges for the runs."""
    contacts = Counter((segment_of[n], graph.nodes[n]["skeleton"]) for n in graph.nodes)
    skeletons = defaultdict(set)
    for (segment, skeleton), nodes in contacts.items():
        if nodes > ignored:
            skeletons[segment].add(skeleton)
    merging = {segment: held for segment, held in skeletons.items() if len(held) > 1}
    merged = set().union(*merging.values())
    runs, length = Counter(), Counter()
    for u, v in graph.edges:
        skeleton, a, b = graph.nodes[u]["skeleton"], segment_of[u], segment_of[v]
        step = float(np.linalg.norm(graph.nodes[u]["position"] - graph.nodes[v]["position"]))
        length[skeleton] += step
        if a == b != 0 and not (a in merging and skeleton in merged):
            runs[skeleton, a] += step
    return sum(run**2 for run in runs.values()) / sum(length.values())


def _information(pairs):
    total, rows, columns = sum(pairs.values()), Counter(), Counter()
    for (skeleton, segment), count in pairs.items():
        rows[skeleton] += count
        columns[segment] += count
    split = sum(n * np.log2(rows[s] / n) for (s, _), n in pairs.items()) / total
    merge = sum(n * np.log2(columns[g] / n) for (_, g), n in pairs.items()) / total
    return split, merge


def make_labels(side):
    """Return truth and segmentation of a cube: cells and what components of noisy affinities make of them."""
    truth = affinity_cc3d(make_affinities(side, clean=True), threshold=0.5)
    return truth, affinity_cc3d(make_affinities(side), threshold=0.7)


def measure_by_scikit_image(truth, segmentation):
    """Return VOI (split, merge) and the adapted Rand error, truth 0 left out."""
    split, merge = variation_of_information(truth, segmentation, ignore_labels=(0,))
    return split, merge, adapted_rand_error(truth, segmentation, ignore_labels=(0,))[0]


def read_one_by_one(array, voxels):
    """Read the label under each node by itself, as loops over the nodes of a graph do."""
    return np.array([array[tuple(voxel)] for voxel in voxels.tolist()])
