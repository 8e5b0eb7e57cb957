"""Decode by the decoder that settings name.

A decoder is a file, `decode.decoders.NAME`, which declares a `Decoder`: its settings, the channels that it reads, what
it takes, and its function; and its line in `config.settings.decode_decoders.DECODERS`. What it computes with is loaded
when it decodes: what a volume's decoder does not use does not count as code that its labels depend on
(`provenance.code_of`).
"""

from __future__ import annotations

from typing import Protocol

from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.decode.channels import Channels
from connectomake.errors import DataError


class DecodeFunction(Protocol):
    """What turns affinities, or other maps, into labels."""

    def __call__(self, maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
        """Return (Z, Y, X) labels; arguments as in `decode`."""
        ...


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


def register_decoder(name: str, place: str) -> None:
    """Make a decoder known that lies elsewhere; before settings are read, which have a section for each decoder.

    Parameters
    ----------
    name
        What settings call it.
    place
        ``module:attribute`` of its `Decoder`.

    Raises
    ------
    ConfigError
        Another one has the name already.
    """
    DECODERS.add(name, place)


def get_decoder(name: str) -> DecodeFunction:
    """Return the function of the decoder of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    return DECODERS[name].decode


def list_decoders() -> list[str]:
    """Return the names of all decoders, sorted."""
    return sorted(DECODERS)
