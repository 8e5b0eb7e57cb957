"""From the files that a rule names to what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectomake.draw.slices import Layers
from connectomake.volumes.affinities import name_shown, nearest_channels
from connectomake.volumes.files import read_json
from connectomake.volumes.ingest import open_labels, open_raw
from connectomake.volumes.skeletons import load_skeletons
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume


def open_layers(volume_json: Path, affinities: Path | None = None, labels: Path | None = None) -> Layers:
    """Open what there is to draw of a volume; nothing is read yet.

    Parameters
    ----------
    volume_json
        The ingested volume; its labels, where it has any, are the truth.
    affinities, labels
        Stores of the predict and the decode stage: the folder, or the zarr.json in it.

    Raises
    ------
    MissingDataError
        When a file is not there.
    """
    channels: tuple[int, ...] = (0, 1, 2)
    named = "affinities"
    if affinities is not None:
        affinities = _folder(affinities)
        told = read_attributes(affinities)
        offsets = told["offsets_zyx_vx"]
        channels = nearest_channels(offsets)
        named = name_shown(told.get("channels", [str(c) for c in range(len(offsets))]), offsets)
    return Layers(
        raw=open_raw(volume_json),
        affinities=None if affinities is None else open_volume(affinities),
        labels=None if labels is None else open_volume(_folder(labels)),
        truth=open_labels(volume_json) if read_json(volume_json)["labels"] else None,
        affinity_channels=channels,
        affinity_heading=named,
    )


def read_nodes(skeletons: Path | None) -> np.ndarray | None:
    """Read the positions (N, 3) of skeleton nodes, z, y, x in nm; None without a file."""
    return None if skeletons is None else load_skeletons(skeletons).node_pos_nm


def head(volume_json: Path, title: str) -> str:
    """Write a figure's heading: the volume's name and what the caller says of the run."""
    return f"{read_json(volume_json)['name']}   {title}".rstrip()


def _folder(store: Path) -> Path:
    return store.parent if store.name == "zarr.json" else store
