"""Who may import whom: data flow one way through the package, and only three modules know Snakemake."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PACKAGE = SCRIPTS / "connectomake"

BASE = {"errors", "log", "sources", "tables", "union_find", "geometry", "config", "cellmap"}
DATA = BASE | {"volumes", "blocks"}
MAY_IMPORT = {
    "errors": set(),
    "log": {"errors"},
    "sources": {"errors"},
    "tables": {"errors", "volumes"},
    "union_find": set(),
    "cellmap": {"errors", "tables"},
    "config": {"errors", "sources", "cellmap"},
    "geometry": {"errors", "log"},
    "volumes": BASE | {"blocks"},
    "blocks": BASE | {"volumes"},
    "crops": DATA,
    "submit": DATA | {"measure", "pipeline"},
    "split": DATA,
    "phantom": DATA,
    "targets": DATA,
    "augment": DATA,
    "decode": DATA | {"pipeline"},
    "pipeline": set(),
    "measure": DATA,
    "draw": DATA,
    "purge": BASE,
    "lock": BASE,
    "gpus": {"errors", "log"},
    "cluster": {"errors", "log", "config", "lock", "invocation"},
    "invocation": {"errors"},
    "flow": {"errors", "sources", "config", "cellmap", "volumes", "measure", "submit", "provenance"},
    "models": DATA,
    "precision": DATA | {"models"},
    "losses": DATA | {"models"},
    "train": DATA
    | {"models", "losses", "targets", "augment", "split", "crops", "predict", "precision", "decode", "measure", "tune"},
    "autoconfig": DATA | {"models", "precision", "losses", "targets", "augment", "split", "train"},
    "predict": DATA | {"models", "precision", "pipeline"},
    "synth": DATA | {"models", "precision", "losses", "train", "targets", "decode", "split", "phantom"},
    "view": DATA,
    "planning": DATA | {"models", "predict", "decode"},
    "tune": DATA | {"decode", "measure", "draw"},
    "provenance": DATA,
    "stage": DATA | {"provenance", "gpus"},
}
WITHOUT_TORCH = ("decode", "tune", "measure", "view", "draw", "split", "phantom", "volumes", "config", "purge")
WITHOUT_TORCH += ("cellmap", "crops", "submit", "cluster", "flow", "invocation")


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    part = part_of(file)
    used = {name.split(".")[1] for name in imports(file) if name.startswith("connectomake.")}
    assert used <= MAY_IMPORT[part] | {part}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_heavy_and_foreign_packages_stay_where_they_belong(file):
    roots = {name.split(".")[0] for name in imports(file)}
    part = part_of(file)
    if part in WITHOUT_TORCH:
        assert not roots & {"torch", "monai", "pytorch_lightning"}
    if part != "invocation":
        assert "snakemake" not in roots, "Snakemake's object reaches stage.py through __main__; nobody imports it"
    if part in ("config", "cluster", "flow", "invocation", "tables"):
        assert not roots & {"numpy", "zarr", "h5py", "numba"}
    if "kimimaro" in roots:
        assert file.relative_to(PACKAGE).as_posix() in ("measure/skeletonize/block.py", "targets/skeleton_distance.py")


def test_nothing_imports_a_stage_script():
    stages = {file.stem for file in SCRIPTS.glob("*.py")}
    for file in FILES:
        assert not {name.split(".")[0] for name in imports(file)} & stages


@pytest.mark.parametrize("file", sorted(SCRIPTS.glob("*.py")), ids=lambda file: file.stem)
def test_a_stage_script_is_short_and_ends_in_run(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    assert text.endswith('if __name__ == "__main__":\n    run(main)\n')


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
