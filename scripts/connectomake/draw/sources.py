"""From the files that a rule names to what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectomake.draw.volume.slices import Layers
from connectomake.regions.wanted import find_wanted, mark_unknown
from connectomake.volumes.affinities import Shown
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.skeletons import load_skeletons
from connectomake.volumes.volume import Readable, open_volume


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
    volume = IngestedVolume.read(volume_json)
    prediction = None if affinities is None else Prediction.read(_folder(affinities))
    described = prediction or (None if labels is None else Segmentation.read(_folder(labels)))
    return Layers(
        name=volume.name,
        raw=volume.open_raw(),
        affinities=None if affinities is None else open_volume(_folder(affinities)),
        labels=None if labels is None else open_volume(_folder(labels)),
        truth=_open_truth(volume, described, affinities or labels),
        shown=Shown() if prediction is None else Shown.of_prediction(prediction),
    )


def read_nodes(skeletons: Path | None) -> np.ndarray | None:
    """Read the positions (N, 3) of skeleton nodes, z, y, x in nm; None without a file."""
    return None if skeletons is None else load_skeletons(skeletons).node_pos_nm


def head(volume: str, title: str) -> str:
    """Write a figure's heading: the volume's name and what the caller says of the run."""
    return f"{volume}   {title}".rstrip()


def _open_truth(
    volume: IngestedVolume, described: Prediction | Segmentation | None, store: Path | None
) -> Readable | None:
    """Open the truth labels, if there are any; what the store does not hold a prediction of is unknown."""
    if volume.labels is None:
        return None
    truth = volume.open_labels()
    if store is None or described is None:
        return truth
    return mark_unknown(truth, find_wanted(described.region, open_volume(_folder(store))))


def _folder(store: Path) -> Path:
    return store.parent if store.name == "zarr.json" else store
