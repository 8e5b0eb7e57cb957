"""Ask Slurm: its partitions with what their nodes have, its nodes, its configuration, a user's accounts."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

PATIENCE_S = 20.0  # a busy controller takes seconds; one that is down makes its commands try for a minute


@dataclass(frozen=True)
class Partition:
    """The most that one job may ask of a partition.

    Parameters
    ----------
    limits
        Resource, by Snakemake's name -> the most of it: ``mem_mb``, ``runtime`` (minutes), ``threads``, ``gpu``, ...
    gpu_models
        The models of its GPUs; None where they are not known.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    gpu_models: frozenset[str] | None = None


def split_names(names: object) -> list[str]:
    """Split what names several partitions or accounts, with commas or spaces between."""
    return [name for name in re.split(r"[,\s]+", str(names)) if name]


def ask(*command: str) -> str | None:
    """Return what a command of Slurm prints; None where it is not installed, fails, or does not answer in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def list_partitions() -> tuple[dict[str, Partition], str] | None:
    """Return the cluster's partitions by name, and the name of the default one ("" = none); None where nobody answers.

    A partition has what its largest node has of each: memory, cores, GPUs.
    """
    told = ask("sinfo", "--all", "--noheader", "--exact", "--format=%P|%l|%m|%c|%G")
    if told is None:
        return None
    limits: dict[str, dict[str, float]] = {}
    default = ""
    rows = (line.strip().split("|", 4) for line in told.splitlines() if line.count("|") >= 4)
    for name, time_limit, memory_mb, cores, gres in rows:
        default = name.rstrip("*") if name.endswith("*") else default
        node = {"mem_mb": _number(memory_mb), "threads": _number(cores), "gpu": float(count_gpus(gres))}
        largest = limits.setdefault(name.rstrip("*"), {"runtime": minutes_of(_with_hours(time_limit))})
        largest.update({key: max(value, largest.get(key, 0.0)) for key, value in node.items()})
    return {name: Partition(most) for name, most in limits.items()}, default


def list_nodes() -> set[str]:
    """Return the names of the cluster's nodes; none where nobody answers."""
    return set((ask("sinfo", "--all", "--noheader", "--Node", "--format=%N") or "").split())


def read_configuration() -> dict[str, str]:
    """Return the controller's settings (`scontrol show config`) by key; none where nobody answers."""
    told = ask("scontrol", "show", "config") or ""
    pairs = (line.partition("=") for line in told.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def list_accounts() -> set[str]:
    """Return the accounts that this user may charge, in lower case; none where the cluster does not tell."""
    user = getpass.getuser()
    told = ask("sacctmgr", "--noheader", "--withassoc", "list", "user", user, "format=account%256")
    if not (told or "").strip():
        told = ask("sshare", "--noheader", "--Users", "--format=Account%256")
    return {line.strip().lower() for line in (told or "").splitlines() if line.strip()}


def count_gpus(gres: object) -> int:
    """Count the GPUs of a generic resource.

    Examples
    --------
    >>> count_gpus("gpu:a100:4(S:0-1),gpu:2,shard:8"), count_gpus("(null)")
    (6, 0)
    """
    return sum(int(number) for number in re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", str(gres)))


def minutes_of(time: str | float) -> float:
    """Read a time as Slurm or Snakemake writes it; infinity where it is no limit, or cannot be read.

    Examples
    --------
    >>> [minutes_of(time) for time in (90, "90", "2-00:00:00", "1-12", "1:30:00", "2d12h", "infinite")]
    [90.0, 90.0, 2880.0, 2160.0, 90.0, 3600.0, inf]
    """
    text = str(time).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if clock := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return 1440 * days + 60 * hours + minutes + seconds / 60
    units = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
    if re.fullmatch(r"(\d+(\.\d+)?\s*[dhms]\s*)+", text):
        return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)\s*([dhms])", text))
    return float("inf")


def _with_hours(time: str) -> str:
    """Write sinfo's ``30:00`` (minutes:seconds) with hours; elsewhere two numbers are hours:minutes."""
    return f"0:{time}" if re.fullmatch(r"\d+:\d+", time) else time


def _number(text: str) -> float:
    return float(re.sub(r"\D", "", text) or "inf")
