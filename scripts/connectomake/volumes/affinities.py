"""What the channels of a store of affinities are."""

from __future__ import annotations

from collections.abc import Sequence


def nearest_channels(offsets_zyx_vx: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Find the channels of the nearest neighbours along z, y and x; the first three channels where one is missing.

    Parameters
    ----------
    offsets_zyx_vx
        The store's attribute of that name, one offset for each channel.

    >>> nearest_channels([[0, 0, 1], [0, 1, 0], [1, 0, 0], [9, 0, 0]])
    (2, 1, 0)
    """
    steps = [tuple(abs(int(o)) for o in offset) for offset in offsets_zyx_vx]
    wanted = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    if all(step in steps for step in wanted):
        return tuple(steps.index(step) for step in wanted)
    return tuple(range(min(3, len(steps))))
