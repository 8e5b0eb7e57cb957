import io
import logging
import re
import sys
import warnings

import pytest

from connectomake import log as log_module
from connectomake.log import describe_progress, format_seconds, progress, setup_logging


@pytest.fixture(autouse=True)
def root_restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)


def test_lines_go_to_stderr_and_file_in_one_format(tmp_path, capsys):
    setup_logging(tmp_path / "deep" / "job.log")
    logging.getLogger("connectomake.predict").info("block %d", 3)
    text = (tmp_path / "deep" / "job.log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO connectomake.predict: block 3\n", text)
    assert capsys.readouterr().err == text


def test_a_second_call_replaces_the_first(tmp_path, capsys):
    setup_logging(tmp_path / "a.log")
    setup_logging(tmp_path / "b.log")
    logging.getLogger("x").info("once")
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().count("once") == 1
    assert capsys.readouterr().err.count("once") == 1


def test_warnings_are_logged(tmp_path):
    setup_logging(tmp_path / "a.log")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("odd value", UserWarning, stacklevel=1)
    assert "WARNING py.warnings" in (tmp_path / "a.log").read_text()
    assert "odd value" in (tmp_path / "a.log").read_text()


def test_progress_without_a_terminal_says_one_line_a_minute_and_a_last_one(monkeypatch, caplog):
    clock = iter(range(0, 10_000, 25))  # each look at the clock is 25 s later
    monkeypatch.setattr(log_module.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO):
        assert list(progress([5, 6, 7, 8], what="blocks")) == [5, 6, 7, 8]
    assert caplog.messages == [
        "3/4 blocks in 1:15, 25 s each, 0:25 left",
        "4/4 blocks in 2:05, 31.2 s each",
    ]


def test_progress_takes_an_iterator_of_unknown_length(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("ab"), what="letters")) == ["a", "b"]
    assert caplog.messages[-1].startswith("2/2 letters in 0:00")


def test_progress_on_a_terminal_is_a_bar(monkeypatch, caplog):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO):
        assert list(progress(range(3), what="blocks")) == [0, 1, 2]
    assert "3/3" in terminal.getvalue()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((120, 480, 120.0, "blocks"), "120/480 blocks in 2:00, 1 per s, 6:00 left"),
        ((3, None, 6.0, "blocks"), "3 blocks in 0:06, 2 s each"),
        ((0, 5, 0.0, "blocks"), "0/5 blocks in 0:00"),
    ],
)
def test_describe_progress(arguments, text):
    assert describe_progress(*arguments) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text
