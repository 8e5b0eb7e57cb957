"""Random numbers that depend on a seed and a place only, so that the result is the same on one thread and on many."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_HALF_RANGE = 1.0 / 2.0**53


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def scramble(value: int | np.uint64) -> np.uint64:
    """Turn a number of 64 bits into one that looks unrelated to it: the splitmix64 of Steele, Lea and Flood (2014)."""
    bits = np.uint64(value) + _STEP
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True, nogil=True, error_model="numpy")
def draw_uniform(state: np.ndarray) -> float:
    """Return the next number of [0, 1); `state` ((1,) uint64) is moved on in place."""
    state[0] += _STEP
    return float(scramble(state[0]) >> np.uint64(11)) * _HALF_RANGE


@njit(cache=True, nogil=True, error_model="numpy")
def draw_normal(state: np.ndarray) -> float:
    """Return next number of the standard normal distribution (Box and Muller 1958); `state` is moved on in place."""
    radius = math.sqrt(-2.0 * math.log(1.0 - draw_uniform(state)))
    return radius * math.cos(2.0 * math.pi * draw_uniform(state))
