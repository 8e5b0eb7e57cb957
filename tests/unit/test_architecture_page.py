"""The page about the architecture says of every package and module of the first level what its docstring says."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scripts/connectomake"
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- packages: begin -->\n", "<!-- packages: end -->"


def first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring, f"{file} has no docstring"
    return docstring.split("\n\n")[0].replace("\n", " ").rstrip(".")


def write_table() -> str:
    """Return the table, to be pasted where it is out of date: `python tests/unit/test_architecture_page.py`."""
    packages = [(f"`{folder.parent.name}/`", folder) for folder in sorted(PACKAGE.glob("*/__init__.py"))]
    modules = [(f"`{file.name}`", file) for file in sorted(PACKAGE.glob("*.py")) if file.name != "__init__.py"]
    rows = [f"| {name} | {first_line(file)} |" for name, file in packages + modules]
    return "\n".join(["| in `scripts/connectomake/` | holds |", "|---|---|", *rows, ""])


def test_the_page_names_every_package_with_its_own_words():
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert table == write_table(), f"run python {Path(__file__).relative_to(ROOT)}"


def test_files_that_the_page_names_are_there():
    text = PAGE.read_text(encoding="utf-8").partition(END)[2]
    named = re.findall(r"`((?:config|decode|models|losses|targets|augment|measure|volumes|planning)/[\w/.]*)`", text)
    assert len(named) > 10
    for name in named:
        assert "NAME" in name or (PACKAGE / name).exists() or (ROOT / name).exists(), name


if __name__ == "__main__":
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + write_table() + END + rest.partition(END)[2], encoding="utf-8")
