"""The numbers of the GPU tests: gathered row by row, shown as one table, and written as JSON."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "triton", "pytorch-lightning", "monai", "numpy", "numba", "zarr")
COLUMNS = ("check", "case", "quantity", "value")


class Report:
    """What was measured, in the order in which it was, and the machine that it was measured on."""

    def __init__(self) -> None:
        self.machine: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []

    def add(self, check: str, case: str, **quantities: Any) -> None:
        """Add what a case of a check gave: numbers, or words."""
        self.rows.append({"check": check, "case": case, **quantities})

    def as_plain(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {"machine": self.machine, "results": self.rows}

    def lines(self) -> list[str]:
        """Return all of it as lines of aligned columns; a check and a case are named once."""
        facts = [f"{name:<{max(map(len, self.machine))}}  {fact}" for name, fact in self.machine.items()]
        cells, before = [COLUMNS], ("", "")
        for row in self.rows:
            check, case = row["check"], row["case"]
            for quantity in [name for name in row if name not in ("check", "case")]:
                shown = "" if check == before[0] else check, "" if (check, case) == before else case
                cells.append((*shown, quantity, show(row[quantity])))
                before = check, case
        widths = [max(len(row[column]) for row in cells) for column in range(3)]
        table = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in cells]
        return [*facts, "", *table]


def show(value: Any) -> str:
    """Return a number with four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_machine() -> dict[str, str]:
    """Name the GPU, its driver, CUDA, the versions of packages, and the cores that this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {"python": platform.python_version(), "cores": str(cores)}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts = {
            "GPU": f"{properties.name}, {properties.total_memory / 1e9:.1f} GB",
            "architecture": f"sm_{properties.major}{properties.minor}",
            "driver": ask_driver(),
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
            **facts,
        }
    return facts | {name: version_of(name) for name in PACKAGES}


def ask_driver() -> str:
    """Return the version of NVIDIA's driver."""
    if shutil.which("nvidia-smi") is None:
        return "unknown: there is no nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return said.stdout.strip().splitlines()[0] if said.stdout.strip() else f"unknown: {said.stderr.strip()}"


def version_of(package: str) -> str:
    """Return the version of a package, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
