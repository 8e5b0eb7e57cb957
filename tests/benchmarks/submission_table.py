"""Print the table of the README: what a submission to the CellMap challenge takes on this machine.

Run: python tests/benchmarks/submission_table.py [--manifest test_crop_manifest.csv] [--crop 600] [--classes 10]
By default, the manifest is made up, and as large as the challenge's: 413 arrays of 16 crops, 87.7 Gvoxel. One array in
eight holds balls in one chunk of sixteen, the others are empty. Memory is the peak of a process of its own.
"""

import argparse
import sys
import time
from functools import partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np
from processes import in_new_process, peak_bytes
from tables import name_machine, show_head, show_row

from connectomake.cellmap.manifest import CropGrid, ManifestRow, group_by_crop, read_manifest, write_manifest
from connectomake.config.settings.submit import ObjectsConfig, SubmitConfig
from connectomake.files import write_json
from connectomake.geometry import BlockGrid, Box
from connectomake.submit.arrays import CHUNK_ZYX, create_array
from connectomake.submit.decode_crop import decode_crop
from connectomake.submit.pack import pack_submission
from connectomake.volumes.store import create_store, finish_store

# Of each crop: voxels and classes, as in the challenge.
CROPS = {
    557: ((600, 600, 600), 48),
    558: ((600, 600, 600), 48),
    559: ((300, 300, 300), 48),
    560: ((600, 600, 600), 48),
    561: ((400, 500, 500), 48),
    562: ((300, 300, 300), 48),
    980: ((800, 300, 300), 6),
    981: ((300, 300, 800), 25),
    982: ((140, 400, 400), 8),
    983: ((1000, 1000, 1000), 20),
    984: ((800, 800, 1000), 1),
    985: ((1000, 1000, 1000), 1),
    986: ((800, 800, 800), 48),
    987: ((300, 300, 300), 5),
    988: ((400, 400, 400), 3),
    989: ((300, 300, 300), 8),
}
FULL_ARRAYS, FULL_CHUNKS = 8, 16  # one array in so many is not empty, and in it one chunk in so many
NETWORK_NM, CROP_NM = 8.0, 4.0


def make_manifest(path):
    """Write a manifest as large as the challenge's."""
    rows = []
    for number, (shape_zyx, classes) in CROPS.items():
        grid = CropGrid(shape_zyx, (4.0, 4.0, 4.0), (2.0, 2.0, 2.0))
        rows += [ManifestRow(f"crop{number}", "made_up", f"class_{k:02d}", grid) for k in range(classes)]
    write_manifest(path, rows)


def draw_balls(shape_zyx):
    """Draw the ids of balls of 5 to 20 voxels across."""
    place = np.indices(shape_zyx)
    labels = np.zeros(shape_zyx, np.uint16)
    rng = np.random.default_rng(0)
    for own in range(1, 31):
        centre, radius = rng.integers(0, shape_zyx), rng.integers(3, 11)
        labels[((place - centre[:, None, None, None]) ** 2).sum(0) <= radius**2] = own
    return labels


def write_arrays(manifest, folder):
    """Write all arrays of a manifest, and a crop.json for each crop."""
    balls = draw_balls(CHUNK_ZYX)
    number = 0
    for crop, rows in group_by_crop(read_manifest(manifest)).items():
        grid = rows[0].grid
        place = {key: getattr(grid, key) for key in ("shape_zyx", "voxel_size_zyx_nm", "offset_zyx_nm")}
        for row in rows:
            array = create_array(folder / crop / crop / row.label, grid, np.uint16)
            if number % FULL_ARRAYS == 0:
                for box in list(BlockGrid(grid.shape_zyx, CHUNK_ZYX))[::FULL_CHUNKS]:
                    array[box.slices] = balls[Box.of_shape(box.shape_zyx).slices]
            number += 1
        made = {"predicted": True, "instances": False, "dtype": "uint16", "voxels": 1, "objects": None}
        classes = {row.label: made for row in rows}
        said = {"crop": crop, "dataset": rows[0].dataset, "folder": crop, "classes": classes}
        write_json(folder / crop / "crop.json", said | place)


