"""Print the table of the README: the score of a crop, by the recipe of the challenge's scorer and by ours.

Run: python tests/benchmarks/score_table.py [--sides 64 128] [--larger 256 512] [--threads 2]
Both are measured in one run on the same labels and give the same numbers, or the run fails. The recipe's time is that
of one call, ours the least of three; memory is the peak of a process of its own beyond the labels. Larger crops, read
from a compressed store slab by slab, are scored by ours alone.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np
from processes import in_new_process, peak_above
from score_peers import make_objects, score_by_distance_maps
from tables import least_seconds, name_machine, seconds_of, show_head, show_row

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.submit.score.crop import count_objects
from connectomake.submit.score.labels import LabelPair, Labels
from connectomake.submit.score.metric import find_metric
from connectomake.submit.score.submission import score_submission

PACKAGES = ("numpy", "numba", "scipy", "connected-components-3d", "zarr")
METRIC = find_metric("6b9ad68")
VOXEL_SIZE = (4.0, 4.0, 4.0)
CHUNK = 128
MB = 1e6


def show_arrays(sides, threads):
    """Time crops that lie in memory."""
    names = [f"recipe of the scorer, {threads} threads", "ours, 1 thread", f"ours, {threads} threads", "faster"]
    show_head("crop", "objects", *names, "memory: recipe, ours")
    for side in sides:
        truth, submitted = make_objects(side)
        ours = partial(count_objects, make_pair(truth, submitted), METRIC)
        one, some = (least_seconds(partial(ours, n)) for n in (1, threads))
        recipe = seconds_of(partial(require_same, ours(), truth, submitted, threads))
        memory = [in_new_process(memory_of, way, side, threads) / MB for way in ("recipe", "ours")]
        times = [f"{seconds:.2g} s" for seconds in (recipe, one, some)]
        objects = len(np.unique(truth)) - 1
        show_row(f"{side}^3", objects, *times, f"{recipe / some:.0f}x", f"{memory[0]:.0f}, {memory[1]:.0f} MB")


def make_pair(truth, submitted):
    grid = CropGrid(truth.shape, VOXEL_SIZE, (0.0, 0.0, 0.0))
    return LabelPair(grid, *(Labels(name, a.__getitem__) for name, a in (("truth", truth), ("submitted", submitted))))


def require_same(ours, truth, submitted, threads):
    tp, fp, fn, total = score_by_distance_maps(truth, submitted, VOXEL_SIZE, METRIC.normalise, threads)
    assert (ours.tp, ours.fp, ours.fn) == (tp, fp, fn)
    np.testing.assert_allclose(ours.hausdorff_norm_sum, total, rtol=0, atol=1e-6)


def memory_of(way, side, threads):
    """Return the peak memory of scoring, beyond the labels."""
    work = {
        "ours": lambda t, s: count_objects(make_pair(t, s), METRIC, threads),
        "recipe": lambda t, s: score_by_distance_maps(t, s, VOXEL_SIZE, METRIC.normalise, threads),
    }[way]
    work(*make_objects(32))
    return peak_above(partial(work, *make_objects(side)))


def show_stores(sides, threads):
    """Time crops that lie in compressed stores, and the peak memory of the whole process."""
    show_head("crop in a store", "objects", f"ours, {threads} threads", "peak of the process")
    for side in sides:
        with TemporaryDirectory() as folder:
            objects = write_crop(Path(folder), side)
            seconds, peak = in_new_process(score_store, folder, threads)
        show_row(f"{side}^3", objects, f"{seconds:.0f} s", f"{peak / 1e9:.1f} GB")


def write_crop(folder, side):
    """Write truth and submission of one class, of tiles of 128^3 with ids of their own, and the manifest."""
    import zarr
    from numcodecs import Blosc

    tiles = make_objects(CHUNK)
    n = side // CHUNK
    arrays = [
        zarr.open_group(folder / f"{name}.zarr", mode="w", zarr_format=2).create_array(
            "crop1/mito", shape=(side,) * 3, chunks=(CHUNK,) * 3, dtype="uint32", compressors=Blosc("zstd", 3)
        )
        for name in ("truth", "submission")
    ]
    for number, place in enumerate(np.ndindex(n, n, n)):
        box = tuple(slice(i * CHUNK, (i + 1) * CHUNK) for i in place)
        for array, tile in zip(arrays, tiles, strict=True):
            array[box] = np.where(tile > 0, tile + number * tiles[0].max(), 0)
    write_manifest(
        folder / "manifest.csv", [ManifestRow("crop1", "x", "mito", CropGrid((side,) * 3, VOXEL_SIZE, (0.0, 0.0, 0.0)))]
    )
    return n**3 * (len(np.unique(tiles[0])) - 1)


def score_store(folder, threads):
    """Return the seconds of scoring, and the peak memory of this process."""
    from processes import read_memory

    paths = [Path(folder, name) for name in ("truth.zarr", "submission.zarr", "manifest.csv")]
    seconds = seconds_of(partial(score_submission, *paths, threads=threads))
    return seconds, read_memory("VmHWM")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--larger", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    print(name_machine(PACKAGES), end="\n\n")
    show_arrays(wanted.sides, wanted.threads)
    print()
    show_stores(wanted.larger, wanted.threads)


if __name__ == "__main__":
    main()
