"""Patches that hold each class equally often, however rare it is: a class is drawn first, then a place with some of it.

Where classes are is known by coarse cells, a quarter of a patch wide, which are counted once, before the first patch.
The idea is that of the class-weighted sampling in PyTorch Connectomics' scripts for the CellMap challenge.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.targets.combinations import PRESENT, Combinations
from connectomake.train.mixing import Mixture, draw
from connectomake.train.volumes import LabelledBox

log = logging.getLogger(__name__)

CELLS_PER_PATCH, SMALLEST_CELL_VX = 4, 8
SCANNED_VX = 128


@dataclass(frozen=True)
class ClassCells:
    """The cells that hold some of one class.

    Parameters
    ----------
    box, cell
        (M,) which box each cell is in, and its number in the grid of that box.
    reached
        (M,) float64: sums, up to each cell, of the class's voxels times the weight of the box.
    """

    box: np.ndarray
    cell: np.ndarray
    reached: np.ndarray


class ClassPlaces:
    """Draws a box, and a cell of it that a patch shall hold.

    A source is drawn first, by its share; then one of the classes that there are in its boxes, all equally likely; then
    a cell, by the number of that class's voxels in it times the weight of its box. From a source that holds none of the
    classes, a box is drawn as without classes, and no cell.

    Parameters
    ----------
    boxes
        What is trained on; labels are numbers of `combinations`. All of them are read, once.
    patch_zyx
        Shape of a patch: no cell is larger.
    mixture
        Of the boxes: which are of one source.
    """

    def __init__(self, boxes: Sequence[LabelledBox], patch_zyx: Triple, mixture: Mixture) -> None:
        self.mixture = mixture
        sides = [min(side, max(SMALLEST_CELL_VX, side // CELLS_PER_PATCH)) for side in patch_zyx]
        self.grids = [BlockGrid(box.shape_zyx, to_triple(sides)) for box in boxes]
        counted = [count_cells(box, grid) for box, grid in zip(boxes, self.grids, strict=True)]
        weights = [box.weight for box in boxes]
        self.classes = [_gather(counted, weights, members) for members in mixture.members]
        cells = sum(len(found.cell) for of_source in self.classes for found in of_source)
        log.info("classes are balanced: there is some in %d cells of %s voxels", cells, tuple(sides))

    def draw(self, rng: np.random.Generator) -> tuple[int, Box | None]:
        """Draw the index of a box and a cell in it, in its voxels; None where any place will do."""
        source = draw(rng, self.mixture.shares)
        if not self.classes[source]:
            return int(self.mixture.members[source][draw(rng, self.mixture.within[source])]), None
        found = self.classes[source][int(rng.integers(len(self.classes[source])))]
        at = int(np.searchsorted(found.reached, rng.random() * found.reached[-1], side="right"))
        chosen = int(found.box[at])
        return chosen, self.grids[chosen][int(found.cell[at])]


def count_cells(box: LabelledBox, grid: BlockGrid) -> list[tuple[np.ndarray, np.ndarray]]:
    """Count the voxels of each class in each cell of a box.

    Returns
    -------
    list of tuple of ndarray
        For each class the numbers of the cells that hold some of it, (M,) int64, and how many voxels, (M,) int64.
    """
    combinations = box.combinations
    if combinations is None:
        return []
    blocks = list(_count_blocks(box, grid, combinations))
    return [
        (np.concatenate([cells[c] for cells, _ in blocks]), np.concatenate([voxels[c] for _, voxels in blocks]))
        for c in range(len(combinations.classes))
    ]


def _count_blocks(
    box: LabelledBox, grid: BlockGrid, combinations: Combinations
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Give, for blocks of whole cells, the cells with some of each class, and how many voxels."""
    is_present = (combinations.states == PRESENT).astype(np.int64)
    sides = [side * max(1, SCANNED_VX // side) for side in grid.block_zyx]
    for block in BlockGrid(grid.shape_zyx, to_triple(sides)):
        shape = BlockGrid(block.shape_zyx, grid.block_zyx).counts_zyx
        counts = np.zeros((*shape, len(is_present)), np.int64)
        count_numbers(box.read_labels(block), combinations.lowest, np.array(grid.block_zyx), counts)
        of_class = counts @ is_present
        first = [a // side for a, side in zip(block.start_zyx, grid.block_zyx, strict=True)]
        places = [np.nonzero(of_class[..., c]) for c in range(of_class.shape[-1])]
        cells = [
            np.ravel_multi_index([p + f for p, f in zip(place, first, strict=True)], grid.counts_zyx)
            for place in places
        ]
        yield cells, [of_class[..., c][place] for c, place in enumerate(places)]


@njit(cache=True, nogil=True)
def count_numbers(labels: np.ndarray, lowest: int, cell_zyx: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` (cells along z, y, x; K) how often each number, from `lowest` on, is in each cell of `labels`."""
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            line = counts[z // cell_zyx[0], y // cell_zyx[1]]
            for cell in range(line.shape[0]):
                stop = min((cell + 1) * cell_zyx[2], labels.shape[2])
                for x in range(cell * cell_zyx[2], stop):
                    line[cell, labels[z, y, x] - lowest] += 1


def _gather(
    counted: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], weights: Sequence[float], members: np.ndarray
) -> list[ClassCells]:
    """Put the cells of some boxes together, class by class; classes that they do not hold are left out."""
    gathered = []
    for of_class in zip(*(counted[i] for i in members), strict=True):
        boxes = np.repeat(members, [len(cells) for cells, _ in of_class]).astype(np.int32)
        voxels = np.concatenate([count * weights[i] for i, (_, count) in zip(members, of_class, strict=True)])
        if boxes.size:
            gathered.append(ClassCells(boxes, np.concatenate([cells for cells, _ in of_class]), np.cumsum(voxels)))
    return gathered
