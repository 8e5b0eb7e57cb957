"""Boxes inside boxes, and which blocks touch a box or one another: against looking at all of them."""

import itertools

import pytest

from connectomake.geometry import BlockGrid, Box

GRIDS = [BlockGrid((5, 7, 4), (2, 3, 4)), BlockGrid((1, 1, 9), (1, 2, 2)), BlockGrid((3, 3, 3), (8, 8, 8))]


@pytest.mark.parametrize("grid", GRIDS)
def test_blocks_that_touch_a_box_are_those_that_share_voxels(grid):
    corners = [[(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in grid.shape_zyx]
    for spans in itertools.islice(itertools.product(*corners), 0, None, 7):
        box = Box([a for a, _ in spans], [b for _, b in spans])
        assert list(grid.touching(box)) == [i for i, block in enumerate(grid) if block.intersect(box).size]


@pytest.mark.parametrize("grid", GRIDS)
def test_neighbors_are_the_blocks_that_share_a_face(grid):
    found = set(grid.neighbors())
    for (i, a), (j, b) in itertools.combinations(enumerate(grid), 2):
        apart = [axis for axis in range(3) if a.start_zyx[axis] != b.start_zyx[axis]]
        touch = len(apart) == 1 and a.stop_zyx[apart[0]] == b.start_zyx[apart[0]]
        assert ((i, j, apart[0]) in found) is touch


def test_a_box_in_voxels_of_another():
    assert Box((4, 5, 6), (7, 8, 9)).within(Box((1, 5, 2), (9, 9, 9))) == Box((3, 0, 4), (6, 3, 7))
