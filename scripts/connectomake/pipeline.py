"""Read the next block and write the last one while this one is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def run_overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Loaded],
    compute: Callable[[Item, Loaded], Result],
    write: Callable[[Item, Result], None],
) -> None:
    """Take items through read, compute and write, in order, with one thread each for reading and writing.

    At any time at most two loaded items and two results are in memory. Whatever was computed before an error is still
    written.

    Parameters
    ----------
    items
        What to go through.
    read, write
        Run in threads of their own, one call at a time each.
    compute
        Runs in the calling thread.

    Raises
    ------
    Exception
        Whatever `read`, `compute` or `write` raised first.
    """
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reading = [reader.submit(read, item) for item in items[:1]]
        for position, item in enumerate(items):
            loaded = reading.pop().result()
            reading += [reader.submit(read, following) for following in items[position + 1 : position + 2]]
            result = compute(item, loaded)
            del loaded
            if writing is not None:
                writing.result()
            writing = writer.submit(write, item, result)
            del result
        if writing is not None:
            writing.result()
