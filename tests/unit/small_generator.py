"""A generator that has learnt nothing yet: two volumes of two classes, random weights."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from small_volume import write_description

from connectomake.config.settings.synth import SynthConfig
from connectomake.geometry import Box
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.biflownet import build_denoiser
from connectomake.synth.checkpoints import save_autoencoder, save_diffusion
from connectomake.synth.examples import Example, write_table
from connectomake.synth.latents import Normalisation
from connectomake.volumes.ingested import StoredArray
from connectomake.volumes.store import write_store

SHAPE = (16, 16, 16)
SIZE = (20.0, 10.0, 10.0)
CLASSES = ("thick", "thin")


def settings(kind: str = "none", **sections: object) -> SynthConfig:
    """Return the settings of a generator of volumes of 16^3 voxels."""
    values = {
        "examples": {"shapes_zyx_vx": [SHAPE], "classes": {name: [name] for name in CLASSES}},
        "labels": {"kind": kind, "min_size_vx": 4},
        "autoencoder": {"ratio_zyx": [2, 2, 2], "patch_zyx_vx": [8, 8, 8], "hidden": 4, "groups": 2, "embedding": 2}
        | {"codes": 16, "heads": 1, "head_channels": 4},
        "denoiser": {"dim": 12, "mults": [1, 2, 2], "attention": [False] * 3, "subvolume": 4, "token": 2, "heads": 2}
        | {"groups": 4, "head_channels": 4},
        "diffusion": {"timesteps": 20},
        "generate": {"volumes": 2, "steps": 4, "device": "cpu"},
    }
    for section, changes in sections.items():
        values[section] = values.get(section, {}) | changes  # type: ignore[operator]
    return SynthConfig.model_validate(values)


def write_generator(
    folder: Path, cfg: SynthConfig, seed: int = 0, normalisation: Literal["codebook", "std"] = "codebook"
) -> dict[str, Path]:
    """Write both checkpoints; give their paths as `generate` calls them."""
    torch.manual_seed(seed)
    autoencoder = PatchVolumeAutoencoder(cfg.autoencoder, cfg.image_channels)
    torch.nn.init.normal_(autoencoder.codebook.codes)
    plain = cfg.model_dump(mode="json")
    paths = {"autoencoder": folder / "autoencoder.ckpt", "diffusion": folder / "diffusion.ckpt"}
    own_hash = save_autoencoder(paths["autoencoder"], autoencoder, {"cfg": plain})
    denoiser = build_denoiser(cfg, len(CLASSES))
    scaling = Normalisation(normalisation, (0.0,) * 2, (2.0,) * 2).as_plain()
    meta = {"cfg": plain, "classes": CLASSES, "autoencoder_hash": own_hash, "normalisation": scaling}
    save_diffusion(paths["diffusion"], denoiser.state_dict(), denoiser, meta)
    return paths


def make_labels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return blocks of 8^3 voxels, some of them background."""
    blocks = np.random.default_rng(seed).integers(0, 6, [-(-n // 8) for n in shape], np.uint32)
    return np.kron(blocks, np.ones((8, 8, 8), np.uint32))[tuple(map(slice, shape))]


def write_volume(folder: Path, name: str, seed: int, shape: tuple[int, ...] = (16, 16, 32)) -> Path:
    """Write a volume as ingest does; give its volume.json."""
    labels, own = make_labels(shape, seed), folder / name
    raw = (100 + 20 * labels).astype(np.uint16)
    entries = {}
    for part, array in (("raw", raw), ("labels", labels)):
        write_store(own / f"{part}.zarr", array, voxel_size_zyx_nm=SIZE)
        source = str(own / f"{part}.zarr")
        entries[part] = StoredArray(source, "zyx", Box.of_shape(shape), array.dtype.name).as_plain()
    told = {"name": name, "role": "train", "weight": 1, "shape_zyx": shape, "voxel_size_zyx_nm": SIZE}
    said = {"raw": None, "folder": "", "axes": None, "box_zyx_vx": None, "crop": None}
    write_description(own / "volume.json", told | {"offset_zyx_nm": (0, 0, 0), **entries, "settings": said})
    return own / "volume.json"


def write_examples(folder: Path) -> Path:
    """Write two volumes and the table of their examples: of each class two to learn from and one held out."""
    examples = []
    for seed, name in enumerate(CLASSES):
        volume_json = write_volume(folder, name, seed)
        for number, (role, x) in enumerate((("learn", 0), ("learn", 16), ("hold", 16))):
            examples.append(
                Example(
                    key=f"{name}_{role}_{number}",
                    volume=name,
                    class_name=name,
                    role=role,
                    source=volume_json,
                    box=Box.of_shape(SHAPE).shift((0, 0, x)),
                    shape_zyx_vx=SHAPE,
                    voxel_size_zyx_nm=SIZE,
                    intensity=(100.0, 300.0),
                    dtype="uint16",
                )
            )
    write_table(folder / "examples.tsv", examples)
    return folder / "examples.tsv"
