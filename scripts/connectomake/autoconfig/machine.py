"""What this process may use of the machine: cores and memory, as the system, a container or Slurm limits them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 2**60  # version 1 of cgroups says "no limit" by a huge number


@dataclass(frozen=True)
class Machine:
    """What there is to train with, apart from GPUs.

    Parameters
    ----------
    host
        Name of the machine.
    cores, cores_by
        Cores that may be used, and what limits them.
    memory_bytes, memory_by
        Memory that is left, and what limits it.
    """

    host: str
    cores: int
    cores_by: str
    memory_bytes: int
    memory_by: str


def find_machine(
    environ: Mapping[str, str] | None = None, root: Path = Path("/"), threads: int | None = None
) -> Machine:
    """Find what this process may use.

    Parameters
    ----------
    environ
        Environment variables, where Slurm tells what it has allocated; by default those of this process.
    root
        Where the folders proc and sys lie.
    threads
        Cores that somebody else has decided on already, such as those of a Snakemake job.
    """
    environ = os.environ if environ is None else environ
    cores, cores_by = min(_core_limits(environ, root, threads))
    memory, memory_by = min(_memory_limits(environ, root))
    return Machine(platform.node(), cores, cores_by, memory, memory_by)


def _core_limits(environ: Mapping[str, str], root: Path, threads: int | None) -> Iterator[tuple[int, str]]:
    """Return every limit on cores that there is."""
    affinity = getattr(os, "sched_getaffinity", None)
    yield (len(affinity(0)), "affinity") if affinity else (os.cpu_count() or 1, "the machine")
    if threads is not None:
        yield max(1, threads), "threads"
    if "SLURM_CPUS_PER_TASK" in environ:
        yield max(1, int(environ["SLURM_CPUS_PER_TASK"])), "Slurm"
    for folder in _control_groups(root, "cpu"):
        quota, period = _words(folder / "cpu.max", 2) or (
            _number(folder / "cpu.cfs_quota_us"),
            _number(folder / "cpu.cfs_period_us"),
        )
        if quota not in (None, "max") and period is not None and int(quota) > 0:
            yield max(1, int(quota) // int(period)), "cgroup"


def _memory_limits(environ: Mapping[str, str], root: Path) -> Iterator[tuple[int, str]]:
    """Return every limit on memory that there is, in bytes that are left."""
    yield _available_bytes(root), "the machine"
    per_node = int(environ.get("SLURM_MEM_PER_NODE", 0))
    per_core = int(environ.get("SLURM_MEM_PER_CPU", 0))
    cores = int(environ.get("SLURM_CPUS_ON_NODE", environ.get("SLURM_CPUS_PER_TASK", 1)))
    if per_node or per_core:  # MB; 0 = all there is
        yield (per_node or per_core * cores) * 2**20, "Slurm"
    for folder in _control_groups(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None and limit < UNLIMITED:
            yield max(0, limit - used + _droppable_bytes(folder / "memory.stat")), "cgroup"


def _available_bytes(root: Path) -> int:
    """Return the memory that the system could hand out without swapping."""
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _droppable_bytes(stat: Path) -> int:
    """Return the memory of a control group that only caches files, and is given up when it is needed."""
    found = dict(line.split()[:2] for line in _text(stat).splitlines() if " " in line)
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Return the folders of the control groups that this process is in, of both versions, each with its parents."""
    top = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = top / controller if controllers else top
        inner = Path(path.lstrip("/"))
        yield from (base / folder for folder in (inner, *inner.parents) if (base / folder).is_dir())


def _words(file: Path, count: int) -> list[str] | None:
    found = _text(file).split()
    return found if len(found) == count else None


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(file: Path) -> str:
    """Read a file of the system; one that is not there, or not for us, is empty."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
