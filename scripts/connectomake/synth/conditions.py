"""Labels to make images for: those that were learnt from, turned and bent, or those of new phantoms.

An image that is made for labels needs no decoder to have them: they are exact by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cc3d
import fastremap
import numpy as np
from pydantic import ValidationError

from connectomake.config.engine.fill_generated import GeneratedVolume
from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConfigError
from connectomake.geometry import Triple, TripleNm
from connectomake.phantom.phantom import make_phantom
from connectomake.synth.encode import list_turns, turn_array
from connectomake.synth.examples import Example, read_labels

SPACING = 4.0  # of the points of a bending over the largest displacement: nothing is folded over


@dataclass(frozen=True)
class GivenLabels:
    """Labels to make an image for.

    Parameters
    ----------
    notes
        What they are, as plain data.
    draw
        Makes them: (Z, Y, X) uint32, or int32 where some are unknown (-1).
    """

    notes: dict[str, Any]
    draw: Callable[[], np.ndarray]


def choose_labels(
    cfg: SynthConfig,
    volume: GeneratedVolume,
    examples: Sequence[Example],
    phantom: PhantomConfig | None,
    voxel_size_zyx_nm: TripleNm,
    seed: int,
    threads: int = 1,
) -> GivenLabels:
    """Choose the labels that the image of a volume is made for, as `labels.given` says.

    Parameters
    ----------
    cfg
        The generator, whose labels.kind is conditional.
    volume
        Its class, shape and number.
    examples
        Those of its class that are learnt from, one at least.
    phantom
        Settings of phantoms, with labels.given phantom.
    voxel_size_zyx_nm
        Of the volume, in nm.
    seed
        Same seed, same labels.
    threads
        The labels do not depend on it.

    Raises
    ------
    ConfigError
        The settings of phantoms are missing, or see `draw_phantom`.
    """
    if cfg.labels.given == "warped":
        example = choose_example(examples, volume.shape_zyx, volume.number, cfg.generate.seed)
        draw = partial(warp_example, example, volume.shape_zyx, cfg.labels.warp_nm, seed)
        return GivenLabels({"labels_of": example.as_settings()}, draw)
    if phantom is None:
        raise ConfigError("labels.given is phantom, and there are no settings of phantoms", hint="give phantom, too")
    draw = partial(draw_phantom, phantom, volume.shape_zyx, voxel_size_zyx_nm, seed, threads)
    return GivenLabels({"phantom": phantom.model_dump(mode="json")}, draw)


def choose_example(examples: Sequence[Example], shape_zyx: Triple, number: int, seed: int) -> Example:
    """Choose the example whose labels a volume gets: each of a class in turn, in an order drawn by seed.

    Parameters
    ----------
    examples
        Those of the class that are learnt from, one at least. Those of the volume's shape are preferred.
    shape_zyx
        Shape of the volume.
    number
        Number of the volume among those of its class and shape.
    seed
        Of the first volume.
    """
    fitting = [example for example in examples if example.shape_zyx_vx == shape_zyx] or list(examples)
    return fitting[np.random.default_rng(seed).permutation(len(fitting))[number % len(fitting)]]


def warp_example(example: Example, shape_zyx: Triple, warp_nm: float, seed: int) -> np.ndarray:
    """Return an example's labels as they could have been: mirrored, turned by quarters, and bent.

    Parameters
    ----------
    example
        With labels; they are mirrored at their ends where the volume is larger.
    shape_zyx
        Shape of the result.
    warp_nm
        Largest displacement (nm); 0 = none.
    seed
        Same seed, same labels.

    Returns
    -------
    ndarray
        As `relabel` gives them.
    """
    rng = np.random.default_rng(seed)
    labels = _fit(_renumber(read_labels(example)), shape_zyx)
    turns = list_turns(replace(example, shape_zyx_vx=shape_zyx))
    turned = turn_array(turns[rng.integers(len(turns))], labels[None])[0]
    return relabel(bend(turned, example.voxel_size_zyx_nm, warp_nm, rng))


def bend(labels: np.ndarray, voxel_size_zyx_nm: TripleNm, warp_nm: float, rng: np.random.Generator) -> np.ndarray:
    """Displace labels smoothly; each voxel takes the label nearest to where it comes from.

    The displacements are cubic B-splines of random vectors on a coarse grid, so none is longer than those vectors.

    Parameters
    ----------
    labels
        (Z, Y, X) of any type, mirrored beyond their ends.
    voxel_size_zyx_nm
        In nm.
    warp_nm
        Largest displacement (nm).
    rng
        What draws.
    """
    if not warp_nm:
        return labels
    size = np.array(voxel_size_zyx_nm)
    splines = [_make_splines(n, max(SPACING * warp_nm / s, 1)) for n, s in zip(labels.shape, size, strict=True)]
    vectors = rng.standard_normal((*(spline.shape[1] for spline in splines), 3))
    vectors *= warp_nm * rng.random((*vectors.shape[:3], 1)) / np.linalg.norm(vectors, axis=-1, keepdims=True)
    bent, (along_z, along_y, along_x) = np.empty_like(labels), splines
    rows, columns = np.indices(labels.shape[1:])
    for z in range(labels.shape[0]):  # plane by plane, since places take twelve times the memory of labels
        moves = along_y @ np.tensordot(along_x, np.tensordot(along_z[z], vectors, 1), (1, 1)) / size
        places = np.rint(np.stack([np.full_like(rows, z), rows, columns], -1) + moves.swapaxes(0, 1)).astype(int)
        bent[z] = labels[tuple(_mirror(places[..., axis], n) for axis, n in enumerate(labels.shape))]
    return bent


def draw_phantom(
    cfg: PhantomConfig, shape_zyx: Triple, voxel_size_zyx_nm: TripleNm, seed: int, threads: int = 1
) -> np.ndarray:
    """Return the labels of a new phantom of the shape and voxel size of a volume: (Z, Y, X) uint32.

    Its lengths are in nm, so it has the look of its preset whatever the voxels.

    Raises
    ------
    ConfigError
        Neurites of the preset are too thin for such voxels, or too thick for such a volume.
    """
    wanted = cfg.model_dump() | {"shape_zyx": shape_zyx, "voxel_size_zyx_nm": voxel_size_zyx_nm}
    try:
        fitted = PhantomConfig.model_validate(wanted)
    except ValidationError as error:
        raise ConfigError(
            "the preset of labels.phantom does not fit the volumes that are made",
            expected=f"neurites for {list(shape_zyx)} voxels of {list(voxel_size_zyx_nm)} nm",
            got=error.errors()[0]["msg"],
            hint="name another preset, or another shape",
        ) from error
    return make_phantom(fitted, seed, threads).labels


def relabel(labels: np.ndarray) -> np.ndarray:
    """Assign each connected piece (by faces) of an object a label of its own, 1..n.

    Parameters
    ----------
    labels
        (Z, Y, X) int32, 0 = background, -1 = unknown.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32; int32 where some are unknown (-1), which they stay.
    """
    pieces: np.ndarray = cc3d.connected_components(np.maximum(labels, 0), connectivity=6, out_dtype=np.uint32)
    unknown = labels == UNKNOWN
    return np.where(unknown, np.int32(UNKNOWN), pieces.astype(np.int32)) if unknown.any() else pieces


def _make_splines(length: int, spacing_vx: float) -> np.ndarray:
    """Return how much each of some points counts at each voxel of an axis: (voxels, points), each row sums to 1."""
    places = np.arange(length) / spacing_vx
    first, part = places.astype(int), places % 1
    weights = np.stack(
        [(1 - part) ** 3, 3 * part**3 - 6 * part**2 + 4, 3 * (part + part**2 - part**3) + 1, part**3], axis=1
    )
    splines = np.zeros((length, first[-1] + 4))
    np.put_along_axis(splines, first[:, None] + np.arange(4), weights / 6, axis=1)
    return splines


def _mirror(places: np.ndarray, length: int) -> np.ndarray:
    """Fold voxels beyond an axis back into it."""
    there_and_back = max(2 * length - 2, 1)
    places = np.abs(places) % there_and_back
    return np.minimum(places, there_and_back - places)


def _renumber(labels: np.ndarray) -> np.ndarray:
    """Bring labels of any type to int32; unknown ones stay -1."""
    unknown = labels == UNKNOWN if labels.dtype.kind == "i" else np.zeros(labels.shape, bool)
    numbered = fastremap.renumber(np.where(unknown, 0, labels))[0].astype(np.int32)
    return np.where(unknown, np.int32(UNKNOWN), numbered)


def _fit(labels: np.ndarray, shape_zyx: Triple) -> np.ndarray:
    """Cut (Z, Y, X) to a shape, or lengthen it by reflection, at the ends of the axes."""
    labels = labels[tuple(slice(0, n) for n in shape_zyx)]
    missing = [(0, n - side) for n, side in zip(shape_zyx, labels.shape, strict=True)]
    return np.pad(labels, missing, mode="reflect")
