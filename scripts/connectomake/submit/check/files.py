"""The files of a submission, in a zip or a folder, and what is wrong with them before any of them is read.

The rules are those of the challenge's toolbox (`zip_utils.py`, `submission.py`): which entries of a zip it refuses, and
how large all of them may be together.
"""

from __future__ import annotations

import os
import posixpath
import stat
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from connectomake.errors import MissingDataError
from connectomake.submit.check.finding import WHOLE, Finding, Severity

GB = 2**30  # as the scorer counts
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


class Files(ABC):
    """The files of a submission, by their names below its top, parts joined by ``/``.

    Parameters
    ----------
    sizes
        Name -> bytes, uncompressed.
    folders
        Names of folders that are told explicitly; a zip need not.
    total_bytes
        Of all files together, uncompressed by zip.
    findings
        What is wrong already.
    """

    is_readable = True  # unless all is encrypted, or the like

    def __init__(self, sizes: dict[str, int], folders: set[str], total_bytes: int, findings: list[Finding]) -> None:
        self.sizes = sizes
        self.folders = folders
        self.total_bytes = total_bytes
        self.findings = findings

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file; raises what the zip or the disk raises."""


class _Folder(Files):
    def __init__(self, path: Path) -> None:
        self._path = path
        sizes: dict[str, int] = {}
        folders: set[str] = set()
        links: list[str] = []
        for folder, inside, names in os.walk(path):
            for name in (*inside, *names):
                full = os.path.join(folder, name)
                below = os.path.relpath(full, path).replace(os.sep, "/")
                if os.path.islink(full):
                    links.append(below)
                if name in inside:
                    folders.add(below)
                elif os.path.isfile(full):
                    sizes[below] = os.path.getsize(full)
        findings = _tell("fails", links, "is a link, which the scorer refuses in a zip", "put the file itself there")
        super().__init__(sizes, folders, sum(sizes.values()), findings)

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()


class _Zip(Files):
    def __init__(self, packed: zipfile.ZipFile, path: Path) -> None:
        self._packed = packed
        entries = packed.infolist()
        inside = [entry for entry in entries if _lies_inside(entry.filename) and not _is_link(entry)]
        self._entries = {posixpath.normpath(entry.filename): entry for entry in inside if not entry.is_dir()}
        sizes = {name: entry.file_size for name, entry in self._entries.items()}
        folders = {posixpath.normpath(entry.filename) for entry in inside if entry.is_dir()}
        self.is_readable = not any(_is_encrypted(entry) or _is_foreign(entry) for entry in entries)
        total = sum(entry.file_size for entry in entries)
        super().__init__(sizes, folders, total, [*_find_sibling(path), *_judge_entries(entries)])

    def read(self, name: str) -> bytes:
        return self._packed.read(self._entries[name])


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """Open a submission: a zip or a folder. Nothing is unpacked; reading is safe from several threads.

    Raises
    ------
    MissingDataError
        There is nothing at `path`.
    zipfile.BadZipFile
        It is a file, but no whole zip.
    """
    if path.is_dir():
        yield _Folder(path)
    elif path.exists():
        with zipfile.ZipFile(path) as packed:
            yield _Zip(packed, path)
    else:
        raise MissingDataError(f"no submission {path}", expected="a zip or a folder")


def find_too_large(files: Files, largest_gb: float) -> list[Finding]:
    """Find whether all files together are larger than the scorer takes, in GB of 2^30 bytes."""
    if files.total_bytes <= largest_gb * GB:
        return []
    what = f"files of {files.total_bytes / GB:.3g} GB, uncompressed by zip; expected at most {largest_gb:g} GB"
    return [Finding("fails", WHOLE, what, "compress the chunks of the arrays (Blosc with zstd)")]


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _is_encrypted(entry: zipfile.ZipInfo) -> bool:
    return bool(entry.flag_bits & 1)


def _is_foreign(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type not in READABLE


def _lies_inside(name: str) -> bool:
    """Return whether an entry would be unpacked below the folder, and is not the folder itself."""
    return posixpath.normpath(posixpath.join("/top", name)).startswith("/top/")


def _find_sibling(path: Path) -> list[Finding]:
    sibling = path.with_suffix(".zarr")
    if not os.path.lexists(sibling):
        return []
    what = f"{sibling.name} lies beside {path.name}: the scorer reads the folder, and ignores the zip"
    return [Finding("fails", sibling.name, what, f"remove {sibling} or move it elsewhere")]


def _judge_entries(entries: Sequence[zipfile.ZipInfo]) -> list[Finding]:
    """Find the entries of a zip for which the scorer refuses it, or that it cannot unpack."""
    names = Counter(posixpath.normpath(entry.filename) for entry in entries if not entry.is_dir())
    twice = [name for name, number in names.items() if number > 1]
    links = [entry.filename for entry in entries if _is_link(entry)]
    outside = [entry.filename for entry in entries if not _lies_inside(entry.filename)]
    encrypted = [entry.filename for entry in entries if _is_encrypted(entry)]
    foreign = [entry.filename for entry in entries if _is_foreign(entry)]
    windows = [entry.filename for entry in entries if "\\" in entry.filename]
    return [
        *_tell("fails", links, "is a link, which the scorer refuses", "zip the file itself (not zip -y)"),
        *_tell("fails", outside, "leads out of the folder, or is the folder itself", "zip the contents of the folder"),
        *_tell("fails", encrypted, "is encrypted", "zip without a password"),
        *_tell("fails", foreign, "is compressed by a method that Python cannot read", "zip with deflate"),
        *_tell("loses", twice, "is there more than once: the last one counts", "make the zip anew, do not add to it"),
        *_tell("zero", windows, "has backslashes in its name: for the scorer it lies in no folder", "zip with /"),
    ]


def _tell(severity: Severity, names: Sequence[str], what: str, hint: str) -> list[Finding]:
    """Make one finding of all entries that have the same wrong with them."""
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return [Finding(severity, names[0], what + others, hint)] if names else []
