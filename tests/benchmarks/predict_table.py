"""Print the tables of the README: prediction in blocks against the bare network and against MONAI, on this machine.

Run: python tests/benchmarks/predict_table.py [--parts bare monai memory options] [--threads 2] [--rounds 3] ...
By default it is over in some minutes; `--sides 256 512 --shapes 256,256,256 1024,512,512` takes an hour. Every
measurement is a process of its own, its memory the peak of that process, and what is compared alternates. Volumes are
noise, networks untrained: neither changes how long anything takes, but for the compression, which noise makes slowest.
"""

import argparse
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np
import predict_peers as peers
import zarr
from processes import in_new_process, peak_and_result
from tables import name_machine, show_head, show_row

from connectomake.config.settings.train_architectures import BasicUnetConfig, MedNextConfig, UnetConfig

PACKAGES = ("numpy", "torch", "monai", "zarr")
CHUNK = 64
SMALL_UNET = BasicUnetConfig(filters=(16, 16, 32, 32, 32, 16))
TINY_UNET = UnetConfig(filters=(4, 8), strides_zyx=((2, 2, 2),), residual_units=0)
NETWORKS = {"small": SMALL_UNET, "tiny": TINY_UNET}
FLIPS = {"tta": {"flip": ("z", "y", "x")}}
VARIANTS = {
    "8 flips": FLIPS,
    "float16": {"dtype": "float16"},
    "one level": {"pyramid": False},
    "zarrs": {"codec_pipeline": "zarrs"},
    "torch.compile": {"compile": "default"},
}


def show_bare(top, threads, rounds, window, shape):
    """Compare with the network alone on as many windows that are in memory."""
    kept = "in memory that is kept"
    show_head(
        "network", "windows", "bare", kept, "in blocks", "of the bare speed", kept, "network's share", "with start"
    )
    for settings in (MedNextConfig(), BasicUnetConfig()):
        folder = make_inputs(top / settings.architecture, settings, window, shape)
        options = {"block_zyx_vx": whole_chunks(shape)}
        needs = peers.plan(folder, "bare", threads, **options)
        rows = []
        for number in range(rounds):
            bare = partial(peers.run_bare, folder, window, needs.windows_computed, threads)
            alone, kept = in_new_process(bare), in_new_process(bare, True)
            whole, _, said = measure(folder, "bare", number, threads, options)
            rows.append((alone, kept, said["seconds"], said["network_seconds"], whole))
        alone, kept, blocks, network, whole = np.median(rows, axis=0)
        shares = [f"{np.median([row[i] / row[2] for row in rows]):.1%}" for i in (0, 1)]
        what = f"{settings.architecture}, {said['dtype'].removeprefix('torch.')}"
        times = (
            f"{alone:.1f} s",
            f"{kept:.1f} s",
            f"{blocks:.1f} s",
            *shares,
            f"{network / blocks:.1%}",
            f"{alone / whole:.1%}",
        )
        show_row(what, f"{said['windows']} of {name_shape(window)}", *times)


def show_monai(top, threads, rounds, sides, window, overlap, block, network):
    """Compare with MONAI's inferer on the same windows, which holds the volume and the result in memory."""
    flat = "in flat blocks: no window twice"
    show_head(
        "volume", "MONAI", "memory", flat, "memory", "faster", f"in blocks of {name_shape(block)}", "memory", "faster"
    )
    for side in sides:
        folder = make_inputs(top / f"monai{side}", NETWORKS[network], window, (side,) * 3)
        ways = {
            "flat": {"block_zyx_vx": (CHUNK, *whole_chunks((side, side)))},
            "blocks": {"block_zyx_vx": block},
        }
        common = {"precision": "float32", "overlap": overlap, "memory_gb": 1000}
        for name, options in ways.items():
            peers.plan(folder, name, threads, **options, **common)
        found = {name: [] for name in ("monai", *ways)}
        for number in range(rounds):
            out = folder / "monai.npy"
            peak, seconds = in_new_process(peak_and_result, peers.run_monai, folder, window, overlap, threads, out)
            found["monai"].append((seconds, peak))
            for name, options in ways.items():
                _, peak, said = measure(folder, name, number, threads, options | common)
                found[name].append((said["seconds"], peak))
                require_same_values(folder / f"{name}{number}.zarr", out)
        (alone, memory), *others = (np.median(rows, axis=0) for rows in found.values())
        cells = [cell for s, m in others for cell in (f"{s:.1f} s", f"{m / 1e9:.2f} GB", f"{alone / s:.2f}x")]
        show_row(f"{side}^3", f"{alone:.1f} s", f"{memory / 1e9:.2f} GB", *cells)


