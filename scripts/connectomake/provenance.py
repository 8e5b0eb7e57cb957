"""What made a result: command, settings, commit, machine and cost; and the hash of code that tells what to remake."""

from __future__ import annotations

import ast
import getpass
import hashlib
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from connectomake.errors import ConnectomakeError
from connectomake.files import read_json, write_json

PACKAGE = Path(__file__).parent
FACTS = Path("__pycache__", "modules.json")
TEMPLATE = ".j2"
PLACE = re.compile(r"connectomake\.([\w.]+):\w+")  # a line of a registry, which loads that module
NAMED_VERSIONS = ("snakemake", "torch", "pytorch-lightning", "monai", "zarr", "numba", "numpy", "scipy", "kimimaro")
# Their code decides what is said, which settings are read or where a thing is found, never what is computed.
# Settings are tracked as params.
NOT_SCIENCE = frozenset({"errors", "log", "config", "registry", "flow", "stage", "provenance"})


@cache  # of thousands of jobs
def code_of(*modules: str) -> str:
    """Hash the code that a stage computes with, so that Snakemake remakes its results when that code changes.

    Parameters
    ----------
    modules
        Modules or packages of connectomake, such as `"decode"`. What they import from connectomake is included, except
        for messages, logging and config models; so is what their registries name (`module:attribute` in a string), and
        every template beside them that one names.

    Returns
    -------
    str
        16 hexadecimal digits; the same after a change of comments, docstrings, layout or names of files elsewhere.
    """
    digest = hashlib.sha256()
    for name in sorted(_reached(modules)):
        digest.update(name.encode())
        digest.update(_facts().of(name)["code"].encode())
        for template in _facts().of(name)["templates"]:
            digest.update(_find_template(name, template).read_bytes())
    _facts().record.keep()
    return digest.hexdigest()[:16]


def hash_code(tree: ast.Module) -> str:
    """Return the hash of a syntax tree: the same whatever its comments, docstrings and layout."""
    return hashlib.sha256(_without_docstrings(tree).encode()).hexdigest()


def write_provenance(
    stage: str, arguments: Mapping[str, Any], outputs: Sequence[Path], started: float, *, script: str = ""
) -> None:
    """Write `provenance/<stage>.json` beside the first output; nothing when a stage declares no output.

    Parameters
    ----------
    stage
        Name of the rule.
    arguments
        The arguments of the stage's `main`.
    outputs
        The files that it wrote; a store's `zarr.json` counts as its store.
    started
        Time at which the stage began, seconds since 1970.
    script
        Name of the stage script, where it is not that of the rule.
    """
    if not outputs:
        return
    first = outputs[0].parent if outputs[0].name == "zarr.json" else outputs[0]
    job = f"-{arguments['job']}-of-{arguments['jobs']}" if "job" in arguments else ""
    record = {"stage": stage, "script": script or stage, **_describe(arguments, started)}
    write_json(first.parent / "provenance" / f"{stage}{job}.json", record)


