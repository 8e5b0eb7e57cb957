"""The decoders that settings can name.

A new decoder is a module of its name in `decode.decoders` with a function under `register_decoder`, and its line in
`config.settings.decode_decoders.READS`, which says what it reads. It is loaded when it is asked for: what a volume's
decoder does not use does not count as code that its labels depend on (`provenance.code_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import READS
from connectomake.decode.channels import Channels
from connectomake.errors import ConfigError, DataError


class Decoder(Protocol):
    """Something that turns affinities, or other maps, into labels."""

    def __call__(self, maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
        """Return (Z, Y, X) labels; arguments as in `decode`."""
        ...


_DECODERS: dict[str, Decoder] = {}


def decode(maps: NDArray, cfg: DecodeConfig, *, channels: Channels | None = None, threads: int = 1) -> NDArray:
    """Turn affinities, or other maps, into labels by the decoder that the settings name.

    Parameters
    ----------
    maps
        (C, Z, Y, X) what a network gave; floats in 0..1 (-1..1 after tanh), bool, or uint8 standing for value / 255
        (value / 127.5 - 1). Not changed.
    cfg
        The decoder and its settings.
    channels
        What the channels are; by default affinities along z, y, x in the source convention, and nothing else.
    threads
        The labels do not depend on it.

    Returns
    -------
    labels
        (Z, Y, X) uint32 or uint64, 0 = background, ids 1..n (see `decode_semantic` for those of classes).

    Raises
    ------
    ConfigError
        There is no such decoder, or a channel that it reads is not there.
    DataError
        The maps cannot be decoded.
    MissingPackageError
        The decoder needs a package that is not installed.
    """
    channels = Channels.of_nearest() if channels is None else channels
    if maps.ndim != 4 or len(maps) < len(channels.names):
        raise DataError(
            "these maps cannot be decoded", expected=f"(C, Z, Y, X), C >= {len(channels.names)}", got=maps.shape
        )
    chosen = cfg.choose_channels(channels.listed())
    picked = maps[: len(chosen)] if chosen == tuple(range(len(chosen))) else maps[list(chosen)]
    return get_decoder(cfg.decoder)(picked, cfg, channels=channels.pick(chosen), threads=threads)


def register_decoder(name: str) -> Callable[[Decoder], Decoder]:
    """Make a function known as a decoder; to be used as a decorator.

    Raises
    ------
    ConfigError
        If another function has the name already.
    """

    def register(decoder: Decoder) -> Decoder:
        is_taken = name in READS and decoder.__module__ != _module_of(name)
        if is_taken or _DECODERS.setdefault(name, decoder) is not decoder:
            raise ConfigError(f"there is a decoder named {name!r} already")
        return decoder

    return register


def get_decoder(name: str) -> Decoder:
    """Return the decoder of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name in READS:
        import_module(_module_of(name))
    if name not in _DECODERS:
        raise ConfigError("there is no such decoder", expected=" or ".join(list_decoders()), got=name)
    return _DECODERS[name]


def list_decoders() -> list[str]:
    """Return the names of all decoders, sorted."""
    return sorted({*READS, *_DECODERS})


def _module_of(name: str) -> str:
    return f"connectomake.decode.decoders.{name}"
