"""Cancel the jobs that a killed run left in Slurm's queue, so that no two jobs write the same files.

Snakemake that is killed without warning (kill -9, a closed terminal, a login node that reboots) cannot cancel its jobs:
they go on, and the next run, which does not know of them, would start the same ones beside them. So the next run
cancels them first and waits until they are gone. Training and stages that work in blocks save what they have when they
are cancelled and go on from there, so this costs little more than the step at hand.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from connectomake.cluster.slurm import ask
from connectomake.errors import ConnectomakeError
from connectomake.lock import others_may_live

log = logging.getLogger(__name__)

# Snakemake names all jobs of a run by one random number, with a prefix if the profile has one.
RUN_NAME = re.compile(r"(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
POLL_S = 2
LONGEST_S = 600
"""How long cancelled jobs may take to end: on a node that does not answer they never do."""


def cancel_orphans(state: Path) -> list[str]:
    """Cancel the jobs of dead runs in this folder, and wait until none of them can write any more.

    Does nothing where there is no Slurm, or it does not answer. Where another run in the same folder lives, or may live
    on another machine, the jobs may be its own: they are left alone, and named in a warning.

    Parameters
    ----------
    state
        Snakemake's folder `.snakemake` in the working directory, without links in its path.

    Returns
    -------
    list of str
        The numbers of the jobs that were cancelled.

    Raises
    ------
    ConnectomakeError
        They do not end.
    """
    orphans = _jobs_of(state.parent)
    if not orphans:
        return []
    named = ", ".join(orphans)
    if others_may_live(state):
        log.warning(
            "Slurm's jobs %s belong to another run in this folder; if it was killed on another machine, "
            "cancel them (scancel %s) and remove %s/runs",
            named,
            " ".join(orphans),
            state,
        )
        return []
    log.warning("the run before was killed and left jobs behind: %s are cancelled, and waited for", named)
    ask("scancel", *orphans)
    left: list[str] | None = orphans
    deadline = time.monotonic() + LONGEST_S
    while left is None or set(left) & set(orphans):
        if time.monotonic() > deadline:
            hint = "see squeue and the nodes that they are on; nothing was submitted"
            raise ConnectomakeError(f"Slurm's jobs {named} were cancelled and do not end", hint=hint)
        time.sleep(POLL_S)
        left = _jobs_of(state.parent)
    return orphans


def _jobs_of(folder: Path) -> list[str] | None:
    """Return the user's jobs that Snakemake started in a folder, ended ones not among them; None if Slurm is silent."""
    told = ask("squeue", "--me", "--noheader", "--format=%i|%j|%Z")
    if told is None:
        return None
    jobs = (line.split("|", 2) for line in told.splitlines())
    return [number for number, name, where in jobs if RUN_NAME.fullmatch(name) and Path(where).resolve() == folder]
