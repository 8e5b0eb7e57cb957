"""Which grey values become 0 and 1, and whether a volume's are such as the network was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from connectomake.errors import DataError
from connectomake.predict.network.members import Member
from connectomake.volumes.grey_values import GreyValues, check_contrast, sample_grey_values
from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)

FAR = 1.0  # spans of the trained range: values beyond it by more are refused
NARROW = 0.05  # of the trained range: a volume that spans less has next to no contrast for the network
FAR_SD = 3.0  # of the trained grey values: how far a volume's mean may lie from theirs


def find_normalisations(volume: Readable, members: Sequence[Member]) -> list[tuple[float, float]]:
    """Give, for each network, the mean and standard deviation that it sees a volume by.

    A bounded sample of the volume is read once; it is the one that training would normalise it by.

    Parameters
    ----------
    volume
        The working volume.
    members
        The networks: of each, the numbers of its training, or the volume's own where each is normalised by itself.

    Raises
    ------
    DataError
        A volume that is normalised by itself has grey values that are all equal, or not finite. Or, where it is not,
        they reach beyond those trained on by more than the whole range of these.
    """
    seen = sample_grey_values(volume)
    found = []
    for member in members:
        if member.meta.normalisation.get("each") == "each_volume":
            check_contrast(seen.mean, seen.std, volume.source)
            log.info("%s is normalised by itself: mean %g, sd %g", volume.source, seen.mean, seen.std)
            found.append((seen.mean, seen.std))
        else:
            check_range(volume, seen, member)
            found.append((member.meta.normalisation["mean"], member.meta.normalisation["std"]))
    return found


def check_range(volume: Readable, seen: GreyValues, member: Member) -> None:
    """Compare a volume's grey values with those trained on.

    Parameters
    ----------
    volume
        The working volume.
    seen
        What was sampled of it.
    member
        The network. Its checkpoint holds the range that it was trained on (see `GreyValues`); older ones only mean and
        standard deviation, and then there is no more than a warning.

    Raises
    ------
    DataError
        Values lie beyond the range by more than its width.
    """
    trained = member.meta.normalisation
    if trained.get("range"):
        _compare_ranges(volume, seen, member)
    elif abs(seen.mean - trained["mean"]) > FAR_SD * trained["std"]:
        log.warning(
            "the grey values of %s have mean %g, %.1f standard deviations from the %g that %s was trained on: are they "
            "in other units?",
            volume.source,
            seen.mean,
            abs(seen.mean - trained["mean"]) / trained["std"],
            trained["mean"],
            member.path,
        )


def _compare_ranges(volume: Readable, seen: GreyValues, member: Member) -> None:
    """Reject values far beyond the trained range; warn where they span next to nothing of it."""
    trained = member.meta.normalisation
    low, high = trained["range"]
    span = high - low
    if seen.high > high + FAR * span or seen.low < low - FAR * span:
        raise DataError(
            f"the grey values of {volume.source} lie far beyond those that {member.path} was trained on",
            expected=f"{low:g} to {high:g} ({trained['dtype']}), or up to {FAR:g} such ranges beyond",
            got=f"{seen.low:g} to {seen.high:g} ({volume.dtype.name})",
            hint="scale the volume as the training data were, or train with train.normalise: each_volume",
        )
    if seen.high - seen.low < NARROW * span:
        log.warning(
            "the grey values of %s go from %g to %g only, those that %s was trained on from %g to %g (%s): are they in "
            "other units?",
            volume.source,
            seen.low,
            seen.high,
            member.path,
            low,
            high,
            trained["dtype"],
        )
