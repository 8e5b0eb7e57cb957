"""How long the job of a training may last, and how it begins again when that is over: both are asked of Slurm.

The `runtime` of a rule is only what was asked for at submission; Slurm knows when this attempt really ends, also after
a requeue, or where an administrator gave more. Elsewhere nobody sets a limit, or whoever does sends a signal.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
from dataclasses import dataclass
from time import time as now

log = logging.getLogger(__name__)

MARGIN_S = 120.0  # to end processes, and for clocks that differ
# How Snakemake's Slurm plugin begins the comments of the jobs of training rules.
OWN_JOBS = ("rule_train_", "rule_autoencoder_")


@dataclass(frozen=True)
class TimeLimit:
    """When a job ends.

    Parameters
    ----------
    end_s
        Seconds since 1970.
    margin_s
        So much earlier everything has to be done (s).
    job
        Slurm's number of the job where it does nothing but train, so that it may be queued again.
    """

    end_s: float = math.inf
    margin_s: float = 0.0
    job: str | None = None

    def leaves(self, seconds: float) -> bool:
        """Return whether something that takes so many seconds can still be begun."""
        return now() + seconds + self.margin_s < self.end_s

    def requeue(self) -> bool:
        """Have Slurm queue the job again, under its number: the workflow goes on following it, and spends no retry.

        Slurm then ends all processes of the job. Returns False where it is not to be, or cannot be, queued again.
        """
        if self.job is None:
            return False
        if _tell("scontrol", "requeue", self.job) is None:
            log.warning("Slurm does not queue job %s again; that is left to the workflow's retries", self.job)
            return False
        log.info("Slurm queues job %s again", self.job)
        return True


def find_limit() -> TimeLimit:
    """Ask Slurm when this job ends; outside of Slurm there is no limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return TimeLimit()
    told = _tell("squeue", "--noheader", "--jobs", job, "--format", "%e %k", SLURM_TIME_FORMAT="%s") or ""
    end, _, comment = told.strip().partition(" ")
    end = end if end.isdecimal() else os.environ.get("SLURM_JOB_END_TIME", "")  # a container may lack squeue
    if not end.isdecimal():
        return TimeLimit()
    end_s = float(end)
    return TimeLimit(end_s, min(MARGIN_S, max(0.0, end_s - now()) / 10), job if comment.startswith(OWN_JOBS) else None)


def _tell(*command: str, **variables: str) -> str | None:
    """Return what a command of Slurm answers; None where it fails."""
    try:
        told = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("%s: %s", " ".join(command), error)
        return None
    return told.stdout
