"""Whether the borders of blocks can be seen: differences across them, over those beside them.

Blocks are computed so that nothing depends on where they lie. A border that shows means that something does: a block of
another network, a file that was lost or exchanged, or a defect.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from connectomake.geometry import Box, to_triple
from connectomake.predict.check.finished import Finished, choose_some

BESIDE_VX = 3  # voxels looked at on either side: the difference across the face, and two beside it on each side
PATCH_VX = 128  # side of the part of a face that is looked at, around its middle
MOST_FACES = 200  # of one axis
CAP = 16  # steps of 255: a membrane differs by more than that from what is beside it, and would drown a faint seam
# Beyond these it is a seam; phantoms and the demo's network, without any, gave at most 1.02 over all and 1.19 at one.
SEAM, SEAM_OF_FACE = 1.25, 1.5
FEWEST_FACES = 4  # over which all of an axis is judged


@dataclass(frozen=True)
class Face:
    """The border between two blocks, by number, where it lies, and how much it shows over all channels."""

    blocks: tuple[int, int]
    at_vx: int
    ratio: float

    @property
    def is_seam(self) -> bool:
        """Whether that is more than chance."""
        return self.ratio > SEAM_OF_FACE


@dataclass(frozen=True)
class Seams:
    """The borders across one axis.

    Parameters
    ----------
    faces, looked_at
        How many there are, and how many of them were looked at.
    ratios
        (C,) float64: mean difference across the faces over the largest of those one and two voxels beside; about 1 or a
        little less where there is no seam.
    worst
        The face that shows most; None where none was looked at.
    """

    faces: int
    looked_at: int
    ratios: np.ndarray
    worst: Face | None

    @property
    def are_seams(self) -> bool:
        """Whether the faces as a whole show more than by chance."""
        return self.looked_at >= FEWEST_FACES and bool(self.ratios.max() > SEAM)


def measure_seams(prediction: Finished, skipped: set[int], most_faces: int = MOST_FACES) -> list[Seams]:
    """Compare the voxels on both sides of the borders of blocks, along z, y and x.

    A section that is brighter than all others, or lost, differs from both of its neighbours. It cannot be taken for a
    seam, since what differs across the face is compared with what differs most beside it.

    Parameters
    ----------
    prediction
        What to look at.
    skipped
        Blocks that are left out, since it is known that they are empty.
    most_faces
        Of each axis; reads 128 x 128 x 6 voxels of each.
    """
    neighbors = sorted(prediction.blocks.neighbors(), key=lambda pair: pair[2])
    by_axis = {axis: [(a, b) for a, b, _ in pairs] for axis, pairs in groupby(neighbors, key=lambda pair: pair[2])}
    return [_measure_axis(prediction, axis, by_axis.get(axis, []), skipped, most_faces) for axis in range(3)]


def _measure_axis(
    prediction: Finished, axis: int, pairs: list[tuple[int, int]], skipped: set[int], most_faces: int
) -> Seams:
    usable = [pair for pair in pairs if not skipped & set(pair)]
    faces, total = [], np.zeros((len(prediction.names), 2 * BESIDE_VX - 1))
    for number in choose_some(len(usable), most_faces):
        differences = _differences(prediction, axis, usable[number])
        if differences is not None:
            total += differences
            at = prediction.blocks[usable[number][1]].start_zyx[axis]
            faces.append(Face(usable[number], at, float(_stand_out(differences.mean(0)))))
    worst = max(faces, key=lambda face: face.ratio, default=None)
    return Seams(len(pairs), len(faces), _stand_out(total / max(1, len(faces))), worst)


def _differences(prediction: Finished, axis: int, pair: tuple[int, int]) -> np.ndarray | None:
    """Return the mean difference of neighbouring planes around a face, (C, 5), in steps of 255, none above `CAP`.

    The middle one is across the face.

    Returns None where a block is too thin, or nothing there was wanted.
    """
    below, above = (prediction.blocks[block] for block in pair)
    if min(below.shape_zyx[axis], above.shape_zyx[axis]) < BESIDE_VX:
        return None
    start, stop = list(above.start_zyx), list(above.stop_zyx)
    for a in range(3):
        cut = max(0, (stop[a] - start[a] - PATCH_VX) // 2)
        start[a], stop[a] = start[a] + cut, stop[a] - cut
    at = above.start_zyx[axis]
    start[axis], stop[axis] = at - BESIDE_VX, at + BESIDE_VX
    box = Box(to_triple(start), to_triple(stop))
    values, wanted = prediction.volume.read(box).astype(np.float32), prediction.wanted(box)
    values /= _steps_of_255(prediction)[:, None, None, None]
    steps = np.moveaxis(np.abs(np.diff(values, axis=axis + 1)).clip(max=CAP), axis + 1, 1)
    if wanted is None:
        return steps.mean((2, 3), dtype=np.float64)
    known = np.moveaxis(wanted, axis, 0)
    both = known[1:] & known[:-1]
    if not both.any((1, 2)).all():
        return None
    return np.where(both, steps, 0).sum((2, 3), dtype=np.float64) / both.sum((1, 2))


def _stand_out(differences: np.ndarray) -> np.ndarray:
    """Return the difference across the face over the largest beside it; what is below half a step of 255 is none."""
    beside = np.delete(differences, BESIDE_VX - 1, axis=-1).max(-1)
    return (differences[..., BESIDE_VX - 1] + 0.5) / (beside + 0.5)


def _steps_of_255(prediction: Finished) -> np.ndarray:
    """Return what one step of 255 over each channel's range is in stored values, (C,)."""
    if prediction.is_bytes:
        return np.ones(len(prediction.names), np.float32)
    ranges = [prediction.value_range(c) or (0.0, 1.0) for c in range(len(prediction.names))]
    return np.array([(high - low) / 255 for low, high in ranges], np.float32)
