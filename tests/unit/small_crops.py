"""Crops of a challenge as ingest leaves them: tiny volumes whose labels are codes of classes."""

import numpy as np
from small_training import make_volume_of
from small_volume import write_description

from connectomake.files import read_json

CLASSES = ("nuc", "mito", "er", "golgi", "ves")


def make_crop(folder, name, role, codes, states, classes=CLASSES, nm=(8.0, 8.0, 8.0), raw=None):
    """Write a crop, labels `codes` (from 1) and raw data, and give its row of a split; `states` as in volume.json."""
    codes = np.asarray(codes, np.uint16)
    raw = np.random.default_rng(0).integers(0, 255, codes.shape, np.uint8) if raw is None else raw
    row = make_volume_of(folder, name, role, raw, codes, nm)
    said = read_json(row.volume_json) | {"codes": {"classes": list(classes), "states": list(states)}}
    write_description(row.volume_json, said | {"crop": {"dataset": "jrc_x", "crop": name}})
    return row


def make_cubes(folder, name, role, seed=0, shape=(40, 48, 72), classes=CLASSES, nm=(8.0, 8.0, 8.0)):
    """Write a crop of cubes: one for each class alone, some with none, and some of which nothing is known."""
    states = ["0" * len(classes), "u" * len(classes)]
    states += ["0" * i + "1" + "u" * (len(classes) - i - 1) for i in range(len(classes))]
    rng = np.random.default_rng(seed)
    numbers = np.arange(np.prod([-(-side // 8) for side in shape])) % len(states) + 1
    cubes = rng.permutation(numbers).reshape([-(-side // 8) for side in shape])
    codes = np.kron(cubes, np.ones((8, 8, 8), np.uint16))[tuple(map(slice, shape))]
    return make_crop(folder, name, role, codes, states, classes, nm)
