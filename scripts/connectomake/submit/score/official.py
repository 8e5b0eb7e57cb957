"""A second opinion: the score by the challenge's own toolbox, and how it compares with ours.

The toolbox needs zarr < 3 and is not on PyPI; ``envs/cellmap.yaml`` has it, and this module imports nothing there that
the environment lacks. The toolbox reads the manifest when it is imported, from where CSC_TEST_CROP_MANIFEST_URL says.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from connectomake.cellmap.manifest import ManifestRow, read_manifest
from connectomake.errors import DataError, MissingPackageError
from connectomake.files import read_json
from connectomake.submit.score.labels import Labels, Truth, planes_of_slab
from connectomake.submit.score.metric import find_metric
from connectomake.submit.score.pooling import overall, score_of_class

TOOLBOX = "cellmap_segmentation_challenge.evaluate"
SUM_TOLERANCE = 1e-6
_COUNTS = ("tp", "fp", "fn", "n_hausdorff", "status")
_OVERALL = ("overall_instance_score", "overall_semantic_score", "overall_score")

log = logging.getLogger(__name__)


def score_by_toolbox(truth: Path, submission: Path, manifest: Path, ours: Path) -> dict[str, Any]:
    """Let the toolbox score a submission, and compare.

    It takes whole arrays into memory, and hours for large crops.

    Parameters
    ----------
    truth, submission, manifest
        As for `score_submission`; truth in a folder, the submission as a zip.
    ours
        What `score_submission` said, as JSON.

    Returns
    -------
    dict
        ``official``: the toolbox's numbers in its own form; ``agrees``; ``differences``: place, number, ours, official,
        for all that is not equal (counts) or within 1e-6, plus what a tie allows (sums and scores).

    Raises
    ------
    MissingPackageError
        The toolbox cannot be imported.
    DataError
        The submission is no zip.
    """
    if not submission.is_file():
        raise DataError(f"{submission}: the toolbox scores a zip", got="no file")
    os.environ["CSC_TEST_CROP_MANIFEST_URL"] = str(manifest.resolve())
    try:
        toolbox = importlib.import_module(TOOLBOX)
    except ImportError as error:
        hint = "run snakemake with --software-deployment-method conda (it makes envs/cellmap.yaml), or leave it out"
        raise MissingPackageError("the challenge's toolbox cannot be imported", got=error, hint=hint) from error
    with TemporaryDirectory() as folder:
        # The toolbox unpacks beside the zip, and would prefer what lies there already.
        packed = Path(folder, "submission.zip")
        packed.symlink_to(submission.resolve())
        store = write_plain_truth(truth, read_manifest(manifest), Path(folder, "truth.zarr"))
        result = Path(folder, "result.json")
        toolbox.score_submission(str(packed), str(result), truth_path=str(store))
        extended = result.with_name("result_extended.json")
        official = read_json(extended if extended.is_file() else result)
    official = _without_masks(official, read_json(ours)["metric"])
    differences = compare_scores(read_json(ours), official)
    for found in differences:
        log.warning("%(place)s: %(number)s: ours %(ours)s, official %(official)s", found)
    log.info("the toolbox %s", f"differs in {len(differences)} numbers" if differences else "says the same")
    return {"official": official, "agrees": not differences, "differences": differences}


def write_plain_truth(truth: Path, rows: Sequence[ManifestRow], folder: Path) -> Path:
    """Return truth as the toolbox reads it: a store of arrays CROP/CLASS, and masks CLASS_mask of what is unknown.

    Parameters
    ----------
    truth
        Truth as for `score_submission`. A store without unknown voxels is taken as it is.
    rows
        Rows of the manifest.
    folder
        Where the tree's arrays are written, of Zarr format 2 without compression; all slabs of a crop but the last are
        of the same number of planes.

    Returns
    -------
    Path
        The store.
    """
    if (truth / ".zgroup").is_file():
        return truth
    _write_group(folder)
    with Truth(truth, rows) as opened:
        for row in rows:
            labels = opened.open(row)
            if labels is not None:
                _write_group(folder / row.crop)
                _write_labels(labels, row, folder / row.crop)
    return folder


def compare_scores(ours: Mapping[str, Any], official: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the numbers in which two results differ: counts at all, sums and scores by more than 1e-6 and ties allow."""
    free = {(tie["crop"], tie["class"]): tie["difference"] for tie in ours["ties"]}
    found = []
    for crop, classes in ours["crops"].items():
        for label, numbers in classes.items():
            other = official.get(crop, {}).get(label, {})
            within = SUM_TOLERANCE + free.get((crop, label), 0.0)
            found += [
                {"place": f"{crop}/{label}", "number": key, "ours": numbers[key], "official": other.get(key)}
                for key in (*_COUNTS, "hausdorff_norm_sum")
                if key in numbers and not _agree(numbers[key], other.get(key), within if "sum" in key else 0)
            ]
    within = SUM_TOLERANCE + sum(free.values())
    return found + [
        {"place": "overall", "number": key, "ours": ours[key], "official": official.get(key)}
        for key in _OVERALL
        if not _agree(ours[key], official.get(key), within)
    ]


