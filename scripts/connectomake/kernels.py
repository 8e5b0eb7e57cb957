"""Where numba keeps compiled kernels: one folder for each state of the code that they are compiled from.

Numba compiles a kernel anew when its own file changes. It does not see a change of a kernel in another file that is
called, or of a constant that comes from elsewhere: both are compiled in. So all kernels share one key, made of every
file that holds kernels, of what these take from other modules, and of the versions of numba and NumPy. Numba itself
tells versions of Python and CPUs apart, and numba 0.68 knows a file by its content, not by its time.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from connectomake import provenance
from connectomake.provenance import PACKAGE, FileRecord, hash_code, installed_version

RECORD = "kernels.json"
KEPT_DAYS = 7
_DAY_S = 24 * 3600
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def use_kernel_cache() -> None:
    """Set `NUMBA_CACHE_DIR`, unless it is set, and remove the folders of compiled kernels that nobody uses any more.

    To be called before numba is imported.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    folder = kernel_cache()
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # its time is that of its last use
        remove_unused(folder.parent)


def kernel_cache() -> Path:
    """Return the folder of the kernels compiled from the code as it is now.

    Returns
    -------
    Path
        Beside the package, or in the user's cache where the package cannot be written to. It may not exist.

    Notes
    -----
    A few milliseconds: what was learnt of a file is kept until its size or time changes.
    """
    digest = hashlib.sha256(f"{installed_version('numba')} {installed_version('numpy')}\n".encode())
    place = _place()
    record = FileRecord(place / RECORD, [__file__, provenance.__file__])
    for name, code in sorted(_kernel_code(record).items()):
        digest.update(f"{name} {code}\n".encode())
    record.keep()
    return place / f"kernels-{digest.hexdigest()[:12]}"


def remove_unused(place: Path, days: float = KEPT_DAYS) -> None:
    """Remove folders of compiled kernels in which no process has begun to work for some days.

    A process that still runs from such a folder loses nothing but time: numba compiles again what is gone.

    Parameters
    ----------
    place
        The folder of these folders.
    days
        Younger ones stay: another checkout's state, or another process, may be using them.
    """
    for folder in place.glob("kernels-*"):
        with suppress(OSError):  # several processes clean up at once
            if folder.is_dir() and folder.stat().st_mtime < time.time() - days * _DAY_S:
                # In one step, so that nobody finds half of it.
                shutil.rmtree(folder.rename(folder.with_suffix(f".{os.getpid()}")), ignore_errors=True)


def _kernel_code(record: FileRecord) -> dict[str, str]:
    """Return hashes: of the code of every file with kernels, and of every definition elsewhere that kernels take in."""
    found, waiting = {}, set()
    for path in _paths_in(str(PACKAGE)):
        name = path.removeprefix(f"{PACKAGE}{os.sep}")
        holds = record.learn(name, path, _look_for_kernels)
        if holds["code"]:
            found[name] = holds["code"]
            waiting |= set(holds["needs"])
    while waiting:
        name = waiting.pop()
        file, inside = _locate(name)
        if name in found or not file.is_file():
            continue
        definition = record.learn(name, file, partial(_look_up, inside=inside))
        found[name] = definition["code"]
        waiting |= set(definition["needs"])
    return found


def _look_for_kernels(file: Path) -> dict[str, Any]:
    """Return the hash of a file's code and what its kernels take from elsewhere; no hash where it has no kernels."""
    text = file.read_text(encoding="utf-8")
    if "numba" not in text:
        return {"code": "", "needs": []}
    tree = ast.parse(text)
    numba = {name for name, path in _imports(tree) if path.split(".")[0] == "numba"}
    if not numba:
        return {"code": "", "needs": []}
    compiled = {name for node in tree.body if numba & _used(node) for name in _defined(node) | _used(node)}
    _, needs = _trace(tree, compiled)
    return {"code": hash_code(tree), "needs": needs}


def _look_up(file: Path, inside: str) -> dict[str, Any]:
    """Return the hash of a definition in a file and what it takes from elsewhere; of the whole file, where it is ''."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {inside} if inside else {name for node in tree.body for name in _defined(node) | _used(node)}
    statements, needs = _trace(tree, names)
    return {"code": hash_code(ast.Module(statements, [])), "needs": needs}


def _trace(tree: ast.Module, names: Iterable[str]) -> tuple[list[ast.stmt], list[str]]:
    """Return the statements that define names, from name to name, in order; and what these take from our modules."""
    names, waiting, found = set(names), list(tree.body), []
    while more := [node for node in waiting if _defined(node) & names]:
        found += more
        waiting = [node for node in waiting if node not in more]
        names |= {name for node in more for name in _used(node)}
    ours = {path for name, path in _imports(tree) if name in names and path.startswith("connectomake.")}
    return sorted(found, key=lambda node: node.lineno), sorted(ours)


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what is imported anywhere in a module: the name there, and the full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname, a.name) if a.asname else (a.name.split(".")[0], a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _defined(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module gives a value; not those that it imports."""
    if isinstance(statement, _NAMED):
        return {statement.name}
    inner = list(ast.walk(statement))
    stored = {node.id for node in inner if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.name for node in inner if isinstance(node, _NAMED)}


def _used(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _locate(name: str) -> tuple[Path, str]:
    """Return the file of a module, or of the module that defines a name, and that name ('' for a module)."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    for place, inside in ((path, ""), (path.parent, path.name)):
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file, inside
    return path, ""


def _paths_in(package: str) -> Iterator[str]:
    """Yield the paths of a package's modules; not those of the thousands of files that numba keeps beside them."""
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        yield from (os.path.join(folder, file) for file in sorted(files) if file.endswith(".py"))


def _place() -> Path:
    """Return the folder of all this: beside the package, or in the user's cache where nobody may write there."""
    beside = PACKAGE / "__pycache__"
    if not os.access(beside if beside.is_dir() else PACKAGE, os.W_OK):
        with suppress(RuntimeError):  # a container may run under an id that has no home
            caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            return caches / "connectomake" / hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]
    return beside
