"""Make a phantom: an EM-like volume of packed neurites whose labels, organelles and skeletons are known exactly.

The recipe: grow skeletons that keep their distance, give every voxel to the nearest tube, draw membranes where two
tubes meet, put organelles into the tubes, and add what a microscope adds. One seed, one volume, on one thread or on
many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cc3d
import numpy as np

from connectomake.config.settings.phantom import PhantomConfig
from connectomake.phantom.defects import spoil_sections
from connectomake.phantom.fields import Lattice, displace_slab, make_grain, make_lattice
from connectomake.phantom.neurites import Neurites, grow_neurites
from connectomake.phantom.organelles import CLASSES, paint_slab, place_organelles
from connectomake.phantom.rasterise import fill_slab, make_scene
from connectomake.phantom.texture import draw_shades, make_look, shade_slab
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import write_store

log = logging.getLogger(__name__)

_CRISTAE = 15.0  # half the range of grey values inside a mitochondrion


@dataclass(frozen=True)
class Phantom:
    """A generated volume and its truth.

    Attributes
    ----------
    raw
        (Z, Y, X) uint8 image, membranes dark.
    labels
        (Z, Y, X) uint32, neurites 1 to n. Neurites touch: the voxels of a membrane belong to the nearer neurite. Every
        id is one 6-connected component, so perfect affinities to the next voxels decode to exactly these labels. The
        few voxels (one in millions) that were cut off from their neurite are 0.
    organelles
        (Z, Y, X) uint8: 0 none, 1 mitochondrion, 2 vesicle.
    skeletons
        One tree for each neurite, its id the label; every voxel that an edge passes through has that label.
    voxel_size_zyx_nm
        Size of a voxel; the centre of voxel (0, 0, 0) is the origin of the skeletons.
    """

    raw: np.ndarray
    labels: np.ndarray
    organelles: np.ndarray
    skeletons: Skeletons
    voxel_size_zyx_nm: tuple[float, float, float]


def make_phantom(cfg: PhantomConfig, seed: int, threads: int = 1) -> Phantom:
    """Generate a volume of EM-like neuropil with its truth.

    Memory: about 12 bytes a voxel at the peak, of which 6 are given back; and 200 for each (y, x) on every thread.

    Parameters
    ----------
    cfg
        Size, voxel size and looks.
    seed
        Same seed, same volume, bit by bit.
    threads
        Slabs of planes that are drawn at the same time; the result does not depend on it.

    Raises
    ------
    DataError
        When no neurite fits into the volume.
    """
    neurites = grow_neurites(cfg, seed)
    canvas = _Canvas(*(np.zeros(cfg.shape_zyx, dtype) for dtype in (np.uint32, np.uint8, np.uint8, np.uint8)))
    lattice = make_lattice(cfg, seed)
    _draw_neurites(canvas, neurites, lattice, cfg, seed, threads)
    _remove_fragments(canvas, neurites, cfg)
    _draw_image(canvas, int(neurites.label[-1]), lattice, cfg, seed, threads)
    spoil_sections(canvas.raw, cfg.defects, seed)
    log.info("made %d neurites in %s voxels", neurites.label[-1], " x ".join(map(str, cfg.shape_zyx)))
    skeletons = Skeletons(neurites.edges, neurites.label, neurites.position_nm)
    return Phantom(canvas.raw, canvas.labels, canvas.organelles, skeletons, cfg.voxel_size_zyx_nm)


class _Canvas(NamedTuple):
    """The arrays drawn into, all (Z, Y, X); `raw` holds the grey values of organelles until the image is drawn."""

    labels: np.ndarray  # uint32
    darkness: np.ndarray  # uint8
    raw: np.ndarray  # uint8
    organelles: np.ndarray  # uint8


def _draw_neurites(
    canvas: _Canvas, neurites: Neurites, lattice: Lattice, cfg: PhantomConfig, seed: int, threads: int
) -> None:
    scene, balls = make_scene(neurites, cfg), place_organelles(neurites, cfg, seed)
    tones = (cfg.image.mitochondrion, _CRISTAE)

    def draw(start: int, stop: int) -> None:
        places = np.empty((stop - start, *cfg.shape_zyx[1:], 3), np.float32)
        displace_slab(lattice, scene.voxel_nm, start, places)
        fill_slab(scene, places, start, stop, canvas.labels, canvas.darkness)
        paint_slab(balls, scene, places, tones, start, stop, *canvas)

    _run_slabs(draw, cfg.shape_zyx[0], scene.block[0], threads)


def _draw_image(canvas: _Canvas, neurites: int, lattice: Lattice, cfg: PhantomConfig, seed: int, threads: int) -> None:
    look, shades, grain = make_look(cfg.image, seed), draw_shades(cfg.image, neurites, seed), make_grain(cfg, seed)

    def draw(start: int, stop: int) -> None:
        shade_slab(look, lattice, grain, shades, start, stop, canvas.labels, canvas.darkness, canvas.raw)

    _run_slabs(draw, cfg.shape_zyx[0], 8, threads)


def _run_slabs(draw: Callable[[int, int], None], planes: int, thickness: int, threads: int) -> None:
    """Draw slabs of planes on several threads; the kernels release the interpreter."""
    starts = range(0, planes, thickness)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: draw(start, min(start + thickness, planes)), starts))


def _remove_fragments(canvas: _Canvas, neurites: Neurites, cfg: PhantomConfig) -> None:
    """Turn voxels that rounding has cut off from the skeleton's part of their neurite into membrane of label 0."""
    parts, count = cc3d.connected_components(canvas.labels, connectivity=6, return_N=True)
    roots = neurites.position_nm[neurites.parent < 0] / np.array(cfg.voxel_size_zyx_nm)
    keep = np.zeros(count + 1, bool)
    keep[parts[tuple(np.rint(roots).astype(int).T)]] = True
    if keep.sum() == count:
        return
    for plane_parts, labels, darkness, raw, organelles in zip(parts, *canvas, strict=True):
        lost = ~keep[plane_parts]
        darkness[lost] = 255
        for truth in (labels, raw, organelles):
            truth[lost] = 0


def write_phantom(
    phantom: Phantom, raw: Path, labels: Path, organelles: Path, skeletons: Path, attributes: dict[str, Any]
) -> None:
    """Write a phantom as three OME-Zarr stores and an npz of skeletons.

    Parameters
    ----------
    phantom
        From `make_phantom`.
    raw, labels, organelles
        Folders of the stores; names of the organelle classes go into the attributes.
    skeletons
        File to write.
    attributes
        What to note in all three stores: settings and seed.
    """
    named: tuple[tuple[Path, np.ndarray, dict[str, Any]], ...] = (
        (raw, phantom.raw, {}),
        (labels, phantom.labels, {}),
        (organelles, phantom.organelles, {"classes": CLASSES}),
    )
    for path, array, more in named:
        notes = {"synthetic": True, **attributes, **more}
        write_store(
            path, array, voxel_size_zyx_nm=phantom.voxel_size_zyx_nm, offset_zyx_nm=(0.0, 0.0, 0.0), attributes=notes
        )
    save_skeletons(skeletons, phantom.skeletons)
