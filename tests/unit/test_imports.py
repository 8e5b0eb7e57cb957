"""Who may import whom: data flow one way through the package, and only three modules know Snakemake."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PACKAGE = SCRIPTS / "connectomake"

BASE = {"errors", "log", "sources", "union_find", "geometry", "config", "cellmap"}
DATA = BASE | {"volumes", "blocks"}
MAY_IMPORT = {
    "errors": set(),
    "log": {"errors"},
    "sources": {"errors"},
    "union_find": set(),
    "cellmap": {"errors"},
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
    if part in ("config", "cluster", "flow", "invocation"):
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
