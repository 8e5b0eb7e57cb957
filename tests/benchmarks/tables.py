"""What the scripts that print the README's tables have in common: timing, rows of Markdown, the machine's name."""

import os
import platform
import time
from importlib.metadata import version


def least_seconds(work, rounds=3):
    """Time something after a first call that compiles; give the least of some rounds."""
    work()
    return min(seconds_of(work) for _ in range(rounds))


def seconds_of(work):
    """Time one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def show_row(*cells):
    """Print a row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def show_head(*cells):
    """Print the head of a Markdown table."""
    show_row(*cells)
    show_row(*["---"] * len(cells))


def name_machine(packages):
    """Name cores, processor and the versions of some packages."""
    with open("/proc/cpuinfo") as lines:
        cpu = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
        )
    return f"{os.cpu_count()} cores, {cpu}; " + ", ".join(f"{name} {version(name)}" for name in packages)
