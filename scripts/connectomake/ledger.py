"""Which blocks of a store are finished, and with which settings: the ledger that lets any stage resume.

Many jobs on many hosts share one folder and no lock. Each job writes only its own file, whole, by temporary file and
rename; readers take the union of all files of their settings. `settings.json` is made once, by whoever comes first.

Invariant: a block is in the ledger only after its data is on disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from connectomake.errors import ConnectomakeError, DataError, MissingDataError, ResumeMismatchError
from connectomake.files import explain_write_failure, read_json, sync_to_disk, write_json

log = logging.getLogger(__name__)

SETTINGS_FILE = "settings.json"
JOB_NAME = re.compile(r"\d+-of-\d+")
ABSENT = "(absent)"
NAMED_BLOCKS = 10  # of those missing, in the error


class Ledger:
    """The finished blocks of one store.

    Parameters
    ----------
    folder
        Where the ledger's files lie; made if need be. By custom `STORE/ledger`.
    settings
        Everything that decides what a block holds, as plain data (JSON): inputs, checkpoint hash, grid, options; not
        how the work is spread (jobs, threads), which must not matter.

    Raises
    ------
    ResumeMismatchError
        The folder was begun with other settings; the message names each that differs.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = fix_settings(folder, settings, results=folder.parent)
        self.settings_hash = hash_settings(self.settings)
        self._of_job: dict[str, set[int]] = {}

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open a ledger that some job began, with whatever settings it was begun with.

        Raises
        ------
        MissingDataError
            No job began one here.
        """
        if not (folder / SETTINGS_FILE).exists():
            raise MissingDataError(
                f"{folder} holds no {SETTINGS_FILE}: nothing was begun there", hint="run the jobs first"
            )
        return cls(folder, _read_settings(folder, folder.parent))

    def done(self) -> set[int]:
        """Return the numbers of all blocks that any job finished with these settings.

        Files that are unreadable, of other settings or of other origin count as nothing, with a warning: their blocks
        are computed again, which costs time and never a wrong result.
        """
        blocks: set[int] = set()
        for path in sorted(self.folder.glob("*.json")):
            if JOB_NAME.fullmatch(path.stem):
                blocks |= self._read(path)
        return blocks

    def require_all(self, blocks: int, rule: str, job_of: Callable[[int], int] | None = None) -> None:
        """Raise DataError unless blocks 0..blocks - 1 are finished.

        Parameters
        ----------
        blocks
            How many there are.
        rule
            What makes them, for the error.
        job_of
            Gives the number of the job that a block belongs to: the error names those to run again. None = not known.
        """
        missing = sorted(set(range(blocks)) - self.done())
        if not missing:
            return
        hint = f"run {rule} again"
        if job_of is not None:
            todo = sorted(set(map(job_of, missing)))
            hint += f" for the jobs of these blocks: {', '.join(map(str, todo[:NAMED_BLOCKS]))}"
        named = ", ".join(map(str, missing[:NAMED_BLOCKS])) + (", ..." if len(missing) > NAMED_BLOCKS else "")
        raise DataError(f"{self.folder.parent} lacks {len(missing)} of {blocks} blocks ({named})", hint=hint)

    def mark(self, block: int, job: str) -> None:
        """Record a block as finished, after its data is on disk.

        Parameters
        ----------
        block
            The block's number in the grid.
        job
            The name of the job that finished it, as in ``3-of-8`` (`job_name`); it owns the file of that name.

        Raises
        ------
        DataError
            The job's name is of another form.
        """
        if not JOB_NAME.fullmatch(job):
            raise DataError("no job of that name", expected="a name as in 3-of-8", got=job)
        path = self.folder / f"{job}.json"
        if job not in self._of_job:
            self._of_job[job] = self._read(path) if path.exists() else set()
        self._of_job[job].add(block)
        write_json(path, {"settings_hash": self.settings_hash, "blocks": sorted(self._of_job[job])})

    def _read(self, path: Path) -> set[int]:
        """Return the blocks in one job's file; none, with a warning, where it is not one of this ledger's."""
        try:
            value = read_json(path)
            blocks = value["blocks"]
            if value["settings_hash"] == self.settings_hash and all(type(b) is int for b in blocks):
                return set(blocks)
            problem = "was written with other settings"
        except (OSError, ConnectomakeError, KeyError, TypeError) as error:
            problem = f"cannot be read as part of a ledger ({error!r})"
        log.warning("%s %s; its blocks are computed again", path, problem)
        return set()


def job_name(job: int, jobs: int) -> str:
    """Name job `job` of `jobs`, both as numbers from 0: the form that `Ledger.mark` and the jobs' markers use."""
    return f"{job}-of-{jobs}"