def _agree(ours: Any, official: Any, within: float) -> bool:
    if isinstance(ours, str) or official is None:
        return bool(ours == official)
    return abs(ours - official) <= within


def _without_masks(official: dict[str, Any], version: str) -> dict[str, Any]:
    """Take out the masks, which the toolbox takes for classes that were not submitted."""
    scores = {name: n for name, n in official["label_scores"].items() if not name.endswith("_mask")}
    kept = {
        key: {name: n for name, n in value.items() if not name.endswith("_mask")} if key.startswith("crop") else value
        for key, value in official.items()
    }
    total = overall({name: score_of_class(numbers) for name, numbers in scores.items()}, find_metric(version))
    return kept | {"label_scores": scores} | total


def _write_group(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')


def _write_labels(labels: Labels, row: ManifestRow, folder: Path) -> None:
    """Write an array, with unknown voxels as 0, and a mask where there are such or one is given."""
    shape = row.grid.shape_zyx
    step = planes_of_slab(shape)
    has_mask = labels.unknown is not None or labels.mask is not None
    for number, low in enumerate(range(0, shape[0], step)):
        part = (slice(low, min(low + step, shape[0])),)
        values = labels.read(part)
        counts = np.ones(values.shape, np.uint8)
        if labels.unknown is not None:
            counts[values == labels.unknown] = 0
        if labels.mask is not None:
            counts[labels.mask(part) == 0] = 0
        _write_slab(folder / row.label, values * counts if has_mask else values, number, step, row)
        if has_mask:
            _write_slab(folder / f"{row.label}_mask", counts, number, step, row)


def _write_slab(folder: Path, values: np.ndarray, number: int, step: int, row: ManifestRow) -> None:
    """Write a chunk of an array whose chunks are slabs of `step` planes, and with the first what describes it."""
    grid = row.grid
    if number == 0:
        folder.mkdir()
        chunks, kind = (step, *grid.shape_zyx[1:]), values.dtype.newbyteorder("<").str
        array = {"zarr_format": 2, "shape": grid.shape_zyx, "chunks": chunks, "dtype": kind, "order": "C"}
        (folder / ".zarray").write_text(json.dumps(array | {"fill_value": 0, "compressor": None, "filters": None}))
        told = {"voxel_size": grid.voxel_size_zyx_nm, "translation": grid.offset_zyx_nm, "shape": grid.shape_zyx}
        (folder / ".zattrs").write_text(json.dumps(told))
    missing = np.zeros((step - len(values), *grid.shape_zyx[1:]), values.dtype)  # a chunk is always whole
    chunk = np.concatenate([values, missing])
    (folder / f"{number}.0.0").write_bytes(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).tobytes())
