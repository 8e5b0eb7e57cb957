"""Look at a whole submission: its files, its layout, and every array that is scored."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connectomake.cellmap.classes import INSTANCE_CLASSES
from connectomake.cellmap.manifest import CropGrid, ManifestRow, read_manifest
from connectomake.log import progress
from connectomake.submit.check.contents import judge_storage, judge_values
from connectomake.submit.check.files import Files, find_too_large, open_files
from connectomake.submit.check.finding import WHOLE, Finding, order_findings
from connectomake.submit.check.layout import Layout, Node, find_crops, find_foreign, find_missing
from connectomake.submit.check.placement import is_resampled, judge_placement
from connectomake.submit.check.stored import UnreadableError, read_array
from connectomake.submit.check.values import look_at


def check_submission(
    path: Path, manifest: Path | None = None, *, largest_gb: float = 50.0, threads: int = 1
) -> list[Finding]:
    """Find everything for which the challenge refuses a submission, scores zero, or takes points.

    Reads the metadata of all arrays, and every chunk that is there of those that are scored; nothing is unpacked to the
    disk. Takes the memory of a few chunks per thread, at most some 700 MB where ids seem to have been cut to 8 bits.

    Parameters
    ----------
    path
        A zip; or a folder: a Zarr group, or one that holds a single ``*.zarr``.
    manifest
        The challenge's list of what is to be segmented; without it, nothing is known of missing arrays, nor of shape,
        voxel size and translation.
    largest_gb
        The largest size of all files together, in GB of 2^30 bytes.
    threads
        Arrays that are looked at together.

    Returns
    -------
    list of Finding
        The worst first; none for a submission that is right.

    Raises
    ------
    MissingDataError
        There is no submission or no manifest.
    DataError
        The manifest cannot be read.
    """
    rows = None if manifest is None else read_manifest(manifest)
    try:
        with open_files(path) as files:
            found = [*files.findings, *find_too_large(files, largest_gb)]
            found += _check_arrays(files, rows, threads) if files.is_readable else []
    except zipfile.BadZipFile as error:
        hint = "was it copied whole? A zip ends with its list of files"
        found = [Finding("fails", WHOLE, f"{path.name} is no zip, or not all of it ({error})", hint)]
    return order_findings(found)


def _check_arrays(files: Files, rows: list[ManifestRow] | None, threads: int) -> list[Finding]:
    layout = find_crops(files, None if rows is None else {row.crop for row in rows})
    found = list(layout.findings)
    if not layout.crops:
        return found
    if rows is not None:
        found += find_missing(layout, rows)
    jobs = list(_list_arrays(layout, rows))
    with ThreadPoolExecutor(threads) as pool:
        done = list(progress(pool.map(lambda job: _check_array(files, *job), jobs), len(jobs), "arrays"))
    found += [finding for findings, _ in done for finding in findings]
    if not jobs and rows is None:
        found.append(Finding("zero", WHOLE, "no arrays in the crops' folders", "write one for each class"))
    elif done and all(holds_something is False for _, holds_something in done):
        what = "no array holds anything but 0"
        found.append(Finding("zero", WHOLE, what, "probabilities that are cut to whole numbers become 0"))
    return found


def _list_arrays(layout: Layout, rows: list[ManifestRow] | None) -> Iterator[tuple[str, str, Node, CropGrid | None]]:
    """List what is scored, as crop, class, where it lies, and the voxels that it must have."""
    if rows is not None:
        for row in rows:
            node = layout.crops.get(row.crop, {}).get(row.label)
            if node is not None:
                yield row.crop, row.label, node, row.grid
        return
    for crop, nodes in layout.crops.items():
        for label, node in nodes.items():
            yield crop, label, node, None


def _check_array(
    files: Files, crop: str, label: str, node: Node, grid: CropGrid | None
) -> tuple[list[Finding], bool | None]:
    """Return what is wrong with one array, and whether it holds something; None where that cannot be known."""
    where, is_instance = f"{crop}/{label}", label in INSTANCE_CLASSES
    found = find_foreign(files, where, node)
    if found:
        return found, None
    try:
        array = read_array(files, node)
        found += judge_placement(array, grid, where)
        found += judge_storage(array, where, is_instance=is_instance)
        values = look_at(array)
        resampled = is_resampled(array, grid)
        found += judge_values(array, values, where, is_instance=is_instance, is_resampled=resampled)
    except UnreadableError as error:
        found.append(Finding("fails", where, f"{error}: the scorer stops on it", "write the array anew"))
        return found, None
    return found, values.foreground > 0
