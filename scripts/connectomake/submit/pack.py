"""Put the arrays of all crops into one zip, as the challenge takes it: none is missing, and the bytes are reproducible.

Chunks are compressed already and are stored as they are; nothing of a volume is held in memory. The list of what goes
in is: about a kilobyte for each chunk.
"""

from __future__ import annotations

import json
import logging
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isclose
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from connectomake.cellmap.manifest import ManifestRow, group_by_crop, read_manifest
from connectomake.errors import DataError, MissingDataError
from connectomake.files import replacing
from connectomake.submit.arrays import (
    ARRAY_FILE,
    ATTRIBUTES_FILE,
    GROUP_FILE,
    GROUP_TEXT,
    describe_array,
    list_chunks,
)
from connectomake.volumes.decoded_crop import DecodedCrop

log = logging.getLogger(__name__)

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
COPIED_BYTES = 2**20
SAME_NM = 1e-3


@dataclass(frozen=True)
class Entry:
    """One file of the zip, and what goes into it: bytes, or a file on disk."""

    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        """In bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


def pack_submission(crop_jsons: Sequence[Path], manifest: Path, out: Path, *, largest_gb: float = 50.0) -> None:
    """Write every class of every crop of a manifest as one array into a zip.

    Parameters
    ----------
    crop_jsons
        What `decode_crop` wrote. A class that none of them gives becomes an array of zeros, which scores better than
        none; a warning lists these. What the manifest does not ask for is left out.
    manifest
        The challenge's list, or one of crops that are kept back. It decides on voxel sizes and translations.
    out
        The zip; one that lies there is replaced in one step, at the end.
    largest_gb
        Largest size of all files in the zip together, before it is zipped: 10^9 bytes.

    Raises
    ------
    MissingDataError
        A crop.json, an array that one names, or the manifest does not exist.
    DataError
        The manifest cannot be read; a crop is there twice; crop.json and manifest differ on a crop's voxels; the files
        are too large; the challenge would read a folder beside the zip instead of it; or the disk refuses.
    """
    _check_place(out)
    rows = read_manifest(manifest)
    decoded = _read_crops(crop_jsons)
    for row in rows:
        if row.crop in decoded:
            _check_grid(decoded[row.crop], row, manifest)
    entries = list(_list_entries(rows, decoded))
    total = sum(entry.size for entry in entries)
    if total > largest_gb * 1e9:
        raise DataError(
            f"{out} would be refused: its files are too large together",
            expected=f"at most {largest_gb:g} GB (submit.largest_gb)",
            got=f"{total / 1e9:.4g} GB",
            hint="probably a class is found nearly everywhere: look at `voxels` in the crop.json files",
        )
    _warn_of_missing(rows, decoded)
    with replacing(out) as temporary:
        _write_zip(temporary, entries)
    log.info("%s: %d arrays, %d files, %.3f GB", out, len(rows), len(entries), total / 1e9)


def _check_place(out: Path) -> None:
    """Reject a place where the challenge's own scorer would find something else."""
    stale = out.with_suffix(".zarr")
    if out.suffix != ".zip":
        raise DataError(f"a submission cannot be called {out.name}", expected="a name that ends in .zip")
    if stale.exists() or stale.is_symlink():
        raise DataError(
            f"{stale} lies beside {out.name}: the challenge's toolbox would score it instead of the zip",
            hint=f"remove or rename {stale}, and run again",
        )


def _read_crops(crop_jsons: Sequence[Path]) -> dict[str, DecodedCrop]:
    """Read what was decoded, by crop."""
    decoded: dict[str, DecodedCrop] = {}
    for path in crop_jsons:
        found = DecodedCrop.read(path)
        before = decoded.setdefault(found.crop, found)
        if before is not found:
            raise DataError(f"{path} and {before.path} are of the same crop {found.crop}")
    return decoded


def _check_grid(decoded: DecodedCrop, row: ManifestRow, manifest: Path) -> None:
    """Reject a crop that lies elsewhere than the manifest says."""
    same = decoded.dataset == row.dataset and decoded.grid.shape_zyx == row.grid.shape_zyx
    for key in ("voxel_size_zyx_nm", "offset_zyx_nm"):
        pairs = zip(getattr(decoded.grid, key), getattr(row.grid, key), strict=True)
        same &= all(isclose(a, b, abs_tol=SAME_NM) for a, b in pairs)
    if not same:
        raise DataError(
            f"{decoded.path} and {manifest}, row {row.line}, contradict each other about {row.crop}",
            expected=f"{row.dataset}, {row.grid}",
            got=f"{decoded.dataset}, {decoded.grid}",
            hint="ingest the crop with this manifest and decode it again",
        )


def _list_entries(rows: Sequence[ManifestRow], decoded: Mapping[str, DecodedCrop]) -> Iterator[Entry]:
    """List what goes into the zip, sorted by crop, class and file."""
    yield Entry(GROUP_FILE, GROUP_TEXT)
    for crop, its_rows in sorted(group_by_crop(rows).items()):
        yield Entry(f"{crop}/{GROUP_FILE}", GROUP_TEXT)
        for row in sorted(its_rows, key=lambda row: row.label):
            yield from _list_array(row, _array_of(row, decoded))


def _array_of(row: ManifestRow, decoded: Mapping[str, DecodedCrop]) -> Path | None:
    return decoded[row.crop].array_of(row.label) if row.crop in decoded else None


def _list_array(row: ManifestRow, folder: Path | None) -> Iterator[Entry]:
    """List the files of an array; those of an empty one where none was decoded."""
    name, files = f"{row.crop}/{row.label}", describe_array(row.grid)
    array = files[ARRAY_FILE] if folder is None else _read_array_file(folder, row)
    yield Entry(f"{name}/{ARRAY_FILE}", array)
    yield Entry(f"{name}/{ATTRIBUTES_FILE}", files[ATTRIBUTES_FILE])
    if folder is not None:
        for chunk in list_chunks(folder):
            yield Entry(f"{name}/{chunk.name}", chunk)


def _read_array_file(folder: Path, row: ManifestRow) -> bytes:
    """Read the description of an array, and see that it is one of the crop's voxels."""
    path = folder / ARRAY_FILE
    if not path.is_file():
        raise MissingDataError(f"no array {folder}, which crop.json names", hint="delete crop.json and decode it again")
    text = path.read_bytes()
    shape = json.loads(text).get("shape")
    if tuple(shape or ()) != row.grid.shape_zyx:
        raise DataError(f"{path} is not of {row.crop}", expected=list(row.grid.shape_zyx), got=shape)
    return text


def _warn_of_missing(rows: Sequence[ManifestRow], decoded: Mapping[str, DecodedCrop]) -> None:
    """Describe which arrays are empty because nobody made them, and which crops nobody asked for."""
    missing = Counter(row.label for row in rows if _array_of(row, decoded) is None)
    if missing:
        named = ", ".join(f"{label} ({count})" for label, count in sorted(missing.items()))
        log.warning("%d of %d arrays were not decoded and are empty: %s", missing.total(), len(rows), named)
    extra = sorted(set(decoded) - {row.crop for row in rows})
    if extra:
        log.warning("not in the manifest and left out: %s", ", ".join(extra))


def _write_zip(path: Path, entries: Sequence[Entry]) -> None:
    with ZipFile(path, "w", ZIP_STORED, allowZip64=True) as archive:
        for entry in entries:
            info = ZipInfo(entry.name, LONG_AGO)
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = entry.size
            source = entry.content.open("rb") if isinstance(entry.content, Path) else BytesIO(entry.content)
            with source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, COPIED_BYTES)
