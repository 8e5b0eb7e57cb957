"""Volumes that a generator learns from, tiny: ingested ones with a split, and a collection of files by class."""

import numpy as np
from small_training import make_volume_of

from connectomake.config.settings.synth import SynthConfig
from connectomake.geometry import Box
from connectomake.split.table import SplitRow, write_split

ROOM = (16, 16, 16)


def synth_settings(**changes):
    values = {
        "examples": {"shapes_zyx_vx": [[8, 8, 8]], "least_volumes": 1},
        "autoencoder": {
            "ratio_zyx": [2, 2, 2],
            "patch_zyx_vx": [4, 4, 4],
            "hidden": 4,
            "groups": 2,
            "embedding": 3,
            "codes": 8,
            "heads": 1,
            "head_channels": 4,
        },
        "denoiser": {
            "dim": 12,
            "mults": [1, 1, 2],
            "attention": [False, False, False],
            "subvolume": 2,
            "heads": 2,
            "groups": 2,
        },
    }
    return SynthConfig.model_validate(values | changes)


def examples_of(**changes):
    return synth_settings(examples={"shapes_zyx_vx": [[8, 8, 8]], "least_volumes": 1} | changes)


def grey(seed, shape=ROOM, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def blocks(shape=ROOM):
    labels = np.zeros(shape, np.uint32)
    labels[: shape[0] // 2] = 1
    labels[shape[0] // 2 :] = 2
    labels[:, :2] = 0
    return labels


def make_volumes(folder, *volumes):
    """Write volumes (name, role, raw, voxel size) and their split; give split.tsv."""
    rows = []
    for name, role, raw, nm in volumes:
        rows.append(make_volume_of(folder / name, name, role, raw, blocks(raw.shape[-3:]), nm))
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


def make_boxes(folder, raw, *boxes):
    """Write one volume, and a split of it into boxes (role, start, stop); give split.tsv."""
    row = make_volume_of(folder / "v", "v", "train", raw, blocks(raw.shape))
    rows = [SplitRow("v", role, row.volume_json, Box(start, stop)) for role, start, stop in boxes]
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


def two_classes(folder):
    nm = (10.0, 10.0, 10.0)
    return make_volumes(
        folder,
        ("dark_1", "train", grey(1) // 4, nm),
        ("dark_2", "validate", grey(2) // 4, nm),
        ("bright_1", "train", grey(3) // 4 + 128, nm),
        ("bright_2", "test", grey(4) // 4 + 128, nm),
    )


def make_nifti(path, array, mm=0.00001):
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), np.diag([mm, mm, mm, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
