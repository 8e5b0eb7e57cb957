"""Read lists of packages that pip installs."""

from __future__ import annotations

import re
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13")


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of every package in a list, and in the lists that it includes, in their order."""
    pins: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            pins |= read_pins(path.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[name] = version
    return pins


def read_lock(path: Path) -> list[tuple[str, list[str]]]:
    """Return each requirement of a lock, as `name==version ; marker`, with its hashes."""
    text = re.sub(r"^#.*\n|^ +#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = [re.split(r"\s+--hash=", entry) for entry in text.replace("\\\n", " ").splitlines()]
    return [(requirement.strip(), [digest.strip() for digest in hashes]) for requirement, *hashes in entries]