def show_memory(top, threads, shapes, window, block, overlap=0.25):
    """Compare the peaks of volumes of different sizes with one another, and with the estimates."""
    show_head("volume", "blocks", "peak memory", "estimated", "speed")
    for number, shape in enumerate(shapes):
        folder = make_inputs(top / f"memory{number}", SMALL_UNET, window, shape)
        options = {"block_zyx_vx": block, "overlap": overlap, "memory_gb": 1000}
        needs = peers.plan(folder, "memory", threads, **options)
        _, peak, said = measure(folder, "memory", 0, threads, options)
        sizes = f"{peak / 1e9:.2f} GB", f"{needs.mem_mb / 1e3:.2f} GB"
        show_row(name_shape(shape), said["blocks"], *sizes, f"{said['mvoxel_per_s']:.2f} million voxels per s")


def show_options(top, threads, rounds, window, shape):
    """Describe what options cost, each against the same prediction without it."""
    show_head("option", "time", "without", "ratio", "memory", "without")
    folder = make_inputs(top / "options", SMALL_UNET, window, shape)
    plain = {"block_zyx_vx": (CHUNK, *whole_chunks(shape[1:]))}
    for name, changed in VARIANTS.items():
        if name == "zarrs" and find_spec("zarrs") is None:
            show_row(name, "not installed", "", "", "", "")
            continue
        rows = []
        for number in range(rounds):
            row = []
            for options in (plain | changed, plain):
                peers.plan(folder, "options", threads, **options)
                _, peak, said = measure(folder, "options", f"{name}{number}{len(row)}", threads, options)
                row += [said["seconds"], peak / 1e9]
            rows.append(row)
        seconds, peak, before, peak_before = np.median(rows, axis=0)
        times = f"{seconds:.1f} s", f"{before:.1f} s", f"{seconds / before:.2f}"
        show_row(name, *times, f"{peak:.2f} GB", f"{peak_before:.2f} GB")


def make_inputs(folder, settings, window, shape):
    """Write an untrained network and a volume into a new folder, and give it."""
    folder.mkdir()
    peers.write_checkpoint(folder / "model.ckpt", settings, window)
    peers.write_volume(folder, shape)
    return folder


def measure(folder, name, number, threads, options):
    """Predict in a new process; give the seconds with its start, its peak, and what the job says."""
    started = time.perf_counter()
    work = partial(peers.predict, folder, name, threads, store=f"{name}{number}", **options)
    peak, said = in_new_process(peak_and_result, work)
    return time.perf_counter() - started, peak, said


def require_same_values(store, out):
    """Compare a store with what MONAI gave: rounding may differ by one step of 255."""
    ours, theirs = zarr.open(store / "s0", mode="r"), np.load(out, mmap_mode="r")
    for z in range(0, ours.shape[1], CHUNK):
        slab = slice(None), slice(z, z + CHUNK)
        np.testing.assert_allclose(ours[slab], theirs[slab].astype(np.int16), rtol=0, atol=1)


def whole_chunks(shape):
    return tuple(-(-n // CHUNK) * CHUNK for n in shape)


def name_shape(shape):
    return " x ".join(map(str, shape)) if len(set(shape)) > 1 else f"{shape[0]}^3"


def read_shape(text):
    """Read a shape as in 1024,512,512, or a single side."""
    sides = [int(side) for side in text.split(",")]
    return tuple(sides * 3 if len(sides) == 1 else sides)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["bare", "monai", "memory", "options"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=read_shape, default=(64, 64, 64))
    parser.add_argument("--shape", type=read_shape, default=(64, 128, 160), help="volume of `bare` and `options`")
    parser.add_argument("--sides", type=int, nargs="+", default=[128], help="volumes of `monai`")
    parser.add_argument(
        "--shapes", type=read_shape, nargs="+", default=[(128,) * 3, (256, 256, 256)], help="of `memory`"
    )
    parser.add_argument("--overlap", type=float, default=0.25, help="of `monai`")
    parser.add_argument("--block", type=read_shape, default=(128, 128, 128), help="of `monai` and `memory`")
    parser.add_argument("--network", choices=NETWORKS, default="small", help="of `monai`")
    given = parser.parse_args()
    print(name_machine(PACKAGES))
    shows = {
        "bare": partial(show_bare, rounds=given.rounds, window=given.window, shape=given.shape),
        "monai": partial(
            show_monai,
            rounds=given.rounds,
            sides=given.sides,
            window=given.window,
            overlap=given.overlap,
            block=given.block,
            network=given.network,
        ),
        "memory": partial(show_memory, shapes=given.shapes, window=given.window, block=given.block),
        "options": partial(show_options, rounds=given.rounds, window=given.window, shape=given.shape),
    }
    for part in given.parts:
        print()
        with TemporaryDirectory() as folder:
            shows[part](Path(folder), given.threads)


if __name__ == "__main__":
    main()
