"""Who may import whom: data flow one way through the package, and only three modules know Snakemake."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
PACKAGE = SCRIPTS / "connectomake"

BASE = {"errors", "log", "sources", "files", "tables", "union_find", "geometry", "channels", "registry", "config"}
BASE |= {"cellmap"}
DATA = BASE | {"volumes", "ledger"}
MAY_IMPORT = {
    "errors": set(),
    "log": {"errors"},
    "sources": {"errors"},
    "files": {"errors"},
    "tables": {"errors", "files"},
    "channels": set(),
    "registry": {"errors"},
    "union_find": set(),
    "cellmap": {"errors", "tables"},
    "config": {"errors", "sources", "cellmap", "channels", "registry"},
    "geometry": {"errors", "log"},
    "volumes": BASE | {"ledger"},
    "ledger": BASE | {"volumes"},
    "regions": DATA,
    "ingest": DATA | {"regions"},
    "submit": DATA | {"measure", "pipeline"},
    "split": DATA,
    "phantom": DATA,
    "targets": DATA,
    "augment": DATA,
    "decode": DATA | {"pipeline"},
    "pipeline": set(),
    "measure": DATA | {"regions"},
    "draw": DATA | {"regions"},
    "purge": BASE,
    "lock": BASE,
    "gpus": {"errors", "log"},
    "cluster": {"errors", "log", "config", "lock", "invocation"},
    "invocation": {"errors"},
    "flow": {"errors", "sources", "config", "cellmap", "volumes", "ingest", "measure", "submit", "provenance"},
    "models": DATA,
    "precision": DATA | {"models"},
    "losses": DATA | {"models"},
    "fitting": DATA | {"models"},
    "train": DATA
    | {"models", "losses", "targets", "augment", "split", "ingest", "regions", "fitting"}
    | {"predict", "precision", "decode", "measure", "tune"},
    "autoconfig": DATA | {"models", "precision", "losses", "targets", "augment", "split", "fitting", "train"},
    "predict": DATA | {"models", "precision", "regions", "pipeline"},
    "synth": DATA | {"models", "precision", "losses", "fitting", "targets", "decode", "split", "phantom"},
    "view": DATA,
    "planning": DATA | {"models", "regions", "predict", "decode"},
    "tune": DATA | {"decode", "measure", "draw"},
    "provenance": DATA,
    "kernels": DATA | {"provenance"},
    "stage": DATA | {"provenance", "kernels", "gpus"},
}
WITHOUT_TORCH = ("decode", "tune", "measure", "view", "draw", "split", "phantom", "volumes", "config", "purge")
WITHOUT_TORCH += (
    "cellmap",
    "ingest",
    "regions",
    "submit",
    "cluster",
    "flow",
    "invocation",
    "ledger",
    "files",
    "tables",
)
WITH_KIMIMARO = ("ingest/skeletons/block.py", "targets/skeleton_distance.py")


@cache
def imports(file: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def roots_of(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(file)}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")
STAGES = sorted(SCRIPTS.glob("*.py"))


def faults_of(fault: Callable[[Path], object], files: list[Path]) -> dict[str, object]:
    """Return what is wrong with each file, of those with which something is."""
    found = {file.relative_to(SCRIPTS).as_posix(): fault(file) for file in files}
    return {name: wrong for name, wrong in found.items() if wrong}


def test_imports_point_one_way():
    def against(file):
        part = part_of(file)
        used = {name.split(".")[1] for name in imports(file) if name.startswith("connectomake.")}
        return used - MAY_IMPORT[part] - {part} if part in MAY_IMPORT else f"MAY_IMPORT says nothing of {part}"

    assert faults_of(against, FILES) == {}


def test_no_import_is_relative():
    assert faults_of(lambda file: {name for name in imports(file) if name.startswith(".")}, FILES + STAGES) == {}


def test_heavy_and_foreign_packages_stay_where_they_belong():
    def misplaced(file):
        part = part_of(file)
        # Snakemake's object reaches stage.py through __main__; nobody else imports it.
        barred = set() if part == "invocation" else {"snakemake"}
        if part in WITHOUT_TORCH:
            barred |= {"torch", "monai", "pytorch_lightning"}
        if part in ("config", "cluster", "flow", "invocation", "files", "tables", "channels"):
            barred |= {"numpy", "zarr", "h5py", "numba"}
        if file.relative_to(PACKAGE).as_posix() not in WITH_KIMIMARO:
            barred |= {"kimimaro"}
        return roots_of(file) & barred

    assert faults_of(misplaced, FILES) == {}


def test_nothing_imports_a_stage_script():
    stages = {file.stem for file in STAGES}
    assert faults_of(lambda file: roots_of(file) & stages, FILES) == {}


def test_a_stage_script_is_short_and_ends_in_run():
    end = 'if __name__ == "__main__":\n    run(main)\n'
    texts = {file: file.read_text(encoding="utf-8") for file in STAGES}
    assert faults_of(lambda file: texts[file].count("\n") > 40 and "more than 40 lines", STAGES) == {}
    assert faults_of(lambda file: not texts[file].endswith(end) and "another end", STAGES) == {}


def test_no_module_imports_itself_by_way_of_others():
    """Imports within functions and for types count too: what needs each other belongs together, or on one side."""
    waiting = {name_of(file): modules_in(file) - {name_of(file)} for file in FILES}
    while ready := {name for name, used in waiting.items() if not used & waiting.keys()}:
        waiting = {name: used for name, used in waiting.items() if name not in ready}
    assert not waiting, f"among these: {sorted(waiting)}"


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file) for file in FILES}


def modules_in(file: Path) -> set[str]:
    """Return the modules of the package that a file imports, or imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & MODULES or {node.module or ""}
    return found & MODULES
