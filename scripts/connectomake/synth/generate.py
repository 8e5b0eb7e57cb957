"""Make volumes with a trained generator, each by itself and from a seed of its own.

So a volume is the same in any number of jobs, and whatever else is made. Images have the grey values of those learnt
from, labels where the generator makes them, and what made them in their attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from connectomake.config.engine.fill_generated import GeneratedVolume, list_volumes
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.geometry import TripleNm, to_triple_nm
from connectomake.log import progress
from connectomake.synth.conditions import choose_labels
from connectomake.synth.distance import distance_map
from connectomake.synth.examples import Example, classes_of, read_table
from connectomake.synth.generated_labels import label_map
from connectomake.synth.generator import Generator
from connectomake.synth.intensity import to_disk
from connectomake.synth.stores import describe_seen, is_finished, write_volume
from connectomake.volumes.ingested import SEEN

log = logging.getLogger(__name__)

HOW = {"sampler", "steps", "eta", "guidance", "decode_zyx_vx", "overlap"}  # what volumes depend on, of `generate`
_NOISE, _LABELS = range(2)  # parts of a volume's seed: what is drawn


@dataclass(frozen=True)
class Look:
    """What volumes of a class are like on disk.

    Parameters
    ----------
    voxel_size_zyx_nm
        In nm: the median of the examples.
    intensity
        The grey values that -1 and 1 become: the medians of the examples, which differ only where percentiles are.
    dtype
        A type that holds the grey values of all examples.
    """

    voxel_size_zyx_nm: TripleNm
    intensity: tuple[float, float]
    dtype: np.dtype


def generate(
    diffusion: Path,
    autoencoder: Path,
    cfg: SynthConfig,
    folder: Path,
    job: int,
    jobs: int,
    marker: Path,
    examples: Path,
    *,
    phantom: PhantomConfig | None = None,
    threads: int = 1,
) -> None:
    """Make this job's share of the volumes: number `job`, `job + jobs` and so on of those of `list_volumes`.

    A volume that is finished is kept where it is of the same generator, examples and settings; else it is made anew.

    Parameters
    ----------
    diffusion, autoencoder
        The checkpoints model.ckpt of `train_diffusion` and `autoencoder_stage2`.
    cfg
        How volumes are made, and of which shapes.
    folder
        Where they are put, each in a folder of its name: ``raw.zarr``, ``labels.zarr``, ``raw.nii.gz``.
    job, jobs
        Which share this is, 0 to jobs - 1.
    marker
        A small file that says the job is done, written last; it names the volumes.
    examples
        examples.tsv: classes, voxel sizes, grey values, labels to bend, and what was learnt from.
    phantom
        Settings of the phantoms whose labels images are made for, with labels.given phantom.
    threads
        Of torch, and of what makes labels.

    Raises
    ------
    DataError
        The job's number is none, or the examples are not those of the generator.
    ConfigError, ModelError
        See `Generator` and `choose_labels`.
    """
    if not 0 <= job < jobs:
        raise DataError("no such job", expected=f"0 to {jobs - 1}", got=job)
    torch.set_num_threads(threads)
    generator = Generator(autoencoder, diffusion, cfg)
    learnt = [example for example in read_table(examples) if example.role == "learn"]
    if classes_of(learnt) != generator.classes:
        raise DataError(
            f"{examples} is not what the generator {diffusion} was trained on",
            expected=f"classes {', '.join(generator.classes)}",
            got=", ".join(classes_of(learnt)),
            hint="give the examples.tsv of its training",
        )
    seen, made = describe_seen(learnt), []
    for volume in progress(list_volumes(cfg, generator.classes)[job::jobs], what="volumes"):
        own = [example for example in learnt if example.class_name == volume.class_name]
        _make_one(generator, volume, own, seen, folder, phantom, threads)
        made.append({"name": volume.name, "class": volume.class_name, "shape_zyx": list(volume.shape_zyx)})
    write_json(marker, {"generator": generator.hashes, "volumes": made})


def seed_of(first_seed: int, volume: GeneratedVolume, part: int) -> int:
    """Return a number of 32 bits that is a volume's own: of its class, shape and number, and of what is drawn by it."""
    shape = "x".join(map(str, volume.shape_zyx))
    text = f"{first_seed} {volume.class_name} {shape} {volume.number} {part}"
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


def look_of(examples: Sequence[Example]) -> Look:
    """Return what volumes are like of which these are examples, one at least."""
    low, high = np.median([example.intensity for example in examples], axis=0)
    size = to_triple_nm(np.median([example.voxel_size_zyx_nm for example in examples], axis=0).tolist())
    return Look(size, (float(low), float(high)), np.result_type(*{np.dtype(example.dtype) for example in examples}))


def _make_one(
    generator: Generator,
    volume: GeneratedVolume,
    examples: Sequence[Example],
    seen: list[dict[str, Any]],
    folder: Path,
    phantom: PhantomConfig | None,
    threads: int,
) -> None:
    """Make a volume and write it, unless it is there."""
    cfg, look, own = generator.cfg, look_of(examples), folder / volume.name
    seed, labels_seed = (seed_of(cfg.generate.seed, volume, part) for part in (_NOISE, _LABELS))
    given = None
    if cfg.labels.kind == "conditional":
        given = choose_labels(cfg, volume, examples, phantom, look.voxel_size_zyx_nm, labels_seed, threads)
    notes = _describe(generator, volume, seed, look) | (given.notes if given else {}) | {SEEN: seen}
    if is_finished(own, notes, cfg.generate.formats, cfg.labels.kind != "none"):
        log.info("%s is finished already", volume.name)
        return
    labels = given.draw() if given else None
    condition = None if labels is None else distance_map(labels, look.voxel_size_zyx_nm, cfg.labels.distance_nm)
    values = generator.make(volume, seed, condition)
    if cfg.labels.kind == "joint":
        labels = label_map(values[1], cfg.labels, threads)
        if not labels.any():
            log.warning("%s has no objects: train for longer, or lower seed_distance of labels.decoder", volume.name)
    image = to_disk(values[0], look.intensity, look.dtype)
    write_volume(own, image, labels, look.voxel_size_zyx_nm, notes, cfg.generate.formats)


def _describe(generator: Generator, volume: GeneratedVolume, seed: int, look: Look) -> dict[str, Any]:
    """Return what made a volume: all that decides its voxels, as plain data."""
    own = generator.cfg.model_dump(mode="json", include={"generate": HOW, "labels": True})
    return {
        "synthetic": True,
        "generator": generator.hashes,
        "class": volume.class_name,
        "shape_zyx": list(volume.shape_zyx),
        "seed": seed,
        "intensity": list(look.intensity),
        "dtype": look.dtype.name,
        "settings": own,
    }
