"""What the channels of a store of predictions are, for whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence

from connectomake.config.channels import NEAREST


def nearest_channels(offsets_zyx_vx: Sequence[Sequence[int] | None]) -> tuple[int, ...]:
    """Find the channels of the nearest neighbours along z, y and x; the first three channels where one is missing.

    Parameters
    ----------
    offsets_zyx_vx
        The store's attribute of that name, one offset for each channel; None for one that is no affinity.

    >>> nearest_channels([[0, 0, 1], [0, 1, 0], [1, 0, 0], [9, 0, 0]])
    (2, 1, 0)
    """
    steps = [None if offset is None else tuple(abs(int(o)) for o in offset) for offset in offsets_zyx_vx]
    if all(step in steps for step in NEAREST):
        return tuple(steps.index(step) for step in NEAREST)
    return tuple(range(min(3, len(steps))))


def name_shown(names: Sequence[str], offsets_zyx_vx: Sequence[Sequence[int] | None]) -> str:
    """Say what `nearest_channels` are: affinities, or else their names.

    >>> name_shown(["binary", "contour"], [None, None])
    'binary, contour'
    """
    shown = nearest_channels(offsets_zyx_vx)
    if all(offsets_zyx_vx[channel] is not None for channel in shown):
        return "affinities"
    return ", ".join(names[channel] for channel in shown)
