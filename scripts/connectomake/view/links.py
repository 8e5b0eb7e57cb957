"""From the files that a rule names to a view: the state of a whole segmentation, and a link to each of its errors."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.geometry import Box, TripleNm, to_triple_nm
from connectomake.tables import read_table, write_table
from connectomake.view.routes import FLOATS
from connectomake.view.state import Maps, Mark, Scene, describe_mark, describe_whole, link
from connectomake.volumes.affinities import Shown
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.skeletons import Skeletons, label_under, load_skeletons
from connectomake.volumes.volume import Volume, open_volume

MOST_SKELETONS = 200
SAMPLE_VX = 64

_NEEDED = ("kind", "rank", "z_nm", "y_nm", "x_nm", "truth_a", "truth_b", "segment_a", "segment_b", "lost_nm", "lost_vx")


@dataclass(frozen=True)
class Files:
    """The files that a view shows: a volume.json, and beside it what there is.

    Parameters
    ----------
    volume
        volume.json of the ingest stage.
    labels, affinities
        Stores of the decode and the predict stage: the zarr.json in them.
    skeletons
        The skeletons.npz beside the volume.
    errors
        errors.tsv of the measure stage.
    """

    volume: Path
    labels: Path
    affinities: Path | None = None
    skeletons: Path | None = None
    errors: Path | None = None


def write_views(files: Files, state: Path, links: Path, *, results: Path, address: str, client: str = "") -> None:
    """Write the state of a whole segmentation, and a table of links: to it, and to each of its errors.

    Parameters
    ----------
    files
        What is shown; all but the table of errors must lie below `results`.
    state
        JSON file to write.
    links
        TSV file to write: kind, rank, link; the first row is ``whole``, 0.
    results
        The folder that the server serves.
    address
        Where it serves it, as in ``http://127.0.0.1:9000``.
    client
        Address of neuroglancer; by default the server's own ``/open``, which leads to a client on this machine where
        there is one.

    Raises
    ------
    MissingDataError
        A file does not exist.
    DataError
        A file lies outside the results, or the table is not one of errors.
    """
    address = address.rstrip("/")
    client = f"{client.rstrip('/')}/" if client else f"{address}/open"
    skeletons = load_skeletons(files.skeletons) if files.skeletons else None
    if skeletons is not None and not len(skeletons.node_pos_nm):
        files, skeletons = replace(files, skeletons=None), None
    volume = IngestedVolume.read(files.volume)
    truth = None if volume.labels is None else volume.open_labels()
    scene = _describe_scene(files, volume, results, address)
    errors = read_table(files.errors, _NEEDED, "errors") if files.errors else []
    marks = [_mark(row, skeletons, truth) for row in errors]
    whole = describe_whole(scene, [mark for mark, _ in marks], _longest(skeletons))
    write_json(state, whole)
    rows = [("whole", "0", link(client, whole))]
    rows += [(row["kind"], row["rank"], link(client, describe_mark(scene, mark))) for mark, row in marks]
    write_table(links, ("kind", "rank", "link"), rows)


def served_at(path: Path, results: Path, address: str) -> str:
    """Return the address of a folder or file below the results.

    Raises
    ------
    DataError
        It does not lie there.
    """
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(results))
    if relative.startswith(".."):
        raise DataError(f"{path} cannot be served", expected=f"a path below {results}", hint="see --results")
    return f"{address}/{quote(Path(relative).as_posix())}"


def find_contrast(raw: Volume) -> tuple[float, float]:
    """Return the values to draw black and white: 1 % of the voxels in the middle of the volume lie outside them."""
    middle = Box.of_shape(raw.shape_zyx)
    shrink = [-max(0, (n - SAMPLE_VX) // 2) for n in raw.shape_zyx]
    low, high = np.percentile(raw.read(middle.grow(shrink)), (0.5, 99.5))
    return float(low), float(high if high > low else low + 1)


def _describe_scene(files: Files, volume: IngestedVolume, results: Path, address: str) -> Scene:
    folder = served_at(files.volume.parent, results, address)
    if files.skeletons and files.skeletons != volume.skeletons:
        raise DataError(f"{files.skeletons} cannot be served", expected=volume.skeletons)
    Segmentation.read(files.labels.parent)  # which says what is wrong where it is not finished
    return Scene(
        title=f"{volume.name} - {files.labels.parent.parent.parent.name}",
        shape_zyx=volume.shape_zyx,
        voxel_size_zyx_nm=volume.voxel_size_zyx_nm,
        offset_zyx_nm=volume.offset_zyx_nm,
        raw_url=f"{folder}/raw/",
        labels_url=f"{served_at(files.labels.parent, results, address)}/",
        contrast=find_contrast(volume.open_raw()),
        maps=_describe_maps(files.affinities.parent, results, address) if files.affinities else None,
        truth_url=f"{folder}/labels/" if volume.labels is not None else None,
        skeletons_url=f"{folder}/skeletons" if files.skeletons else None,
    )


def _describe_maps(store: Path, results: Path, address: str) -> Maps:
    volume, url = open_volume(store), f"{served_at(store, results, address)}/"
    in_floats = volume.dtype.kind == "f"
    shown = Shown.of_prediction(Prediction.read(store))
    return Maps(f"{url}{FLOATS}/" if in_floats else url, volume.voxel_size_zyx_nm, shown, in_floats)


def _mark(row: dict[str, str], skeletons: Skeletons | None, truth: Volume | None) -> tuple[Mark, dict[str, str]]:
    """Turn a row of the table of errors into a mark: its place, and the objects there in each layer."""
    position: TripleNm = to_triple_nm([float(row[f"{axis}_nm"]) for axis in "zyx"])
    truths, segments = _ids(row["truth_a"], row["truth_b"]), _ids(row["segment_a"], row["segment_b"])
    selected = {"labels": segments, "truth": truths, "skeletons": truths}
    if row["lost_nm"] and skeletons is not None and truth is not None:
        selected["truth"] = _ids(*(str(label_under(truth, skeletons, int(i), position) or 0) for i in truths))
    lost = f"{float(row['lost_nm']):,.0f} nm" if row["lost_nm"] else f"{row['lost_vx']} voxels"
    objects = f"truth {' and '.join(truths)}; segments {' and '.join(segments) or 'none'}"
    description = f"{row['kind']} {row['rank']}: {lost} lost; {objects}"
    return Mark(f"{row['kind']}-{row['rank']}", description, position, selected), row


def _ids(*texts: str) -> list[str]:
    """Return the different objects among some ids; 0 and less are none."""
    return [str(number) for number in dict.fromkeys(map(int, texts)) if number > 0]


def _longest(skeletons: Skeletons | None) -> list[str]:
    """Return the ids of the skeletons with most nodes: more than neuroglancer can list would only make it slow."""
    if skeletons is None:
        return []
    ids, nodes = np.unique(skeletons.node_skeleton_id, return_counts=True)
    return [str(i) for i in ids[np.argsort(-nodes, kind="stable")][:MOST_SKELETONS].tolist() if i >= 0]
