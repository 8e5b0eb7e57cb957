"""Tell whether skeletons of a file lie in the frame of a volume: z, y, x in nm, from the volume's offset on.

A wrong unit, axis order or origin does not stop anything by itself: nodes outside a volume are left out, and voxel
indices taken for nm all lie in its first corner. So each usual mistake is tried in turn, and named where it fits.

What leads to what:

- no node within the volume: refused
- truth labels, and most nodes of each skeleton in a label of its own: accepted, whatever the boxes look like
- truth labels, and that is so only after one of the mistakes is undone: refused
- fewer than half of the nodes within, and nearly all after a mistake is undone: refused. A file for more than the
  volume is no such case: undoing a mistake does not bring its nodes inside
- all nodes in a small corner at the origin, and across the volume after a mistake is undone: a warning, since a few
  small neurites may lie there; refused where the corner is so small that it cannot be chance
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.errors import DataError
from connectomake.volumes.nodes import segment_at_nodes
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

FEW_INSIDE = 0.5  # share of nodes; below, another frame is looked for
NEARLY_ALL = 0.95  # share of nodes that the other frame must bring inside
SMALL_CORNER = 1 / 64  # share of the volume: a quarter along each axis
NO_CHANCE = 1e-6  # share of the volume: a hundredth along each axis
WIDE = 0.5  # share of an axis that nodes must span after a mistake is undone
AGREEMENT = 0.7  # share of nodes in a label that is their skeleton's own; at another place it is 0.1 to 0.5
MORE_AGREEMENT = 0.25
SKELETONS, NODES_EACH = 40, 25  # looked at in the labels
FEWEST_NODES = 5  # of a skeleton that can tell


@dataclass(frozen=True)
class Mistake:
    """A usual mistake: what it is, what to do about it, and how positions are brought into the volume's frame."""

    what: str
    hint: str
    undo: Callable[[np.ndarray], np.ndarray]
    needs_labels: bool = False


def check_frame(
    skeletons: Skeletons,
    shape_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
    *,
    labels: Volume | None = None,
    source: str = "the skeletons",
    volume: str = "the volume",
) -> None:
    """Reject skeletons that are in another unit, axis order or place than a volume; warn where that is only likely.

    Parameters
    ----------
    skeletons
        All of the file, before nodes outside are left out.
    shape_zyx, voxel_size_zyx_nm, offset_zyx_nm
        Of the volume.
    labels
        Its truth labels, where there are any: they decide what boxes alone cannot.
    source, volume
        Names for the messages.

    Raises
    ------
    DataError
        With what is wrong and what to do, as far as it can be told. The module says what leads to what.
    """
    frame = _Frame(np.array(shape_zyx), np.array(voxel_size_zyx_nm, float), np.array(offset_zyx_nm, float))
    position = skeletons.node_pos_nm
    if not len(position):
        raise DataError(f"{source} holds no node", hint="give another file, or leave out skeletons")
    n_inside = int(frame.inside(position).sum())
    log.info("%s: %d of %d nodes lie within %s", source, n_inside, len(position), volume)
    complaint = _Complaint(source, volume, frame, position)
    mistakes = frame.mistakes()
    best, best_share = _best(frame, position, mistakes)
    fit = f"so read, {best_share:.0%} of the nodes lie within the volume"
    if n_inside == 0:
        problem = f"none of the {len(position)} nodes lies within the volume"
        raise complaint.about(problem, best if best_share >= FEW_INSIDE else None, fit)
    share, corner = n_inside / len(position), frame.corner(position)
    cornered = share >= NEARLY_ALL and corner < SMALL_CORNER and frame.span(best.undo(position)) >= WIDE
    if labels is not None and _ask_labels(skeletons, complaint, mistakes, labels, doubtful=cornered):
        return
    if share < FEW_INSIDE and best_share >= NEARLY_ALL:
        raise complaint.about(f"only {share:.1%} of the nodes lie within the volume", best, fit)
    if cornered:
        problem = f"all nodes lie in a corner of {corner:.2g} of the volume"
        if corner < NO_CHANCE:
            raise complaint.about(problem, best, fit)
        log.warning("%s; the positions may be %s: if so, %s", complaint.about(problem), best.what, best.hint)


@dataclass(frozen=True)
class _Complaint:
    """What every message names: the file and its nodes, the volume and its box."""

    source: str
    volume: str
    frame: _Frame
    position: np.ndarray

    def about(self, problem: str, mistake: Mistake | None = None, fit: str = "") -> DataError:
        hint = "check the unit, axis order and origin of the skeletons and the offset of the volume"
        if mistake is not None:
            hint = f"the positions seem to be {mistake.what}: {fit}; {mistake.hint}"
        return DataError(
            f"{self.source}: {problem}",
            expected=f"nodes within {self.volume}, from {_say(self.frame.low)} to {_say(self.frame.high)} nm (z, y, x)",
            got=f"nodes from {_say(self.position.min(axis=0))} to {_say(self.position.max(axis=0))}",
            hint=hint,
        )


