"""Give back the lock of a Snakemake run that was killed, so that the same command simply goes on.

Snakemake leaves its lock behind when it is killed without warning, and refuses to start until a person says
`--unlock`. Every run of ours therefore signs in below `.snakemake/` with its host and process id before it locks,
and signs out when its process ends: a lock is given back where all who signed in are dead processes of this machine.
Runs on other machines, and runs that might live, keep theirs.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
from pathlib import Path

log = logging.getLogger(__name__)


def sign_in(state: Path) -> None:
    """Record that this process runs here, until it ends (`sign_out`).

    Parameters
    ----------
    state
        Snakemake's folder `.snakemake` in the working directory.
    """
    _book(state).mkdir(parents=True, exist_ok=True)
    (_book(state) / _name(os.getpid())).touch()
    atexit.register(sign_out, state)


def sign_out(state: Path) -> None:
    """Record that this process is done; see `sign_in`."""
    (_book(state) / _name(os.getpid())).unlink(missing_ok=True)


def free_dead_lock(state: Path) -> bool:
    """Remove the lock that killed runs left.

    Parameters
    ----------
    state
        Snakemake's folder `.snakemake` in the working directory.

    Returns
    -------
    bool
        True if there was a lock, and nobody who could still need it.
    """
    locks = sorted((state / "locks").glob("*"))  # before the entries: then who made one of these is among them
    entries = sorted(_book(state).glob("*"))
    if not entries or not locks or not all(_is_dead(entry.name) for entry in entries):
        return False
    log.info("the run before was killed; its lock is given back")
    for path in (*locks, *entries):
        path.unlink(missing_ok=True)
    return True


def others_may_live(state: Path) -> bool:
    """Return whether a run beside this process has signed in and is not known to be dead."""
    own = _name(os.getpid())
    return any(entry.name != own and not _is_dead(entry.name) for entry in _book(state).glob("*"))


def _book(state: Path) -> Path:
    return state / "runs"


def _name(process: int) -> str:
    return f"{socket.gethostname()}.{process}"


def _is_dead(name: str) -> bool:
    host, _, process = name.rpartition(".")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
