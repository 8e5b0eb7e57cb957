"""List the examples that a generator learns from and is measured by, and check all of them before any training."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from connectomake.config.settings.data import CollectionConfig
from connectomake.config.settings.synth import ExamplesConfig, SynthConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple
from connectomake.synth.examples import ROLES, Example, write_table
from connectomake.synth.intensity import check_values, find_intensity
from connectomake.synth.regions import Region, find_regions
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

Piece = tuple[Region, Box, Triple]
"""Where an example comes from, its box, and the shape that it is read in."""


def list_examples(
    cfg: SynthConfig,
    out: Path,
    split: Path | None = None,
    collection: CollectionConfig | None = None,
    folder: str = "",
) -> list[Example]:
    """List examples, check them, and write their table.

    All voxels of the examples are read once, so that nothing unfit is found only in training.

    Parameters
    ----------
    cfg
        What is learnt.
    out
        The table to write, examples.tsv.
    split
        split.tsv: train boxes are learnt from, validate and test boxes held out.
    collection
        Files, instead.
    folder
        Where a relative path of the collection starts.

    Returns
    -------
    list of Example
        By class, role and number; the same for any order of the volumes' names.

    Raises
    ------
    ConfigError, DataError
        What `find_regions` refuses; volumes that no shape fits, too few examples of a class, a shape of which there is
        none, or grey values outside the range.
    """
    regions = find_regions(cfg, split, collection, folder)
    pieces = draw_pieces(cut_regions(regions, cfg.examples), cfg.examples)
    _check_counts(regions, pieces, cfg.examples)
    examples = _finish(pieces, cfg.examples)
    write_table(out, examples)
    return examples


def cut_regions(regions: Sequence[Region], cfg: ExamplesConfig) -> list[Piece]:
    """Cut regions into pieces of the shapes that are learnt; pieces of one shape never overlap.

    Parameters
    ----------
    regions
        Boxes of volumes. One that is too small for any shape is left out where others of its volume and role are not.
    cfg
        The shapes, and whether regions are cut or taken whole.

    Raises
    ------
    DataError
        No shape fits a volume.
    """
    cut = _cut if cfg.take == "cut" else _take_whole
    found = [(region, cut(region.box, cfg.shapes_zyx_vx)) for region in regions]
    fits = {(region.source, region.role) for region, boxes in found if boxes}
    for region, boxes in found:
        if not boxes and (cfg.take == "whole" or (region.source, region.role) not in fits):
            problem = "smaller" if cfg.take == "cut" else "larger"
            raise DataError(
                f"volume {region.volume!r} of class {region.class_name!r} fits no shape: it is {problem} than each",
                expected=f"one of examples.shapes_zyx_vx {[list(shape) for shape in cfg.shapes_zyx_vx]}",
                got=f"a box ({region.role}) of {list(region.box.shape_zyx)} voxels",
                hint=f"add a {problem} shape to the synth preset, or leave that volume out",
            )
    return [(region, box, shape) for region, boxes in found for box, shape in boxes]


def draw_pieces(pieces: Sequence[Piece], cfg: ExamplesConfig) -> list[Piece]:
    """Draw as many pieces of each class and role as are wanted, in turns of each shape so that none is missing.

    Returns
    -------
    list of Piece
        By class, then learn before hold, then as drawn.
    """
    groups: dict[tuple[str, str], dict[Triple, list[Piece]]] = defaultdict(lambda: defaultdict(list))
    for region, box, shape in pieces:
        groups[region.class_name, region.role][shape].append((region, box, shape))
    drawn = []
    for number, name in enumerate(sorted({name for name, _ in groups})):
        for role, at_most in zip(ROLES, (cfg.at_most, cfg.hold_out_at_most), strict=True):
            ranked = []
            for place, shape in enumerate(cfg.shapes_zyx_vx):
                group = sorted(groups[name, role][shape], key=lambda piece: (str(piece[0].source), piece[1]))
                order = np.random.default_rng([cfg.seed, number, ROLES.index(role), place]).permutation(len(group))
                ranked += [(rank, place, group[index]) for rank, index in enumerate(order)]
            ranked.sort(key=lambda entry: entry[:2])
            drawn += [piece for _, _, piece in ranked[:at_most]]
    return drawn


def _cut(box: Box, shapes: Sequence[Triple]) -> list[tuple[Box, Triple]]:
    """Cut a box into boxes side by side from its start; what is left at its ends is not used."""
    found = []
    for shape in shapes:
        counts = [n // side for n, side in zip(box.shape_zyx, shape, strict=True)]
        for place in product(*map(range, counts)):
            start = [a + p * side for a, p, side in zip(box.start_zyx, place, shape, strict=True)]
            found.append((Box.of_shape(shape).shift(start), shape))
    return found


def _take_whole(box: Box, shapes: Sequence[Triple]) -> list[tuple[Box, Triple]]:
    """Take a box whole, in the smallest shape that holds it; nothing where there is none."""
    large = [shape for shape in shapes if all(n <= side for n, side in zip(box.shape_zyx, shape, strict=True))]
    return [(box, min(large, key=lambda shape: (prod(shape), shape)))] if large else []


def _check_counts(regions: Sequence[Region], pieces: Sequence[Piece], cfg: ExamplesConfig) -> None:
    """Reject classes with too few examples, and shapes without one to learn from.

    Raises
    ------
    DataError
        There are such; names class or shape.
    """
    for name in sorted({region.class_name for region in regions}):
        for role, purpose in zip(ROLES, ("learn from", "measure by"), strict=True):
            count = sum(region.class_name == name and region.role == role for region, _, _ in pieces)
            if count < cfg.least_volumes:
                needs = "role train" if role == "learn" else "role validate or test, or collection.held_out"
                raise DataError(
                    f"class {name!r} has too few examples to {purpose}",
                    expected=f"{cfg.least_volumes} or more (examples.least_volumes)",
                    got=count,
                    hint=f"give it more volumes ({needs}), or make examples.shapes_zyx_vx of the synth preset smaller",
                )
    for shape in cfg.shapes_zyx_vx:
        if not any(region.role == "learn" and own == shape for region, _, own in pieces):
            raise DataError(
                f"no example of shape {list(shape)} to learn from", hint="remove it from examples.shapes_zyx_vx"
            )


def _finish(pieces: Sequence[Piece], cfg: ExamplesConfig) -> list[Example]:
    """Name the examples, and check their grey values, volume after volume.

    Raises
    ------
    DataError
        Grey values cannot be learnt from, see `check_values`.
    """
    by_source: dict[Path, list[int]] = defaultdict(list)
    for index, (region, _, _) in enumerate(pieces):
        by_source[region.source].append(index)
    intensity: dict[Path, tuple[float, float]] = {}
    for source, indices in by_source.items():
        region = pieces[indices[0]][0]
        volume = _hold_compressed(region.raw)
        intensity[source] = find_intensity(volume, cfg)
        constant = 0
        for index in indices:
            values = volume.read(pieces[index][1])
            check_values(values, f"volume {region.volume!r}", intensity[source], cfg)
            constant += bool(values.min() == values.max())
        if constant:
            message = "volume %r: all grey values are equal in %d of %d examples; is that what shall be learnt?"
            log.warning(message, region.volume, constant, len(indices))
    numbers: Counter[str] = Counter()
    return [_make_example(piece, intensity[piece[0].source], numbers) for piece in pieces]


def _hold_compressed(volume: Volume) -> Volume:
    """Return a volume that is held in memory where its file is compressed as a whole, else the volume itself."""
    array = volume.array
    if array.chunks is None or array.chunks != array.shape:
        return volume
    values = array.fetch(tuple(slice(0, n) for n in array.shape))
    return replace(volume, array=replace(array, fetch=values.__getitem__, chunks=None))


def _make_example(piece: Piece, intensity: tuple[float, float], numbers: Counter[str]) -> Example:
    """Name a piece by class, role and a number that counts on."""
    region, box, shape = piece
    name = f"{region.class_name}_{region.role}"
    numbers[name] += 1
    return Example(
        key=f"{name}_{numbers[name] - 1:05d}",
        volume=region.volume,
        class_name=region.class_name,
        role=region.role,
        source=region.source,
        box=box,
        shape_zyx_vx=shape,
        voxel_size_zyx_nm=region.raw.voxel_size_zyx_nm,
        intensity=intensity,
        dtype=region.raw.dtype.name,
    )
