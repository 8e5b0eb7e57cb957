"""Fill in the templates of web pages that need nothing but themselves; whatever is filled in is escaped.

The templates lie in the folder beside this module. A module names its template in a string of its own, and
`provenance.code_of` counts the files that are named so: a page is made again when its template changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
SHARED = {"layout": "layout.html.j2", "parts": "parts.html.j2"}
"""Names by which every template knows the page that it extends and the macros for tables and links."""


class Cell(NamedTuple):
    """One field of a table: its text, its CSS classes, and where it links to (None: it is no link)."""

    text: str
    style: str = ""
    link: str | None = None


@dataclass(frozen=True)
class HtmlTable:
    """Heading and rows, each of as many cells; without a heading only the caption is shown."""

    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    style: str = ""
    caption: str = ""


def text_cells(texts: Iterable[Any]) -> list[Cell]:
    """Return cells that are aligned as text is."""
    return [Cell(str(text), "text") for text in texts]


def head_cells(headings: Sequence[str], text: Iterable[int]) -> list[Cell]:
    """Return the cells of a heading; the columns `text` are aligned as text is, all others as numbers are."""
    as_text = set(text)
    return [Cell(heading, "text" if k in as_text else "") for k, heading in enumerate(headings)]


def render(template: str, title: str, **values: Any) -> str:
    """Fill in a template of this package.

    Parameters
    ----------
    template
        Name of the file. Write it where this is called: the hash of the code looks for it there.
    title
        Title and heading of the page.
    **values
        What else the template names; a name that has no value is an error.

    Returns
    -------
    str
        The whole page, in which nothing of `title` and `values` is taken for HTML.
    """
    return _environment().get_template(template).render(title=title, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(SHARED)
    return environment
