"""Web pages: what a user names is shown as it is and never run, and a page is made again when its template changes."""

import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError
from small_synthesis import make_rows

from connectomake import provenance
from connectomake.draw.errors.page import COLUMNS, write_error_page
from connectomake.draw.experiment.page import write_page
from connectomake.draw.html import SHARED, TEMPLATES, HtmlTable, head_cells, render, text_cells
from connectomake.draw.submission.page import write_score_page
from connectomake.draw.submission.score import ClassScore, PairScore, Score
from connectomake.draw.synthesis.page import write_synthesis_page

HOSTILE = """</title></style><script>alert("x")</script><img src='x' onerror='y'> & "quoted" {{ 7 * 7 }} {% x %}"""
ALLOWED = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "caption", "thead", "tbody"}
ALLOWED |= {"tr", "th", "td", "details", "summary", "span", "div", "code", "a"}
PAGES = {
    "draw.experiment.page": "metrics.html.j2",
    "draw.errors.page": "errors.html.j2",
    "draw.submission.page": "submission.html.j2",
    "draw.synthesis.page": "synthesis.html.j2",
}


class Page(HTMLParser):
    """Collects the elements of a page, their attributes, and its texts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def metrics_page(name):
    columns = {"variant": [name, "b"], "volume": [name, "v"], "role": ["validate", "test"], "setting": [name, "b"]}
    table = {key: np.array(values) for key, values in columns.items()} | {"nerl": np.array([0.5, 0.6])}
    pooled = {"setting": [name], "metric": ["nerl"], "role": ["validate"]}
    numbers = {"mean": 0.5, "n": 2, "n_volumes": 2, "n_seeds": 1, "n_missing": 0, "sd_volumes": 0.1}
    comparison = {k: np.array(v) for k, v in pooled.items()} | {k: np.array([float(v)]) for k, v in numbers.items()}
    return write_page(table, comparison, name)


def errors_page(name):
    names = {"variant", "volume", *(column for columns in COLUMNS.values() for column in columns.values())}
    row = dict.fromkeys(names, name) | dict.fromkeys(("z_vx", "y_vx", "x_vx", "rank"), "1")
    row |= {"kind": "split", "lost_nm": "", "lost_vx": "5", "link": f"http://x/{name}"}
    return write_error_page({key: [value] for key, value in row.items()}, name, command=name)


def score_page(name):
    pair = PairScore(name, name, True, 6, 2, 2, 0.5, name)
    left_out = ({"crop": name, "class": name, "status": "skipped", "reason": name},)
    rows = (ClassScore(name, True, 0.5, {}, 0.1, (pair,)),)
    return write_score_page(Score(0.5, 0.5, 0.5, name, rows, left_out, {(name, name): 0.25}), name)


def synthesis_page(name):
    rows = [row | {"class": name, "shape_zyx_vx": name, "features": name} for row in make_rows()]
    return write_synthesis_page({"rows": rows}, name)


@pytest.mark.parametrize("write", [metrics_page, errors_page, score_page, synthesis_page])
def test_hostile_names_are_shown_and_do_nothing(write):
    shown = Page(write(HOSTILE))
    assert set(shown.tags) <= ALLOWED
    assert {name for name, _ in shown.attributes} <= {"lang", "charset", "class", "href", "target", "rel", "open"}
    assert [text for text in shown.texts if HOSTILE in text][:2] == [HOSTILE, HOSTILE]  # title and heading
    assert sum(HOSTILE in text for text in shown.texts) >= 5
    assert {value for name, value in shown.attributes if name == "href"} <= {f"http://x/{HOSTILE}"}


def test_text_between_tables_stays_small():
    assert len(score_page("a")) < 4000


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "//x", ""])
def test_only_addresses_of_the_web_are_links(address):
    table = HtmlTable(head_cells(["a"], ()), [[text_cells("x")[0]._replace(link=address)]])
    page = render("synthesis.html.j2", "t", reconstructions=table, generated=table)
    assert "<a" not in page
    assert page.count('<td class="text"></td>') == 2


def test_a_name_without_a_value_is_an_error():
    with pytest.raises(UndefinedError, match="generated"):
        render("synthesis.html.j2", "t", reconstructions=HtmlTable([], []))


def test_every_template_is_of_a_page_that_names_it():
    assert {file.name for file in TEMPLATES.iterdir()} == {*PAGES.values(), *SHARED.values()}


@pytest.mark.parametrize("template", [*PAGES.values(), *SHARED.values()])
def test_a_page_is_made_again_when_its_template_changes(template, tmp_path, monkeypatch):
    package = tmp_path / "connectomake"
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def codes():
        for cached in (provenance._facts, provenance.code_of):
            cached.cache_clear()
        return {module: provenance.code_of(module) for module in [*PAGES, "draw.volume.slices", "decode"]}

    try:
        before = codes()
        file = package / "draw/templates" / template
        file.write_text(file.read_text() + "\n")
        after = codes()
    finally:
        monkeypatch.undo()
        for cached in (provenance._facts, provenance.code_of):
            cached.cache_clear()
    wanted = {module for module, own in PAGES.items() if own == template} or set(PAGES)
    assert {module for module in before if before[module] != after[module]} == wanted
