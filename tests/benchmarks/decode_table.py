"""Print the table of the README: decoding against the ways it is done elsewhere, on this machine.

Run: python tests/benchmarks/decode_table.py [--sides 128 256 512] [--stores 512 1024] [--block 256] [--threads 2]
Every row is measured in one run, each number the least of a few rounds. Memory is the peak of a process of its own
beyond the affinities, in label volumes of 4 bytes a voxel. The affinities are those of `peers.make_affinities`.
"""

import argparse
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import bench_sweep
from peers import label_by_cc3d, label_by_flood_fill, label_by_scikit_image, make_affinities, peak_beyond
from processes import in_new_process, peak_bytes
from stores import block_steps, require_same_labels, sweep_store, whole_step, write_affinities
from tables import least_seconds, name_machine, show_head, show_row

from connectomake.decode import affinity_cc3d

THRESHOLD = 0.5
SMALLEST_MEASURED = 256  # smaller volumes fit into memory that the process had before
PACKAGES = ("numpy", "numba", "connected-components-3d", "scikit-image", "zarr")


def show_components(sides, threads):
    """Time the labelling of affinities above one threshold."""
    ours = partial(affinity_cc3d, threshold=THRESHOLD, threads=threads)
    one = partial(affinity_cc3d, threshold=THRESHOLD, threads=1)
    ways = {"flood fill": label_by_flood_fill, "scikit-image": label_by_scikit_image, "cc3d": label_by_cc3d}
    names = [*ways, "ours, 1 thread", f"ours, {threads} threads"]
    show_head("components", *names, "faster than flood fill, cc3d", "memory: flood fill, cc3d, ours")
    for side, clean in product(sides, (True, False)):
        affinities = make_affinities(side, clean=clean)
        seconds = [least_seconds(partial(work, affinities), 2) for work in ways.values()]
        seconds += [least_seconds(partial(work, affinities), 5) for work in (one, ours)]
        memory = ""
        if side >= SMALLEST_MEASURED:
            measured = (label_by_flood_fill, label_by_cc3d, ours)
            peaks = [in_new_process(peak_beyond, work, side, clean) for work in measured]
            memory = ", ".join(f"{peak / (4 * side**3):.2f}" for peak in peaks)
        faster = ", ".join(f"{seconds[i] / seconds[-1]:.1f}x" for i in (0, 2))
        show_row(name_volume(side, clean), *[f"{s:.2g} s" for s in seconds], faster, memory)


def show_sweep(sides, threads):
    """Time 13 thresholds with all skeleton metrics of 50,000 nodes."""
    print()
    show_head("13 thresholds", "one decode", "sweep with 13 x metrics", "in decodes", "13 x (decode + metrics)")
    for side, clean in product(sides, (True, False)):
        affinities = make_affinities(side, clean=clean)
        skeletons = bench_sweep.make_skeletons(affinities)
        one = least_seconds(partial(affinity_cc3d, affinities, THRESHOLD, threads=threads), 5)
        sweep = least_seconds(partial(bench_sweep.sweep, affinities, skeletons, threads), 5)
        each = least_seconds(partial(bench_sweep.decode_each, affinities, skeletons, threads), 1)
        show_row(name_volume(side, clean), f"{one:.2g} s", f"{sweep:.2g} s", f"{sweep / one:.1f}", f"{each:.2g} s")


def show_store(sides, block, threads):
    """Time the way from a store of affinities to a store of labels, at once and in blocks; and a sweep of the store."""
    print()
    blocks = f"in blocks of {block}^3: label + stitch + relabel + finish"
    show_head("store to store", "at once", "memory", blocks, "memory", "13 thresholds at nodes", "memory")
    for side in sides:
        with TemporaryDirectory() as folder:
            affinities = write_affinities(Path(folder), side)
            whole = measure_step(whole_step(affinities, threads))
            sweep = measure_step(partial(sweep_store, affinities, threads))
            steps = [measure_step(step) for step in block_steps(affinities, block, threads).values()]
            require_same_labels(affinities)
        shares = " + ".join(f"{seconds:.1f}" for seconds, _ in steps)
        in_all = f"{sum(seconds for seconds, _ in steps):.1f} s = {shares}"
        most = max(peak for _, peak in steps)
        show_row(f"{side}^3", *show_cost(*whole), in_all, f"{most / 1e9:.2f} GB", *show_cost(*sweep))


def name_volume(side, clean):
    return f"{side}^3, {'clean' if clean else 'noisy'}"


def show_cost(seconds, peak):
    return f"{seconds:.1f} s", f"{peak / 1e9:.2f} GB"


def measure_step(step):
    """Return the seconds and the peak bytes of a step in a process of its own, starting it included."""
    started = time.perf_counter()
    peak = in_new_process(peak_bytes, step)
    return time.perf_counter() - started, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--stores", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(name_machine(PACKAGES), end="\n\n")
    show_components(given.sides, given.threads)
    show_sweep(given.sides, given.threads)
    show_store(given.stores, given.block, given.threads)


if __name__ == "__main__":
    main()