def fix_settings(folder: Path, settings: dict[str, Any], *, results: Path | None = None) -> dict[str, Any]:
    """Record the settings that results are made with, or check that they are those recorded.

    Whatever resumes can call it by itself (training does), without a ledger.

    Parameters
    ----------
    folder
        Where ``settings.json`` lies; made if need be.
    settings
        Plain data (JSON).
    results
        What is made with these settings and would have to be removed to use others; by default the folder itself.

    Returns
    -------
    dict
        The settings as JSON holds them (tuples become lists).

    Raises
    ------
    ResumeMismatchError
        Other settings are recorded there; the message names each that differs, with both values.
    """
    results = folder if results is None else results
    wanted = json.loads(json.dumps(settings))
    if not (folder / SETTINGS_FILE).exists():
        _create_exclusively(folder / SETTINGS_FILE, {"hash": hash_settings(wanted), "settings": wanted})
    recorded = _read_settings(folder, results)
    differences = [f"{key} was {old}, is now {new}" for key, old, new in compare_settings(recorded, wanted)]
    if differences:
        raise ResumeMismatchError(
            f"{results} was begun with other settings: {', '.join(differences)}",
            hint=f"go back to those, or remove {results} (`snakemake purge` shows what it removes), and run again",
        )
    return recorded


def compare_settings(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the settings that differ between two sets of plain data.

    Returns
    -------
    list of tuple
        (dotted key, old value, new value), sorted by key; a missing value is given as ``(absent)``.
    """
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    pairs = [
        (key, flat_old.get(key, ABSENT), flat_new.get(key, ABSENT)) for key in sorted(flat_old.keys() | flat_new.keys())
    ]
    return [(key, a, b) for key, a, b in pairs if a != b]


def hash_settings(settings: dict[str, Any]) -> str:
    """Return the SHA-256 of plain data, the same for every order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Turn nested dicts into dotted keys; an empty dict stays a value, so that it differs from an absent one."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def read_hash(folder: Path) -> str | None:
    """Return the hash of the settings that are recorded in a folder; None where none are.

    Raises
    ------
    DataError
        The file is not JSON.
    """
    path = folder / SETTINGS_FILE
    value = read_json(path) if path.exists() else None
    return value.get("hash") if isinstance(value, dict) else None


def _read_settings(folder: Path, results: Path) -> dict[str, Any]:
    """Read the settings recorded in a folder."""
    path = folder / SETTINGS_FILE
    try:
        return dict(read_json(path)["settings"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise ResumeMismatchError(
            f"{path} does not say with which settings {results} was begun ({error!r})",
            hint=f"remove {results} (`snakemake purge` shows what it removes) and run again",
        ) from error


def _create_exclusively(path: Path, value: dict[str, Any]) -> None:
    """Make a JSON file with its whole content at once, unless another process was faster.

    A hard link to a finished temporary file does both, on NFS too. Where a file system has no hard links, a rename
    keeps the content whole, and the caller, who reads back what is there, sees who came last.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with explain_write_failure(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
            sync_to_disk(temporary)
            _link_or_rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _link_or_rename(temporary: Path, path: Path) -> None:
    """Rename a finished file; the first of several keeps it where the file system has hard links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:
        temporary.replace(path)
