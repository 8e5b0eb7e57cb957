"""The files of a collection: which are of which class, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.settings.data import CollectionConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.sources import locate
from connectomake.synth.examples import Role

SEPARATORS = ("\t", "\n", "\r")  # of the table of examples


def list_files(collection: CollectionConfig, folder: str = "") -> list[tuple[Path, str, Role]]:
    """List the files of a collection, with class and role.

    Files are sorted by name before they are shuffled by seed, so that every machine holds out the same ones; the
    reference implementation of 3D MedDiffusion shuffles them in the order of the disk, and needs more than 40.

    Parameters
    ----------
    collection
        Where they are, and how many are held out.
    folder
        Where a relative path of it starts.

    Returns
    -------
    list of (Path, str, Role)
        File, class, and learn or hold.

    Raises
    ------
    MissingDataError
        A folder or the JSON file does not exist.
    DataError
        A folder has no such files, the JSON file says something else than class -> folders, a file belongs to two
        classes, or a class has a single file.
    """
    classes = _find_classes(Path(locate(collection.path, folder)))
    files = {name: _list_class(name, folders, collection.pattern) for name, folders in classes.items()}
    _refuse_shared(files)
    return [
        (path, name, role)
        for number, (name, paths) in enumerate(sorted(files.items()))
        for path, role in _give_roles(name, paths, collection, number)
    ]


def _find_classes(path: Path) -> dict[str, list[Path]]:
    """Return the folders of each class."""
    if path.is_dir():
        classes = {entry.name: [entry] for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "._"}
        if not classes:
            raise DataError(f"the collection {path} is empty", expected="a folder of files for each class")
        return classes
    if not path.exists():
        raise MissingDataError(f"no collection {path}", hint="correct collection.path in the data config")
    return _read_classes(path, read_json(path))


def _read_classes(path: Path, said: Any) -> dict[str, list[Path]]:
    """Return the folders that a JSON file names; relative ones start from it."""
    named = said if isinstance(said, dict) else {}
    lists = {name: [value] if isinstance(value, str) else value for name, value in named.items()}
    if not lists or not all(
        isinstance(folders, list) and folders and all(isinstance(folder, str) for folder in folders)
        for folders in lists.values()
    ):
        raise DataError(
            f"{path} names no classes", expected='{"class": "folder"} or {"class": ["folder", ...]}', got=said
        )
    return {name: [Path(locate(folder, str(path.parent))) for folder in folders] for name, folders in lists.items()}


def _list_class(name: str, folders: Sequence[Path], pattern: str) -> list[Path]:
    """List the files of a class, sorted by name, each once."""
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise MissingDataError(
                f"class {name!r} of the collection has no folder {folder}", hint="correct the path, or mount the disk"
            )
        here = {path for path in folder.glob(pattern) if not path.name.startswith(".")}
        if not here:
            raise DataError(
                f"class {name!r} of the collection: no files in {folder}",
                expected=f"names like {pattern}",
                hint="correct the folder, or collection.pattern",
            )
        found |= {path.resolve() for path in here}
    for path in found:
        if any(mark in str(path) for mark in SEPARATORS):
            raise DataError(f"{str(path)!r} has a tab or a line's end in its name", hint="rename it")
    return sorted(found)


def _refuse_shared(files: dict[str, list[Path]]) -> None:
    """Reject a file that belongs to two classes: it could be learnt from in one and held out in the other."""
    owner: dict[Path, str] = {}
    for name, paths in files.items():
        for path in paths:
            if owner.setdefault(path, name) != name:
                raise DataError(f"{path} belongs to two classes, {owner[path]!r} and {name!r}", hint="remove one")


def _give_roles(name: str, paths: Sequence[Path], collection: CollectionConfig, number: int) -> list[tuple[Path, Role]]:
    """Hold out a share of the files, at least one."""
    if len(paths) < 2:
        raise DataError(
            f"class {name!r} of the collection has a single file, {paths[0]}",
            expected="one to learn from and one to hold out",
            hint="add files, or leave the class out",
        )
    held = min(len(paths) - 1, max(1, floor(collection.held_out * len(paths) + 0.5)))
    order = np.random.default_rng([collection.seed, number]).permutation(len(paths))
    roles: dict[Path, Role] = {paths[i]: "hold" if rank < held else "learn" for rank, i in enumerate(order)}
    return [(path, roles[path]) for path in paths]
