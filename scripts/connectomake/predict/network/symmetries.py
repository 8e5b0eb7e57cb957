"""Test-time augmentation: a window is predicted in several orientations, and the predictions are merged.

The turned window is an image like any other, and what the network says of it is turned back, as in MONAI's
`TestTimeAugmentation` (Wang et al. 2019); `turned_channels` says what that is for each channel. Lee et al. 2017 average
affinities over 16 orientations. That affinities are moved by the whole offset and counted where they are known is from
PyTorch Connectomics (`tta_affinity`), which stops where the network lacks a turned offset; here it is enough that there
is something to merge.

Predictions are merged one after the other, in place, in float32: besides the sum only one is in memory. All is done
voxel by voxel, so that neither threads nor the batch change a bit. With six affinities it takes 4 to 13 ns per voxel
and orientation on one CPU core, some 0.2 % of the time of a BasicUNet or MedNeXt-S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from math import sqrt

import torch

from connectomake.channels import Channel
from connectomake.config.settings.predict import TtaConfig
from connectomake.errors import ConfigError
from connectomake.geometry import to_triple
from connectomake.predict.network.turned_channels import (
    AXES,
    Source,
    Symmetry,
    find_sources,
    has_sign,
    negate,
    slice_overlap,
    stand_at_source,
)

log = logging.getLogger(__name__)

SAME_SIZE = 1.01
"""Voxels whose sides differ by a smaller factor count as isotropic, as in training (`augment.orientation`)."""
SIMILAR_SIZE = sqrt(2)
"""Beyond this factor, axes are not exchanged."""


def list_symmetries(cfg: TtaConfig, window_zyx: Sequence[int]) -> tuple[Symmetry, ...]:
    """List the orientations in which a window is predicted: all that flips, turns and exchanges lead to.

    Parameters
    ----------
    cfg
        What is allowed.
    window_zyx
        The window's sides in voxels.

    Returns
    -------
    tuple of Symmetry
        1 to 48, each once; the identity is the first, and the order does not depend on that of the settings.

    Raises
    ------
    ConfigError
        Axes are exchanged along which the window has different sides.
    """
    for key, plane in _list_exchanges(cfg):
        a, b = (window_zyx[AXES.index(axis)] for axis in plane)
        if a != b:
            raise ConfigError(
                f"predict.tta.{key} exchanges {plane[0]} and {plane[1]}, along which the window has different sides",
                expected="equal sides",
                got=f"{a} and {b} voxels",
                hint=f"take {plane} out of it, or set predict.window_zyx_vx",
            )
    generators = _list_generators(cfg)
    found, fresh = {Symmetry()}, {Symmetry()}
    while fresh:
        fresh = {generator.after(symmetry) for symmetry in fresh for generator in generators} - found
        found |= fresh
    return tuple(sorted(found))


def check_symmetries(
    cfg: TtaConfig,
    window_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    channels: Sequence[Channel] = (),
) -> None:
    """Reject orientations in which a window would look like nothing that the network knows; warn of doubtful ones.

    Parameters
    ----------
    cfg
        What is allowed.
    window_zyx
        The window's sides in voxels.
    voxel_size_zyx_nm
        Of the voxels that the network sees, in nm. Exchanged axes may differ by 1 %; up to a factor of sqrt(2) there is
        a warning.
    channels
        All that the network gives: a warning names those about which it says nothing in some orientations.

    Raises
    ------
    ConfigError
        Axes are exchanged along which the window has different sides, or voxels clearly different sizes.
    """
    symmetries = list_symmetries(cfg, window_zyx)
    for key, plane in _list_exchanges(cfg):
        sizes = [voxel_size_zyx_nm[AXES.index(axis)] for axis in plane]
        factor = max(sizes) / min(sizes)
        what = f"predict.tta.{key} exchanges {plane[0]} and {plane[1]}, along which voxels differ in size"
        if factor > SIMILAR_SIZE:
            raise ConfigError(
                f"{what}: the network would see objects squeezed by a factor of {factor:.3g}",
                expected=f"at most {SIMILAR_SIZE:.3g}",
                got=f"{sizes[0]:g} and {sizes[1]:g} nm",
                hint=f"take {plane} out of it; mirroring (predict.tta.flip) is safe",
            )
        if factor > SAME_SIZE:
            log.warning("%s (%g and %g nm): such windows are not like those of the training", what, *sizes)
    counts = OverSymmetries(channels, symmetries, cfg.merge).counts
    for channel, count in zip(channels, counts, strict=True):
        if count < len(symmetries):
            log.warning(
                "predict.tta: in %d of %d orientations the network says nothing about %r: it has no channel that this "
                "becomes when it is turned",
                len(symmetries) - count,
                len(symmetries),
                channel.name,
            )


class OverSymmetries:
    """Predictions of a window in several orientations, merged.

    Parameters
    ----------
    channels
        What the network gives, after activation. A component of a vector or matrix changes its sign by v -> -v, and by
        v -> 1 - v where it lies between 0 and 1 (sigmoid). Local shape descriptors are 0 in the background instead of
        0.5: there, and only there, mirroring does not give the same.
    symmetries
        The orientations, as `list_symmetries` gives them: the identity first.
    merge
        Of the predictions that a voxel or an edge has: ``mean``, ``min`` or ``max``. There is always that of the
        window as it is. Components that may change their sign are averaged in any case: of two opposite predictions,
        the smaller one would be the larger one in the mirror.
    kept
        The channels that come out, as places in `channels`, in this order; all by default.
    edge_convention
        Where the edge p -> p + offset stands: at p (``source``) or at p + offset (``destination``).

    Attributes
    ----------
    needed : tuple of int
        The channels that `evaluate` has to give, as places in `channels`, in this order: those kept, then others that
        become one of them when they are turned back.
    counts : tuple of int
        For each channel kept, in how many orientations the network says something about it.

    Raises
    ------
    ConfigError
        Two channels mean the same, so that none can be told to take the other's place.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        symmetries: Sequence[Symmetry],
        merge: str,
        kept: Sequence[int] | None = None,
        edge_convention: str = "source",
    ) -> None:
        channels = [stand_at_source(channel, edge_convention) for channel in channels]
        self._kept = tuple(range(len(channels)) if kept is None else kept)
        turned = [(symmetry, find_sources(channels, symmetry, self._kept)) for symmetry in symmetries[1:]]
        turned = [(symmetry, sources) for symmetry, sources in turned if any(sources)]
        used = {source.channel for _, sources in turned for source in sources if source}
        self.needed = (*self._kept, *sorted(used - set(self._kept)))
        self.counts = tuple(1 + sum(sources[k] is not None for _, sources in turned) for k in range(len(self._kept)))
        self._channels = [channels[c] for c in self._kept]
        self._merges = ["mean" if has_sign(channel) else merge for channel in self._channels]
        places = {channel: place for place, channel in enumerate(self.needed)}
        self._turned = [
            (symmetry, [source and source._replace(channel=places[source.channel]) for source in sources])
            for symmetry, sources in turned
        ]

    def __len__(self) -> int:
        """Count the evaluations of a window."""
        return 1 + len(self._turned)

    def __call__(self, windows: torch.Tensor, evaluate: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Predict windows in all orientations.

        Parameters
        ----------
        windows
            (N, C, Z, Y, X) of any type, raw.
        evaluate
            Takes windows, and gives (N, len(needed), Z, Y, X) float32: activated values of the channels needed. It may
            give the same memory every time, as a CUDA graph does.

        Returns
        -------
        Tensor
            (N, channels kept, Z, Y, X) float32.
        """
        merged = evaluate(windows)
        if not self._turned:
            return merged
        merged = merged[:, : len(self._kept)].clone(memory_format=torch.contiguous_format)
        for symmetry, sources in self._turned:
            self._add(merged, evaluate(symmetry.apply(windows)), symmetry, sources)
        self._divide(merged)
        return merged

    def _add(
        self, merged: torch.Tensor, values: torch.Tensor, symmetry: Symmetry, sources: Sequence[Source | None]
    ) -> None:
        """Merge in what a turned window holds."""
        for kept, source in enumerate(sources):
            if source is None:
                continue
            found = symmetry.undo(values[:, source.channel])
            if source.is_negated:
                found = negate(found, self._channels[kept])
            here, there = slice_overlap(source.shift_zyx)
            _merge_in(merged[:, kept][here], found[there], self._merges[kept])

    def _divide(self, merged: torch.Tensor) -> None:
        """Turn sums into means: all predictions that were shifted are known in the same part of the window."""
        for kept, merge in enumerate(self._merges):
            if merge != "mean":
                continue
            shifts = [s.shift_zyx for _, sources in self._turned if (s := sources[kept]) and any(s.shift_zyx)]
            count = merged.new_full(merged.shape[2:], self.counts[kept] - len(shifts))
            if shifts:
                count[slice_overlap(shifts[0])[0]] += len(shifts)
            merged[:, kept].div_(count)


def _merge_in(merged: torch.Tensor, found: torch.Tensor, merge: str) -> None:
    if merge == "mean":
        merged.add_(found)
    else:
        (torch.minimum if merge == "min" else torch.maximum)(merged, found, out=merged)


def _list_exchanges(cfg: TtaConfig) -> Iterator[tuple[str, str]]:
    """Return the settings that exchange two axes: the key, and the plane."""
    yield from (("rotate", plane) for plane in cfg.rotate)
    yield from (("permute", plane) for plane in cfg.permute)


def _list_generators(cfg: TtaConfig) -> list[Symmetry]:
    """Return the symmetries that the settings name: mirrors, quarter turns, and exchanges of two axes."""
    found = [_mirror(axis) for axis in cfg.flip]
    for key, plane in _list_exchanges(cfg):
        a, b = sorted(AXES.index(axis) for axis in plane)
        order = [0, 1, 2]
        order[a], order[b] = b, a
        exchange = Symmetry(to_triple(order))
        found.append(_mirror(AXES[b]).after(exchange) if key == "rotate" else exchange)
    return found


def _mirror(axis: str) -> Symmetry:
    return Symmetry(mirrored=(axis == "z", axis == "y", axis == "x"))
