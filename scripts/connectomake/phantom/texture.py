"""Turn labels, membranes and organelles into grey values as an electron microscope gives them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from connectomake.config.settings.phantom import ImageConfig
from connectomake.phantom.fields import TILE, Lattice, sample_lattice
from connectomake.phantom.randomness import scramble

_MASK = TILE - 1
_MITOCHONDRION_GRAIN = 0.8  # grain of a mitochondrion's matrix over that of cytoplasm
_CLOUDS = 4.0  # grey values by which cytoplasm varies slowly


class Look(NamedTuple):
    """The part of the settings that the kernel reads, in grey values."""

    membrane: float
    variation: float
    texture: float
    noise: float
    seed: int


def make_look(cfg: ImageConfig, seed: int) -> Look:
    """Take what the kernel needs out of the settings; noise is told apart from other uses of the seed."""
    noise_seed = int(np.random.default_rng([seed, 5]).integers(2**62))
    return Look(cfg.membrane, cfg.membrane_variation, cfg.texture, cfg.noise, noise_seed)


def draw_shades(cfg: ImageConfig, neurites: int, seed: int) -> np.ndarray:
    """Draw the grey value of every neurite's cytoplasm: (neurites + 1,) float32; entry 0 is for what is no neurite."""
    shades = np.random.default_rng([seed, 6]).normal(cfg.cytoplasm, cfg.cytoplasm_spread, neurites + 1)
    return np.clip(shades, cfg.membrane + 20, 235).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def shade_slab(
    look: Look,
    lattice: Lattice,
    grain: np.ndarray,
    shades: np.ndarray,
    start: int,
    stop: int,
    labels: np.ndarray,
    darkness: np.ndarray,
    raw: np.ndarray,
) -> None:
    """Write the image of the z planes `start` to `stop`.

    Parameters
    ----------
    look, shades
        From `make_look` and `draw_shades`.
    lattice, grain
        From `phantom.fields`; every neurite sees another part of the tile of grain.
    start, stop
        First plane and the one after the last.
    labels
        (Z, Y, X) uint32.
    darkness
        (Z, Y, X) uint8, 255 in the middle of a membrane.
    raw
        (Z, Y, X) uint8: on entry the grey value inside organelles, 0 where there is none; on return the image.
    """
    _, height, width = labels.shape
    for z in range(start, stop):
        for y in range(height):
            for x in range(width):
                label = labels[z, y, x]
                turn = scramble(np.uint64(label))
                speck = grain[
                    (z + (turn & _MASK)) & _MASK, (y + (turn >> 8 & _MASK)) & _MASK, (x + (turn >> 16 & _MASK)) & _MASK
                ]
                slow = sample_lattice(lattice, z, y, x)[3]
                grey = shades[label] + look.texture * speck + _CLOUDS * slow
                if raw[z, y, x] > 0:
                    grey = raw[z, y, x] + _MITOCHONDRION_GRAIN * look.texture * speck
                depth = darkness[z, y, x] / 255 * (1 - look.variation * min(max(0.5 + 0.35 * slow, 0.0), 1.0))
                grey += depth * (look.membrane - grey)
                place = (z * height + y) * width + x
                raw[z, y, x] = to_grey(
                    grey + look.noise * math.sqrt(max(grey, 0.0) / 128) * draw_noise(look.seed, place)
                )


@njit(cache=True, nogil=True, error_model="numpy")
def draw_noise(seed: int, place: int) -> float:
    """Return a number of mean 0 and sd 1 that depends on the seed and the place: the sum of four numbers of 16 bits."""
    bits = scramble(np.uint64(seed) + np.uint64(place))
    total = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
    return (float(total) - 131070.0) / 37837.2


@njit(cache=True, nogil=True, error_model="numpy")
def to_grey(value: float) -> int:
    """Round to a grey value; 0 is left to missing sections."""
    return int(min(max(value + 0.5, 1.0), 255.0))
