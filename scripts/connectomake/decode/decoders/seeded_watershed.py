"""The decoder `seeded_watershed`: objects grow from seeds over a foreground, and meet where the maps say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.channels import find_named
from connectomake.config.settings.decode_decoders import SIZE, Decoder
from connectomake.config.settings.seeded_watershed import SeededWatershedConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels


def decode_seeded_watershed(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label by a watershed from seeds, and treat small objects.

    Parameters, results and errors are those of `decode`; `channels` names the maps binary, contour and distance, those
    of the method. Foreground without a seed becomes background.

    Notes
    -----
    The flood takes one thread and about 60 bytes a voxel.
    """
    from connectomake.decode.postprocess import drop_small
    from connectomake.decode.seeded_flood import label_by_flood

    labels = label_by_flood(maps, channels, cfg.own(SeededWatershedConfig), threads)
    return drop_small(labels, cfg) if labels.any() else labels


DECODER = Decoder(
    summary="on foreground, contour and distance maps",
    decode=decode_seeded_watershed,
    reads="channels named binary, contour and distance (those in the name of its method)",
    find_channels=lambda own, channels: find_named(channels, own.channels),
    shared=SIZE,
    settings=SeededWatershedConfig,
    mvoxel_per_s=4.0,
    bytes_per_voxel=60,
)