def pack(manifest, folder):
    """Pack what `write_arrays` wrote."""
    pack_submission(sorted(folder.glob("*/crop.json")), manifest, folder / "submission.zip")


def write_prediction(folder, side, classes):
    """Write what a network of 8 nm could say of a crop of 4 nm with so many voxels a side, and describe the crop."""
    names = [f"class_{k}" for k in range(classes)]
    below = int(side * CROP_NM / NETWORK_NM)
    store = folder / "affinities.zarr"
    array = create_store(
        store,
        shape=(classes, below, below, below),
        dtype=np.uint8,
        chunk_zyx=(64,) * 3,
        shard_zyx=(128,) * 3,
        voxel_size_zyx_nm=(NETWORK_NM,) * 3,
        offset_zyx_nm=(NETWORK_NM / 2,) * 3,
    )
    rng = np.random.default_rng(0)
    balls = (draw_balls((128,) * 3) > 0) * np.uint8(180)
    for block in BlockGrid((below,) * 3, (128,) * 3):
        values = balls[Box.of_shape(block.shape_zyx).slices] + rng.integers(0, 60, block.shape_zyx, dtype=np.uint8)
        array[(slice(None), *block.slices)] = np.broadcast_to(values, (classes, *block.shape_zyx))
    offsets = [None] * len(names)
    finish_store(store, attributes={"channels": names, "offsets_zyx_vx": offsets, "edge_convention": "source"})
    place = {"shape_zyx": (side,) * 3, "voxel_size_zyx_nm": (CROP_NM,) * 3, "offset_zyx_nm": (CROP_NM / 2,) * 3}
    crop = {"crop": "crop1", "dataset": "made_up", "classes": names, **place, "level": "s0", "resampled": False}
    raw = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], [side] * 3], "dtype": "uint8"}
    volume = {"name": "made_up.crop1", "role": "predict", "weight": 1.0, **place, "raw": raw, "settings": {}}
    write_json(folder / "volume.json", {**volume, "crop": {**crop, "voxels": {}}})
    return names


def decode(folder, instances, split_nm, threads):
    """Decode what `write_prediction` wrote."""
    cfg = SubmitConfig(instance_classes=instances, objects=ObjectsConfig(split_nm=split_nm))
    decode_crop(folder / "affinities.zarr", folder / "volume.json", cfg, out=folder / "crop.json", threads=threads)


def measure(what, work, voxels):
    """Time something in a process of its own, starting it included, and show its peak of memory."""
    started = time.perf_counter()
    peak = in_new_process(peak_bytes, work)
    seconds = time.perf_counter() - started
    show_row(what, f"{voxels / 1e9:.2f}", f"{seconds:.0f} s", f"{peak / 1e9:.2f} GB")


def show_submission(given):
    """Write and pack the arrays of a whole submission."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        manifest = given or folder / "manifest.csv"
        if given is None:
            make_manifest(manifest)
        rows = read_manifest(manifest)
        voxels = sum(prod(row.grid.shape_zyx) for row in rows)
        measure(f"write {len(rows)} arrays", partial(write_arrays, manifest, folder), voxels)
        measure("pack them", partial(pack, manifest, folder), voxels)
        size = (folder / "submission.zip").stat().st_size
        show_row("the zip", "", "", f"{size / 1e9:.3f} GB")


def show_crop(side, classes, threads):
    """Decode one crop: half of the classes object by object, without and with cuts at necks."""
    for split_nm in (None, 20.0):
        with TemporaryDirectory() as name:
            names = write_prediction(Path(name), side, classes)
            work = partial(decode, Path(name), tuple(names[::2]), split_nm, threads)
            cut = "cut at necks" if split_nm else "components"
            measure(f"decode {side}^3, {classes} classes, half by object ({cut})", work, classes * side**3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--crop", type=int, default=600)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(name_machine(("numpy", "zarr", "numcodecs", "connected-components-3d", "edt")), end="\n\n")
    show_head("submission", "Gvoxel", "time", "peak memory")
    show_submission(given.manifest)
    show_crop(given.crop, given.classes, given.threads)


if __name__ == "__main__":
    main()
