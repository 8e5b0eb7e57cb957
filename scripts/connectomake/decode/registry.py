"""The decoders that settings can name.

A new decoder is a module in this package with a function under `register_decoder`, an import of it in the package's
`__init__`, and its name in `DecodeConfig.decoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from numpy.typing import NDArray

from connectomake.config.decode import DecodeConfig
from connectomake.errors import ConfigError


class Decoder(Protocol):
    """Something that turns affinities into labels."""

    def __call__(self, affinities: NDArray, cfg: DecodeConfig, *, edge_offset: int = 0, threads: int = 1) -> NDArray:
        """Give (Z, Y, X) labels; arguments as in `decode`."""
        ...


_DECODERS: dict[str, Decoder] = {}


def decode(affinities: NDArray, cfg: DecodeConfig, *, edge_offset: int = 0, threads: int = 1) -> NDArray:
    """Turn affinities into labels by the decoder that the settings name.

    Parameters
    ----------
    affinities
        (3, Z, Y, X) affinities along z, y, x; floats in 0..1, bool, or uint8 standing for value / 255. Not changed.
    cfg
        The decoder and its settings.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c; 1: the edge p - e_c -- p.
    threads
        The labels do not depend on it.

    Returns
    -------
    labels
        (Z, Y, X) uint32 or uint64, 0 = background, ids 1..n.

    Raises
    ------
    ConfigError
        There is no such decoder.
    DataError
        The affinities cannot be decoded.
    """
    return get_decoder(cfg.decoder)(affinities, cfg, edge_offset=edge_offset, threads=threads)


def register_decoder(name: str) -> Callable[[Decoder], Decoder]:
    """Make a function known as a decoder; to be used as a decorator.

    Raises
    ------
    ConfigError
        If another function has the name already.
    """

    def register(decoder: Decoder) -> Decoder:
        if _DECODERS.setdefault(name, decoder) is not decoder:
            raise ConfigError(f"there is a decoder named {name!r} already")
        return decoder

    return register


def get_decoder(name: str) -> Decoder:
    """Give the decoder of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in _DECODERS:
        raise ConfigError("there is no such decoder", expected=" or ".join(list_decoders()), got=name)
    return _DECODERS[name]


def list_decoders() -> list[str]:
    """Give the names of all decoders, sorted."""
    return sorted(_DECODERS)
