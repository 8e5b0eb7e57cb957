"""Trials of single steps, and what they say about sizes that were not tried."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from connectomake.autoconfig.child import TIME, Child
from connectomake.autoconfig.search import bisect_largest
from connectomake.errors import ConfigError
from connectomake.geometry import Triple

log = logging.getLogger(__name__)

STEPS_OF_A_TRIAL = 3  # that take as long as the last: a slow first one and the one that counts
SMALL, MIDDLE = 1 / 64, 1 / 8  # of a full patch: where trials begin
SHARE_OF_TIME = 0.25  # of what is left, at most, for one size in all precisions
CLEARLY_FASTER = 0.95


@dataclass(frozen=True)
class Size:
    """How much the network sees at once."""

    patch_zyx: Triple
    batch: int = 1

    @property
    def voxels(self) -> int:
        """All voxels of the batch; time and memory grow with them."""
        return self.batch * prod(self.patch_zyx)

    def __str__(self) -> str:
        return f"{self.batch} x {' x '.join(map(str, self.patch_zyx))}"


@dataclass(frozen=True)
class Tried:
    """A trial: seconds of a step and the peak of memory, or why it `failed` ("memory", "time", "arithmetic")."""

    size: Size
    precision: str
    seconds: float = 0.0
    peak_bytes: int = 0
    failed: str = ""

    def __str__(self) -> str:
        short = {"memory": "does not fit", "time": "no time left to try", "arithmetic": "wrong numbers on this CPU"}
        result = short.get(self.failed) or f"{self.seconds:.3g} s a batch, {self.peak_bytes / 1e9:.2f} GB"
        return f"{self.size} in {self.precision}: {result}"


class Trials:
    """Makes trials, and judges by them.

    A GPU refuses what is too large without harm to anybody. On a CPU, nothing is tried that is expected to take more
    memory than there is: trials begin small, and time and memory grow along a line with the voxels of a batch.

    Parameters
    ----------
    child
        Where trials are made.
    base_bytes
        What it holds before the first.
    most_bytes
        What it may hold; None on a GPU.
    deadline
        Time, as `time.monotonic` gives it, at which trials end.
    """

    def __init__(self, child: Child, base_bytes: int, most_bytes: int | None, deadline: float) -> None:
        self.child, self.base_bytes, self.most_bytes, self.deadline = child, base_bytes, most_bytes, deadline
        self.precision = "float32"
        self.done: list[Tried] = []

    def make(self, size: Size, precision: str) -> Tried:
        """Make a trial, unless it was made before."""
        known = self.find(size, precision)
        if known is not None:
            return known
        found = Tried(size, precision, failed=TIME)
        if time.monotonic() < self.deadline:
            request = {"patch_zyx": size.patch_zyx, "batch": size.batch, "precision": precision}
            found = Tried(size, precision, **self.child.ask(request, self.deadline))
        self.done.append(found)
        log.info("%s", found)
        return found

    def find(self, size: Size, precision: str) -> Tried | None:
        """Return the trial of a size, where there was one."""
        return next((trial for trial in self.done if (trial.size, trial.precision) == (size, precision)), None)

    def expect(self, size: Size, precision: str) -> tuple[float, float]:
        """Return the expected seconds and bytes, by lines through the two largest trials that worked."""
        worked = [(0, 0.0, float(self.base_bytes))]
        worked += [
            (t.size.voxels, t.seconds, t.peak_bytes) for t in self.done if not t.failed and t.precision == precision
        ]
        if len(worked) == 1:
            return 0.0, 0.0
        (low, low_s, low_bytes), (high, high_s, high_bytes) = sorted(worked)[-2:]
        ahead = (size.voxels - high) / max(1, high - low)
        return high_s + ahead * max(0.0, high_s - low_s), high_bytes + ahead * max(0.0, high_bytes - low_bytes)

    def fits(self, size: Size) -> bool:
        """Return whether a batch fits: by trial, or on a CPU by expectation where there is no time for a trial."""
        if self.most_bytes is not None:
            seconds, held = self.expect(size, self.precision)
            if held > self.most_bytes:
                return False
            if STEPS_OF_A_TRIAL * seconds > self.deadline - time.monotonic():
                return True
        failed = self.make(size, self.precision).failed
        return not failed or (failed == TIME and self.most_bytes is not None)


def choose_precision(trials: Trials, patches: Sequence[Triple], possible: Sequence[str]) -> str:
    """Choose the arithmetic of the shortest steps, at the largest patch that there is time and memory for.

    Parameters
    ----------
    trials
        Makes the trials.
    patches
        Ascending; the last is the one wanted.
    possible
        Names, those with the larger range first. One is chosen before the next unless that one is clearly faster.

    Raises
    ------
    ConfigError
        Not even a small patch fits.
    """
    full = prod(patches[-1])
    best = ""
    for share in (SMALL, MIDDLE, 1.0):
        size = Size(next(patch for patch in patches if prod(patch) >= share * full))
        expected = [trials.expect(size, precision) for precision in possible]
        too_long = STEPS_OF_A_TRIAL * sum(seconds for seconds, _ in expected) > SHARE_OF_TIME * (
            trials.deadline - time.monotonic()
        )
        too_large = trials.most_bytes is not None and max(held for _, held in expected) > trials.most_bytes
        if best and (len(possible) == 1 or too_long or too_large):
            break
        found = [trial for trial in (trials.make(size, precision) for precision in possible) if not trial.failed]
        if not found:
            break
        fastest = found[0]
        for trial in found[1:]:
            fastest = trial if trial.seconds < CLEARLY_FASTER * fastest.seconds else fastest
        best = fastest.precision
    if not best:
        raise ConfigError(
            "the network does not fit, or is too slow, even with a small patch",
            got=", ".join(map(str, trials.done)),
            hint="take a smaller network, or a machine with more memory; or give more time",
        )
    return best


def choose_size(trials: Trials, patches: Sequence[Triple], wanted: Triple, batches: Sequence[int]) -> Size:
    """Choose the largest patch that fits, and then the largest batch.

    Parameters
    ----------
    trials
        Makes the trials, in its precision.
    patches
        Ascending.
    wanted
        The patch to take where it fits and no larger one is offered.
    batches
        Ascending, from 1.

    Raises
    ------
    ConfigError
        Not even the smallest patch fits.
    """
    patch = wanted
    if patches[-1] != wanted or not trials.fits(Size(wanted)):
        at = bisect_largest(patches, lambda patch: trials.fits(Size(patch)))
        if at < 0:
            raise ConfigError("not even the smallest patch fits", got=", ".join(map(str, trials.done)))
        patch = patches[at]
    at = bisect_largest(batches, lambda batch: trials.fits(Size(patch, batch)))
    return Size(patch, batches[max(0, at)])
