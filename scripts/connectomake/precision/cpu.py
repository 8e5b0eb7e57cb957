"""What this CPU can compute with: not what it was sold with, but what oneDNN, which computes convolutions, uses of it.

oneDNN has paths of its own for each instruction set, and ``ONEDNN_MAX_CPU_ISA`` in the environment keeps it from the
newer ones. It names the set only in its verbose output, so a small process is asked once, and the answer is kept.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from connectomake.precision.cache import look_up

CPUINFO = Path("/proc/cpuinfo")
CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # the second is the older name
HAS_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last on ARM
UNKNOWN = "unknown"
PROBE_S = 120
PROBE = "import torch; torch.nn.Conv2d(8, 8, 3)(torch.zeros(2, 8, 64, 64))"  # a smaller one is not oneDNN's


@dataclass(frozen=True)
class Cpu:
    """What decides how a CPU computes.

    Parameters
    ----------
    model
        The name that it gives itself.
    flags
        Its instruction sets, as the system names them; empty where it does not tell.
    instructions
        The instruction set that oneDNN uses, in its words; `UNKNOWN` where nothing can follow from it.
    capability
        The instruction set of PyTorch's own kernels.
    """

    model: str
    flags: frozenset[str]
    instructions: str
    capability: str

    @property
    def has_bfloat16(self) -> bool:
        """Whether it multiplies bfloat16, and oneDNN may use that."""
        return "bfloat16" in self.instructions or "bf16" in self.flags

    @property
    def has_amx(self) -> bool:
        """Whether it multiplies whole tiles of bfloat16 (AMX), and oneDNN may use that."""
        return "bfloat16" in self.instructions.partition("AMX")[2]

    def __str__(self) -> str:
        return self.model if self.instructions == UNKNOWN else f"{self.model}, {self.instructions}"


def describe_cpu(cpuinfo: Path = CPUINFO, environ: Mapping[str, str] | None = None) -> Cpu:
    """Return what this CPU computes with.

    Takes two seconds the first time on a CPU that has instructions for bfloat16, and no time after that or on others.

    Parameters
    ----------
    cpuinfo
        The file in which Linux describes the CPU; it may be missing (macOS) or name nothing that is known.
    environ
        Environment variables, of which those of oneDNN count; by default those of this process.
    """
    environ = os.environ if environ is None else environ
    model, flags = read_cpuinfo(cpuinfo)
    capability = torch.backends.cpu.get_cpu_capability()
    if not flags & HAS_BFLOAT16:
        return Cpu(model, flags, UNKNOWN, capability)
    caps = {name: environ[name] for name in CAPS if name in environ}
    key = {"cpu": model, "flags": sorted(flags), "caps": caps, "torch": torch.__version__}
    answer = look_up("instructions", key, lambda: probe_instructions(environ))
    return Cpu(model, flags, answer or UNKNOWN, capability)


def read_cpuinfo(cpuinfo: Path = CPUINFO) -> tuple[str, frozenset[str]]:
    """Return the model and the flags of the first core; what the platform says, and no flags, where it is not told."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        text = ""
    lines = (line.partition(":") for line in text.splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines}
    parts = [found[name] for name in ("CPU implementer", "CPU part", "CPU variant") if name in found]
    model = found.get("model name") or " ".join(parts) or platform.processor() or platform.machine() or UNKNOWN
    # Virtual machines hide the name behind that of a family: the numbers tell generations apart.
    numbers = [found[name] for name in ("cpu family", "model", "stepping") if name in found]
    model = f"{model} ({'.'.join(numbers)})" if numbers else model
    return model, frozenset(found.get("flags", found.get("Features", "")).split())


def probe_instructions(environ: Mapping[str, str]) -> str | None:
    """Ask oneDNN which instruction set it uses, in a process of its own; None where it does not say."""
    verbose = {"ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**environ, **verbose},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    said = re.search(r"info,cpu,isa:(.*)", done.stdout)
    return said[1].strip() if said else None
