"""Write a volume.json as ingest does, from what a test wants to say; the rest is filled in."""

from connectomake.files import write_json

CROP = {
    "dataset": "jrc_x",
    "crop": "crop1",
    "shape_zyx": (8, 8, 8),
    "voxel_size_zyx_nm": (8.0, 8.0, 8.0),
    "offset_zyx_nm": (0.0, 0.0, 0.0),
    "classes": (),
    "raw_group": None,
    "labels_group": None,
    "level": "s0",
    "resampled": False,
    "voxels": {},
}

MADE = {"predicted": True, "instances": False, "dtype": "uint8", "voxels": 1, "objects": None}
"""What a crop.json says of one class."""


def describe_volume(told):
    """Fill in what `told`, entries of a volume.json, does not say; the same of its crop."""
    shape = told.get("shape_zyx", (8, 8, 8))
    raw = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [(0, 0, 0), shape], "dtype": "uint8"}
    filled = {"name": "small", "role": "test", "weight": 1.0, "shape_zyx": shape, "raw": raw, "labels": None}
    filled |= {"voxel_size_zyx_nm": (8.0, 8.0, 8.0), "offset_zyx_nm": (0.0, 0.0, 0.0), "settings": {}, **told}
    return filled | ({"crop": CROP | told["crop"]} if "crop" in told else {})


def write_description(path, told):
    """Write a volume.json; give its path."""
    write_json(path, describe_volume(told))
    return path