@dataclass(frozen=True)
class _Frame:
    """A volume's box."""

    shape: np.ndarray
    size: np.ndarray
    offset: np.ndarray

    @property
    def low(self) -> np.ndarray:
        return self.offset - self.size / 2

    @property
    def high(self) -> np.ndarray:
        return self.low + self.shape * self.size

    def inside(self, position: np.ndarray) -> np.ndarray:
        return np.all((position >= self.low) & (position < self.high), axis=1)

    def corner(self, position: np.ndarray) -> float:
        """Return the share of the volume that the box from its origin to the last node has."""
        reach = np.clip((position.max(axis=0) - self.low) / (self.high - self.low), 0, 1)
        return float(reach.prod())

    def span(self, position: np.ndarray) -> float:
        """Return the share of an axis that nodes span, on the axis where it is most."""
        return float((np.ptp(position, axis=0) / (self.high - self.low)).max())

    def mistakes(self) -> list[Mistake]:
        """List the usual mistakes, likelier ones first."""
        size, offset = self.size, self.offset
        scale = f"multiply them by the voxel size {_say(size)}"
        if offset.any():
            scale += f", add the offset {_say(offset)}"
        swc = f" (SWC: swc_unit_nm: {size[0]:g})" if np.ptp(size) == 0 and not offset.any() else ""
        turn = "turn the axes round"
        found = [
            Mistake("voxel indices, not nm", scale + swc, lambda p: p * size + offset),
            Mistake("in micrometres, not nm", "multiply them by 1000 (SWC: swc_unit_nm: 1000)", lambda p: p * 1000),
            Mistake("x, y, z, not z, y, x", turn, lambda p: p[:, ::-1]),
            Mistake("voxel indices x, y, z", f"{turn} and {scale}", lambda p: p[:, ::-1] * size + offset),
        ]
        if offset.any():
            found += [
                Mistake("counted from the volume's first voxel", f"add {_say(offset)}", lambda p: p + offset),
                Mistake("shifted by the offset twice", f"subtract {_say(offset)}", lambda p: p - offset),
                Mistake(
                    "voxel indices of the whole source, not nm", f"multiply them by {_say(size)}", lambda p: p * size
                ),
            ]
        return [
            *found,
            Mistake("in the voxel size of half this one", "multiply them by 2", lambda p: p * 2, needs_labels=True),
            Mistake("in the voxel size of twice this one", "divide them by 2", lambda p: p / 2, needs_labels=True),
        ]


def _best(frame: _Frame, position: np.ndarray, mistakes: Sequence[Mistake]) -> tuple[Mistake, float]:
    """Return mistake that, undone, brings most nodes inside; of several that bring nearly all, the widest spread."""

    def score(mistake: Mistake) -> tuple[float, float]:
        moved = mistake.undo(position)
        share = float(frame.inside(moved).mean())
        return min(share, NEARLY_ALL), frame.span(moved)

    best = max((mistake for mistake in mistakes if not mistake.needs_labels), key=score)
    return best, float(frame.inside(best.undo(position)).mean())


def _ask_labels(
    skeletons: Skeletons, complaint: _Complaint, mistakes: Sequence[Mistake], labels: Volume, *, doubtful: bool
) -> bool:
    """Return whether labels confirm the positions; raise DataError where they confirm a mistake instead.

    Where the positions are doubtful, they must also speak against every mistake.
    """
    nodes = _sample(skeletons)
    position, skeleton = skeletons.node_pos_nm[nodes], skeletons.node_skeleton_id[nodes]
    frame = complaint.frame
    agrees = _agreement(skeleton, position, frame, labels)
    if agrees is None or (agrees >= AGREEMENT and not doubtful):
        return agrees is not None
    after = [_agreement(skeleton, mistake.undo(position), frame, labels) or 0.0 for mistake in mistakes]
    most = max(after)
    if most >= max(AGREEMENT, agrees + MORE_AGREEMENT):
        problem = f"only {agrees:.0%} of the nodes lie in a label that is their skeleton's own"
        raise complaint.about(problem, mistakes[after.index(most)], f"so read, {most:.0%} do")
    return agrees >= AGREEMENT > most


def _sample(skeletons: Skeletons) -> np.ndarray:
    """Choose nodes: of the largest skeletons, some that are spread evenly over each."""
    ids, counts = np.unique(skeletons.node_skeleton_id, return_counts=True)
    largest = ids[np.argsort(-counts, kind="stable")[:SKELETONS]]
    of_each = (np.flatnonzero(skeletons.node_skeleton_id == name) for name in largest)
    chosen = [own[np.linspace(0, len(own) - 1, min(len(own), NODES_EACH)).astype(np.int64)] for own in of_each]
    return np.concatenate(chosen)


def _agreement(skeleton: np.ndarray, position: np.ndarray, frame: _Frame, labels: Volume) -> float | None:
    """Return the share of nodes in the label that is their skeleton's own; None where too few can tell.

    That is the label that most of its nodes lie in, unless another skeleton has more nodes there: shrunk into a corner,
    all skeletons lie in the labels of a few.
    """
    inside = frame.inside(position)
    names, nodes = np.unique(skeleton[inside], return_counts=True)
    names = names[nodes >= FEWEST_NODES]
    if not len(names):
        return None
    told = inside & np.isin(skeleton, names)
    label, _ = segment_at_nodes(labels, position[told])
    pairs, counts = np.unique(np.stack([skeleton[told], label.astype(np.int64)]), axis=1, return_counts=True)
    pairs, counts = pairs[:, pairs[1] > 0], counts[pairs[1] > 0]
    order = np.argsort(-counts, kind="stable")
    most_of = [set(order[np.unique(row[order], return_index=True)[1]].tolist()) for row in pairs]
    return float(counts[sorted(most_of[0] & most_of[1])].sum() / told.sum())


def _say(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