def _describe(arguments: Mapping[str, Any], started: float) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "arguments": {name: _plain(value) for name, value in arguments.items()},
        "command": " ".join(sys.argv),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mb": usage.ru_maxrss // 1024,
        "host": platform.node(),
        "user": _user(),
        "cpus": os.cpu_count(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "python": platform.python_version(),
        "versions": {name: found for name in NAMED_VERSIONS if (found := installed_version(name))},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id that has no name
        return None


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _commit() -> str | None:
    """Name the commit of the pipeline, with '+' where files differ from it; None outside a git checkout."""
    try:
        git = ["git", "-C", str(PACKAGE)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _reached(modules: Sequence[str]) -> set[str]:
    """Return the files of the named modules and, from import to import, of all that they compute with."""
    found: set[str] = set()
    waiting = [file for name in modules for file in _files_of(name)]
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] in NOT_SCIENCE:
            continue
        found.add(name)
        waiting.extend(inside for full in _facts().of(name)["imports"] if (inside := _facts().find(full)))
    return found


def _files_of(name: str) -> list[str]:
    """Name every module of a package, or the module itself."""
    path = PACKAGE.joinpath(*name.split("."))
    if not path.is_dir():
        return [name]
    return [".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in sorted(path.rglob("*.py"))]


def _file_of(name: str) -> Path:
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _find_template(name: str, template: str) -> Path:
    """Return the template that a module names: in a folder `templates` beside it, or beside a package around it."""
    places = [folder / "templates" / template for folder in _file_of(name).parents if folder.is_relative_to(PACKAGE)]
    return next((place for place in places if place.is_file()), places[0])


class FileRecord:
    """What was learnt of files, kept in a file of its own: to read all of them anew would slow every job's start.

    Parameters
    ----------
    file
        Where it is kept; one that is missing, damaged or cannot be written costs time and nothing else.
    written_by
        The modules whose code learns: where one of them changed, all is learnt anew.
    """

    def __init__(self, file: Path, written_by: Sequence[str]) -> None:
        self.file, self.is_new = file, False
        self.known: dict[str, Any] = {}
        with suppress(ConnectomakeError, OSError, TypeError, ValueError):  # none, or damaged: learnt again
            self.known = dict(read_json(file))
        state = [value for module in written_by for value in _state_of(module)]
        if self.known.get("written by") != state:
            self.known = {"written by": state}

    def learn(self, key: str, file: str | Path, look: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Return what `look` says of a file; from the record, where the file has the same size and time as then."""
        state = _state_of(file)
        if self.known.get(key, {}).get("state") != state:
            self.known[key] = look(Path(file)) | {"state": state}
            self.is_new = True
        return self.known[key]

    def keep(self) -> None:
        """Write down what is new, where that is allowed."""
        if self.is_new:
            with suppress(ConnectomakeError, OSError):
                write_json(self.file, self.known)
            self.is_new = False


def _state_of(file: str | Path) -> list[str | int]:
    stat = os.stat(file)
    return [str(file), stat.st_size, stat.st_mtime_ns]


class _Facts:
    """What is known of the package's modules: their code, what they import, and which templates they fill in."""

    def __init__(self, file: Path) -> None:
        self.record = FileRecord(file, [__file__])
        self.looked_at: dict[str, dict[str, Any]] = {}
        self.found: dict[str, str] = {}

    def of(self, name: str) -> dict[str, Any]:
        """Return a module's code, as the hash of its syntax tree without docstrings; what it imports; and fills in."""
        if name not in self.looked_at:
            self.looked_at[name] = self.record.learn(name, _file_of(name), _look_at_module)
        return self.looked_at[name]

    def find(self, imported: str) -> str:
        """Return the module that an import is of: a name's own, or the one that it is taken from; '' for none."""
        if imported not in self.found:
            names = (imported, imported.rpartition(".")[0])
            self.found[imported] = next((name for name in names if name and _file_of(name).is_file()), "")
        return self.found[imported]


def _look_at_module(file: Path) -> dict[str, Any]:
    """Return the hash of a module's code, what it imports or names as a place, and which templates it names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imports = [inside for node in ast.walk(tree) for inside in _imported(node)]
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    texts = sorted(text for text in constants if isinstance(text, str))
    imports += [found[1] for text in texts if (found := PLACE.fullmatch(text))]
    templates = [text for text in texts if text.endswith(TEMPLATE)]
    return {"imports": imports, "code": hash_code(tree), "templates": templates}


@cache
def _facts() -> _Facts:
    return _Facts(PACKAGE / FACTS)


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield what an import statement takes from connectomake: modules or names in them, relative to the package."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        _, _, inside = name.partition("connectomake.")
        if inside and name.startswith("connectomake."):
            yield inside


def _without_docstrings(tree: ast.Module) -> str:
    """Return a syntax tree as text; docstrings are cut out of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
