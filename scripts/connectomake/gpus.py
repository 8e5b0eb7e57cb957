"""GPUs of its own for each job of a workstation: Snakemake counts them, and does not say which one a job has.

A scheduler shows a job its GPUs only (CUDA_VISIBLE_DEVICES); on a workstation every job sees all and would take the
first. So a job locks as many as its rule asks for, and hides the others from itself. The system gives the locks back
when the job's process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import tempfile
import time
from pathlib import Path

log = logging.getLogger(__name__)

DEVICES = Path("/dev")
LOCKS = Path(tempfile.gettempdir())
POLL_S = 2.0


def take_gpus(count: int) -> None:
    """Reserve for this process so many GPUs that no other job of this user has, and wait for them where all are taken.

    Does nothing where there is nothing to choose: one GPU or none is seen, more are asked for than there are, or Slurm
    has chosen. To be called before CUDA starts, which looks only once.

    Parameters
    ----------
    count
        How many the job uses.
    """
    seen = _list_gpus()
    if "SLURM_JOB_ID" in os.environ or not 0 < count <= len(seen) or len(seen) == 1:
        return
    told = False
    while len(taken := _lock(seen, count)) < count:
        if not told:
            log.warning("other jobs have the GPUs %s; waiting for %d", ", ".join(seen), count)
            told = True
        time.sleep(POLL_S)
    log.info("GPU %s of %s", ", ".join(taken), ", ".join(seen))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)


def _list_gpus() -> list[str]:
    """Name the GPUs that CUDA would show: those it is told to, or the devices of NVIDIA's driver."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    devices = [path for path in DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return [str(number) for number in range(len(devices))]


def _lock(names: list[str], count: int) -> list[str]:
    """Lock so many of the GPUs until this process ends, or none where fewer are free; gives those locked."""
    taken: dict[str, int] = {}
    for name in names:
        file = os.open(
            LOCKS / f"connectomake-gpu-{os.getuid()}-{name.replace('/', '-')}", os.O_RDWR | os.O_CREAT, 0o600
        )
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            continue
        taken[name] = file
        if len(taken) == count:
            return list(taken)
    for file in taken.values():
        os.close(file)
    return []
