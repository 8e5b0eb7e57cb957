"""Say what happens: one format on the terminal and in the log file, and progress that suits either.

The library only ever calls ``logging.getLogger(__name__)``; a stage script calls `setup_logging` once.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
SECONDS_BETWEEN_LINES = 60.0

log = logging.getLogger(__name__)


def setup_logging(log_file: Path | None = None, level: int = logging.INFO) -> None:
    """Send all log records and Python warnings to standard error and, if given, to a file as well.

    Handlers of an earlier call are closed and replaced; those of others (a test runner's) stay.

    Parameters
    ----------
    log_file
        Where the log goes besides standard error; its folder is made, an older log is replaced.
    level
        The lowest level shown.
    """
    root = logging.getLogger()
    for handler in [h for h in root.handlers if getattr(h, "of_connectomake", False)]:
        root.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, mode="w", encoding="utf-8"))
    for handler in handlers:
        handler.of_connectomake = True  # type: ignore[attr-defined]
        handler.setFormatter(logging.Formatter(FORMAT, DATE_FORMAT))
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)


def progress(iterable: Iterable[T], total: int | None = None, what: str = "blocks") -> Iterator[T]:
    """Pass items on and tell how far it got: a bar on a terminal, otherwise one log line a minute and one at the end.

    An item counts as done when the next one is asked for.

    Parameters
    ----------
    iterable
        What to go through.
    total
        How many items there are; by default ``len(iterable)`` where it has one.
    what
        The items' name in the plural.

    Yields
    ------
    T
        The items, unchanged.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, unit=f" {what}", dynamic_ncols=True)
        return
    start = said = time.monotonic()
    done = 0
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            log.info("%s", describe_progress(done, total, now - start, what))
    log.info("%s", describe_progress(done, done, time.monotonic() - start, what))


def describe_progress(done: int, total: int | None, seconds: float, what: str) -> str:
    """Return how many are done, at what rate, and when the rest will be.

    Parameters
    ----------
    done, total
        Items done, and items in all where that is known.
    seconds
        The time it took so far.
    what
        The items' name in the plural.

    Returns
    -------
    str
        As in ``120/480 blocks in 2:00, 1 per s, 6:00 left``.
    """
    rate = done / seconds if seconds > 0 else 0.0
    of_total = "" if total is None else f"/{total}"
    text = f"{done}{of_total} {what} in {format_seconds(seconds)}"
    if rate > 0:
        text += f", {rate:.3g} per s" if rate >= 1 else f", {1 / rate:.3g} s each"
    if total is not None and rate > 0 and done < total:
        text += f", {format_seconds((total - done) / rate)} left"
    return text


def format_seconds(seconds: float) -> str:
    """Write a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
