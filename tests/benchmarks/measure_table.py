"""Print the tables of the README: measuring against the ways it is done elsewhere, on this machine.

Run: python tests/benchmarks/measure_table.py [--nodes 50000 5000000] [--sides 128 256 512] [--stores 512] [--threads 2]
Every row is measured in one run, each number the least of a few rounds; the two ways give the same numbers, or the run
fails. Memory is the peak of a process of its own beyond what was measured.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np
from measure_peers import make_labels, make_skeletons, measure_by_graph, measure_by_scikit_image, read_one_by_one
from processes import in_new_process, peak_above
from tables import least_seconds, name_machine, seconds_of, show_head, show_row

from connectomake.config.settings.measure import MeasureConfig
from connectomake.geometry import BlockGrid
from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.volumes.nodes import segment_at_nodes
from connectomake.volumes.store import create_store, finish_store
from connectomake.volumes.volume import open_volume

PACKAGES = ("numpy", "numba", "scipy", "scikit-image", "networkx", "zarr")
LARGEST_GRAPH = 50_000  # nodes; a loop over a graph of more takes too long
NODES, FEW_NODES = 50_000, 500  # nodes to read labels at, and as many of them as are read one by one
MB = 1e6
ALL_OF_TABLE = MeasureConfig(voxel_metrics=("voi", "adapted_rand", "matching", "foreground"))
SAME_AS_SCIKIT_IMAGE = MeasureConfig(voxel_metrics=("voi", "adapted_rand"))


def show_skeletons(sizes):
    """Time every skeleton metric; a graph gives five of them, which are compared."""
    show_head("skeletons", "loops over a graph", "ours, 1 thread", "faster", "memory")
    for nodes in sizes:
        arrays = make_skeletons(nodes)
        ours = least_seconds(partial(skeleton_metrics, *arrays))
        by_graph, faster = "", ""
        if nodes <= LARGEST_GRAPH:
            seconds = seconds_of(partial(require_same_skeleton_metrics, arrays))
            by_graph, faster = f"{seconds:.2g} s", f"{seconds / ours:.0f}x"
        memory = in_new_process(skeleton_memory, nodes)
        show_row(f"{nodes:,} nodes", by_graph, f"{ours:.2g} s", faster, f"{memory / MB:.0f} MB")


def require_same_skeleton_metrics(arrays):
    ours = skeleton_metrics(*arrays)
    for name, number in measure_by_graph(*arrays).items():
        np.testing.assert_allclose(ours[name], number, rtol=1e-9, atol=1e-12, err_msg=name)


def skeleton_memory(nodes):
    """Return the peak memory of measuring, beyond the arrays."""
    arrays = make_skeletons(nodes)
    skeleton_metrics(*make_skeletons(100))
    return peak_above(partial(skeleton_metrics, *arrays))


def show_voxels(sides, threads):
    """Time VOI and the adapted Rand error over voxels, and with them what else comes from the same table."""
    names = ["scikit-image", "ours, 1 thread", f"ours, {threads} threads", "with AP, PQ, Dice", "faster"]
    show_head("VOI and adapted Rand error", *names, "memory: scikit-image, ours")
    for side in sides:
        truth, segmentation = make_labels(side)
        scikit_image = least_seconds(partial(measure_by_scikit_image, truth, segmentation), rounds=1)
        one, some = (least_seconds(partial(measure, truth, segmentation, threads=n)) for n in (1, threads))
        every = least_seconds(partial(measure, truth, segmentation, ALL_OF_TABLE, threads=threads))
        require_same_voxel_metrics(truth, segmentation)
        memory = [in_new_process(voxel_memory, side, way) / MB for way in (measure_by_scikit_image, measure)]
        times = [f"{seconds:.2g} s" for seconds in (scikit_image, one, some, every)]
        show_row(f"{side}^3", *times, f"{scikit_image / some:.0f}x", f"{memory[0]:.0f}, {memory[1]:.0f} MB")


def measure(truth, segmentation, cfg=SAME_AS_SCIKIT_IMAGE, threads=1):
    return dense_metrics(contingency_of_arrays(truth, segmentation, threads=threads), cfg)


def require_same_voxel_metrics(truth, segmentation):
    ours, others = measure(truth, segmentation), measure_by_scikit_image(truth, segmentation)
    names = ("voxel_voi_split", "voxel_voi_merge", "adapted_rand_error")
    np.testing.assert_allclose([ours[name] for name in names], others, rtol=1e-9, atol=1e-12)


def voxel_memory(side, way):
    """Return the peak memory of a way, beyond the two volumes."""
    labels = make_labels(side)
    way(*(np.ascontiguousarray(volume[:16, :16, :16]) for volume in labels))
    return peak_above(partial(way, *labels))


def show_nodes(sides, threads):
    """Time the reading of labels at the nodes of skeletons, from a store."""
    names = ["one by one", "ours, 1 thread", f"ours, {threads} threads", "faster", "memory"]
    show_head(f"labels at {NODES:,} nodes of a store", *names)
    for side in sides:
        with TemporaryDirectory() as folder:
            volume = open_volume(write_labels(Path(folder, "labels.zarr"), side))
            voxels = np.random.default_rng(0).integers(0, side, (NODES, 3))
            few = seconds_of(partial(require_same_labels, volume, voxels[:FEW_NODES])) * NODES / FEW_NODES
            position_nm = voxels * np.array(volume.voxel_size_zyx_nm)
            one, some = (least_seconds(partial(segment_at_nodes, volume, position_nm, threads=n)) for n in (1, threads))
            memory = in_new_process(node_memory, volume, position_nm, threads)
        times = [f"{seconds:.2g} s" for seconds in (few, one, some)]
        show_row(f"{side}^3", *times, f"{few / some:.0f}x", f"{memory / MB:.0f} MB")


def write_labels(store, side):
    """Write labels in the chunks and shards that decoding writes, from one tile."""
    tile = make_labels(128)[1]
    shard_zyx = (min(side, 256),) * 3
    place = {"voxel_size_zyx_nm": (8, 8, 8), "offset_zyx_nm": (0, 0, 0)}
    array = create_store(store, shape=(side,) * 3, dtype=np.uint32, shard_zyx=shard_zyx, **place)
    for box in BlockGrid((side,) * 3, shard_zyx):
        array[box.slices] = np.tile(tile, [n // 128 for n in box.shape_zyx])
    finish_store(store, attributes={})
    return store


def require_same_labels(volume, voxels):
    import zarr

    array = zarr.open(volume.source.replace("::", "/"), mode="r")
    found, _ = segment_at_nodes(volume, voxels * np.array(volume.voxel_size_zyx_nm))
    np.testing.assert_array_equal(found, read_one_by_one(array, voxels))


def node_memory(volume, position_nm, threads):
    """Return the peak memory of reading labels at nodes."""
    segment_at_nodes(volume, position_nm[:10])
    return peak_above(partial(segment_at_nodes, volume, position_nm, threads=threads))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[50_000, 5_000_000])
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--stores", type=int, nargs="+", default=[512])
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    print(name_machine(PACKAGES), end="\n\n")
    show_skeletons(wanted.nodes)
    print()
    show_voxels(wanted.sides, wanted.threads)
    print()
    show_nodes(wanted.stores, wanted.threads)


if __name__ == "__main__":
    main()
