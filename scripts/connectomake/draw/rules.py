"""Draw which rule needs which: the graph that Snakemake tells, as text that GitHub shows as a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable

from connectomake.errors import DataError

BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"

Edge = tuple[str, str]


def read_edges(text: str) -> set[Edge]:
    """Read the edges, from a rule to one that needs it, in what `snakemake --rulegraph mermaid-js` says.

    Raises
    ------
    DataError
        It says nothing of the kind.
    """
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", text, re.MULTILINE))
    edges = {(names[a], names[b]) for a, b in re.findall(r"^\s*(id\d+) --> (id\d+)", text, re.MULTILINE)}
    if not edges:
        raise DataError("no graph of rules", expected="what snakemake --rulegraph mermaid-js says", got=text[:200])
    return {(a, b) for a, b in edges if a != b}


def leave_out_detours(edges: Iterable[Edge]) -> set[Edge]:
    """Leave out every edge that follows from others: where a leads to b another way too, its line tells nothing.

    Parameters
    ----------
    edges
        Of a graph without circles.

    Examples
    --------
    >>> sorted(leave_out_detours([("a", "b"), ("b", "c"), ("a", "c")]))
    [('a', 'b'), ('b', 'c')]
    """
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reached(name: str) -> set[str]:
        return {name}.union(*(reached(other) for other in after.get(name, ())))

    return {(a, b) for a, all_b in after.items() for b in all_b if not any(b in reached(c) for c in all_b - {b})}


def draw_rules(edges: Iterable[Edge]) -> str:
    """Return the graph as a block of Mermaid, the same for the same edges."""
    after: dict[str, list[str]] = {}
    for a, b in sorted(leave_out_detours(edges)):
        after.setdefault(a, []).append(b)
    lines = [f"    {a} --> {' & '.join(all_b)}" for a, all_b in after.items()]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def replace_graph(page: str, graph: str) -> str:
    """Put a graph between the two marks of a page.

    Raises
    ------
    DataError
        The marks are not there.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError("the page has no place for the graph of rules", expected=f"the lines {BEGIN} and {END}")
    return f"{before}{begin}\n{graph}\n{end}{after}"
