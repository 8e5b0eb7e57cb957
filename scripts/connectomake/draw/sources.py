"""From the files that a rule names to what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectomake.draw.slices import Layers
from connectomake.volumes.affinities import Shown
from connectomake.volumes.files import read_json
from connectomake.volumes.ingest import open_labels, open_raw
from connectomake.volumes.skeletons import load_skeletons
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import Readable, open_volume
from connectomake.volumes.wanted import find_wanted, mark_unknown


def open_layers(volume_json: Path, affinities: Path | None = None, labels: Path | None = None) -> Layers:
    """Open what there is to draw of a volume; nothing is read yet.

    Parameters
    ----------
    volume_json
        The ingested volume; its labels, where it has any, are the truth, as far as something was predicted.
    affinities, labels
        Stores of the predict and the decode stage: the folder, or the zarr.json in it.

    Raises
    ------
    MissingDataError
        When a file is not there.
    """
    return Layers(
        raw=open_raw(volume_json),
        affinities=None if affinities is None else open_volume(_folder(affinities)),
        labels=None if labels is None else open_volume(_folder(labels)),
        truth=_open_truth(volume_json, affinities or labels),
        shown=Shown() if affinities is None else Shown.of_attributes(read_attributes(_folder(affinities))),
    )


def read_nodes(skeletons: Path | None) -> np.ndarray | None:
    """Read the positions (N, 3) of skeleton nodes, z, y, x in nm; None without a file."""
    return None if skeletons is None else load_skeletons(skeletons).node_pos_nm


def head(volume_json: Path, title: str) -> str:
    """Write a figure's heading: the volume's name and what the caller says of the run."""
    return f"{read_json(volume_json)['name']}   {title}".rstrip()


def _open_truth(volume_json: Path, store: Path | None) -> Readable | None:
    """Open the truth labels, if there are any; what the store does not hold a prediction of is unknown."""
    if not read_json(volume_json)["labels"]:
        return None
    truth = open_labels(volume_json)
    if store is None:
        return truth
    return mark_unknown(truth, find_wanted(read_attributes(_folder(store)), open_volume(_folder(store))))


def _folder(store: Path) -> Path:
    return store.parent if store.name == "zarr.json" else store
