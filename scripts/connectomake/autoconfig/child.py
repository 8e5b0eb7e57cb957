"""Trials in a process of their own, which is stopped before it takes more memory or time than it may."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectomake.errors import ConnectomakeError

LOOK_EVERY_S = 0.02
MEMORY, TIME = "memory", "time"


class Child:
    """A process that makes trials; started when it is needed, and again after it was stopped.

    Its memory is looked at fifty times a second: what a system fills meanwhile is far less than the margin.

    Parameters
    ----------
    settings
        What it is told at its start, as plain data; see `trial.Trainer`.
    threads
        Cores that it computes with.
    most_bytes
        It is stopped when it holds more memory than this.
    """

    def __init__(self, settings: Mapping[str, Any], threads: int, most_bytes: int) -> None:
        self.settings, self.threads, self.most_bytes = settings, threads, most_bytes
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def ask(self, request: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Make a trial.

        Parameters
        ----------
        request
            What to do.
        deadline
            Time, as `time.monotonic` gives it, at which it is stopped.

        Returns
        -------
        dict
            What came out; ``{"failed": "memory"}`` or ``{"failed": "time"}`` where it had to be stopped, or the memory
            did not suffice.

        Raises
        ------
        ConnectomakeError
            The training itself does not work.
        """
        if self.process is None:
            answer = self._start(deadline)
            if "failed" in answer:
                return answer
        return self._exchange(request, deadline)

    def start(self, deadline: float) -> dict[str, Any]:
        """Start the process, and give what it says about the devices and the network.

        Raises
        ------
        ConnectomakeError
            The training does not work, or the network alone takes more memory, or time, than there is.
        """
        answer = self._start(deadline)
        if "failed" in answer:
            raise ConnectomakeError(
                f"there is not enough {answer['failed']} to build the network",
                expected=f"{self.most_bytes / 1e9:.1f} GB to suffice",
                hint="take a machine with more memory; or give more time",
            )
        return answer

    def stop(self) -> None:
        """End the process; it holds nothing that must be kept."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self, deadline: float) -> dict[str, Any]:
        package, count = str(Path(__file__).parents[2]), str(self.threads)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "connectomake.autoconfig.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": count, "NUMBA_NUM_THREADS": count},
        )
        return self._exchange(self.settings, deadline)

    def _exchange(self, request: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Send a line, and wait for the answer while the process keeps within its limits."""
        process = self.process
        if process is None or process.stdin is None or process.stdout is None:
            raise ConnectomakeError("a trial was stopped and cannot be asked")
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._explain_end(process)
        while not select.select([process.stdout], [], [], LOOK_EVERY_S)[0]:
            reason = TIME if time.monotonic() > deadline else MEMORY if self._held_bytes() > self.most_bytes else None
            if reason:
                self.stop()
                return {"failed": reason}
        line = process.stdout.readline()
        if not line:
            return self._explain_end(process)
        answer = json.loads(line)
        if "error" in answer:
            raise ConnectomakeError(answer["error"])
        return answer

    def _explain_end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Return whether the system killed a process, as it does for want of memory, or it failed."""
        process.communicate()  # closes its pipes
        self.process = None
        if process.returncode == -signal.SIGKILL:
            return {"failed": MEMORY}
        raise ConnectomakeError(
            f"a trial of the training ended with code {process.returncode}", hint="its traceback is above"
        )

    def _held_bytes(self) -> int:
        """Return the memory that the process holds; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1] if self.process else "0"
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
