"""Prove, once for each computer and network, that fewer bits give what float32 gives; nothing is used on trust."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from connectomake.models.device import DTYPES
from connectomake.precision.cache import look_up
from connectomake.precision.cpu import Cpu
from connectomake.precision.operations import Operation

log = logging.getLogger(__name__)

LONGEST_S = 3600.0
KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)  # by somebody else
UNFINISHED = "the check could not be finished"


def find_fault(cpu: Cpu, dtype: torch.dtype, operations: Sequence[Operation]) -> str:
    """Return what is wrong with operations in a type on this CPU; "" where all are proven right.

    The first time this takes about as long as a few steps of the network; the answer is kept (see `cache_folder`) for
    this CPU, instruction set of oneDNN and of PyTorch, number of threads, version of torch, and these operations with
    their shapes, padding and memory layouts.

    Parameters
    ----------
    cpu
        This CPU.
    dtype
        ``bfloat16`` or ``float16``.
    operations
        What the network computes.
    """
    name = next(name for name, known in DTYPES.items() if known == dtype)
    threads = torch.get_num_threads()
    key = {
        "cpu": cpu.model,
        "instructions": cpu.instructions,
        "capability": cpu.capability,
        "threads": threads,
        "torch": torch.__version__,
        "dtype": name,
        "operations": list(operations),
    }
    found = look_up("proof", key, lambda: replay(name, operations, threads))
    return UNFINISHED if found is None else found


def replay(dtype: str, operations: Sequence[Operation], threads: int) -> str | None:
    """Compute operations in a process of its own.

    Returns
    -------
    str or None
        What was wrong, which a crash is too; "" where nothing was; None where it could not be found out: the process
        could not be started, took too long, or was killed from outside, as happens where memory is short.
    """
    log.info("checking %s on this CPU, once: %d operations of the network", dtype, len(operations))
    started = time.monotonic()
    request = json.dumps({"dtype": dtype, "operations": list(operations), "threads": threads})
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "connectomake.precision.replay"],
            input=request,
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the check of %s could not be made: %s", dtype, error)
        return None
    log.debug("the check took %.1f s", time.monotonic() - started)
    if done.returncode in KILLED:
        return None
    if done.returncode:
        log.debug("the check said:\n%s", done.stderr)
        return f"the check {describe_end(done.returncode, done.stderr)}"
    return str(json.loads(done.stdout)["wrong"])


def describe_end(returncode: int, stderr: str) -> str:
    """Return how a process ended that should not have: by which signal, or with which last line."""
    if returncode < 0:
        try:
            return f"crashed ({signal.Signals(-returncode).name})"
        except ValueError:
            return f"crashed (signal {-returncode})"
    last = (stderr.strip().splitlines() or ["no message"])[-1]
    return f"ended with code {returncode} ({last[:200]})"
