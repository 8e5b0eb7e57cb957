"""What defects of sections, holes and copies do to grey values and labels, which stay, follow or become unknown."""

from itertools import product

import numpy as np
import pytest
from augment_patches import AFTER, BEFORE, SHAPE, config, make_patch, run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectomake.augment.boxes import lower_resolution
from connectomake.augment.displaced import ShiftSectionsConfig
from connectomake.augment.patch import Patch
from connectomake.augment.registry import augment
from connectomake.augment.sections import MissingSectionsConfig, line_kernel
from connectomake.config.settings.augment import AugmentConfig

ANY = {"axis": "any"}
MOVES = [
    ("shift_sections", {"share": 0.5, "distance_vx": 20, **ANY}),
    ("missing_sections", {"fill": "delete", "count": [1, 4], **ANY}),
    ("misalignment", {"distance_vx": 20, "rotate": 0, **ANY}),
    ("copy_paste", {"angles_deg": [0, 90, 180]}),
]


def link(patch):
    """Make the grey values of a patch its labels."""
    patch.raw = patch.labels[patch.box.slices][None].astype(np.float32)
    return patch


def linked_patch():
    """Return a patch whose grey values are its labels; in it, only object 60 is small."""
    patch = make_patch()
    large = (patch.labels >= 0) & (patch.labels != 60)
    patch.labels[large] = 1 + np.indices(patch.labels.shape)[2][large] // 10
    return link(patch)


@pytest.mark.parametrize(("name", "changes"), MOVES, ids=[name for name, _ in MOVES])
@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_image(name, changes, seed):
    """Where grey values are labels, they stay the same as those labels that are known."""
    make = linked_patch if name == "copy_paste" else lambda: link(make_patch())
    before, after = make(), run(config(name, **changes), seed, make())
    labels = after.labels[after.box.slices]
    known = labels != -1
    if name == "copy_paste":  # its id is new
        new = labels == 61
        assert (after.raw[0][new] == 60).all()
        known &= ~new
    assert (after.raw != before.raw).any()
    np.testing.assert_array_equal(after.raw[0][known], labels[known])


@pytest.mark.parametrize("name", ["misalignment", "copy_paste", "missing_sections", "shift_sections"])
def test_nothing_unknown_becomes_known_as_something_else(name):
    """Each known label is one that was there, or the one new id; unknown patches stay wholly unknown."""
    patch = make_patch()
    patch.labels[:] = -1
    changes = {"fill": "delete"} if name == "missing_sections" else {}
    assert (run(config(name, **changes), 1, patch).labels == -1).all()


@pytest.mark.parametrize("axis", ["z", "any"])
def test_missing_sections_are_whole_and_few(axis):
    cfg = AugmentConfig(missing_sections=MissingSectionsConfig(probability=1, share=0.2, axis=axis))
    axes, lost = set(), []
    for seed in range(60):
        gone = (run(cfg, seed).raw == 0).all(0)
        along = [gone.all(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        found = [a for a in range(3) if along[a].any()]
        assert len(found) == 1
        axes.add(found[0])
        lost.append(along[found[0]].mean())
        assert gone.sum() == along[found[0]].sum() * gone.size // len(along[found[0]])
    assert axes == ({0} if axis == "z" else {0, 1, 2})
    assert 0.15 < np.mean(lost) < 0.27


@pytest.mark.parametrize("fill", ["mean", "black", "random"])
@pytest.mark.parametrize("count", [(1, 1), (2, 4), (50, 50)])
def test_so_many_sections_are_filled(fill, count):
    numbers = set()
    for seed in range(40):
        after = run(config("missing_sections", fill=fill, count=count), seed).raw
        flat = [section for section in range(SHAPE[0]) if np.ptp(after[:, section]) == 0]
        numbers.add(len(flat))
        values = {float(after[0, section, 0, 0]) for section in flat}
        assert {"mean": values == {0}, "black": values == {-2}, "random": max(map(abs, values)) <= 2}[fill]
    assert numbers == set(range(min(count[0], SHAPE[0]), min(count[1], SHAPE[0]) + 1))


@pytest.mark.parametrize("count", [1, 3, 11])
def test_deleted_sections_move_those_after_them_up(count):
    """Sections before the first lost one stay; the rest come earlier, context too; what is missing is unknown."""
    before, after = make_patch(), run(config("missing_sections", fill="delete", count=[count, count]))
    kept = SHAPE[0] - count
    found = [int(np.argmax((before.raw == after.raw[:, [z]]).all((0, 2, 3)))) for z in range(SHAPE[0])]
    assert found[:kept] == sorted(set(found[:kept]))
    np.testing.assert_array_equal(found[kept:], np.pad(found[:kept], (0, count), mode="symmetric")[kept:])
    first = BEFORE[0]
    np.testing.assert_array_equal(after.labels[:first], before.labels[:first])
    np.testing.assert_array_equal(after.labels[first : first + kept], before.labels[[first + z for z in found[:kept]]])
    moved = before.labels[first + SHAPE[0] + count :]
    unknown = np.full((count, *moved.shape[1:]), -1)
    np.testing.assert_array_equal(after.labels[first + kept :], np.concatenate([unknown, moved, unknown[: AFTER[0]]]))


def test_labels_around_a_patch_follow_too():
    """Shift by hand: what was known around the patch moves into it, and what went round is unknown."""
    cfg = AugmentConfig(shift_sections=ShiftSectionsConfig(probability=1, share=1, distance_vx=3))
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 1000, np.add(np.add(BEFORE, SHAPE), AFTER))
    patch = Patch(rng.standard_normal((2, *SHAPE), np.float32), labels.copy(), BEFORE)
    before, after = labels, run(cfg, 0, patch).labels
    np.testing.assert_array_equal(after[0], before[0])  # before the patch: there is no image that moved
    for old, new in zip(before[1:13], after[1:13], strict=True):
        moves = [
            (dy, dx)
            for dy, dx in product(range(-3, 4), repeat=2)
            if ((new == np.roll(old, (dy, dx), (0, 1))) | (new == -1)).all()
        ]
        assert len(moves) == 1
        (dy, dx) = moves[0]
        rows, columns = (new == -1).all(1), (new == -1).all(0)
        assert rows.sum() == (0 if dy == 0 else 2 + dy if dy > 0 else -dy)
        assert columns.sum() == (0 if dx == 0 else dx if dx > 0 else 3 - dx)


def test_labels_may_stay():
    cfg = ShiftSectionsConfig(probability=1, share=1, labels="stay")
    np.testing.assert_array_equal(run(AugmentConfig(shift_sections=cfg)).labels, make_patch().labels)


@pytest.mark.parametrize("rotate", [0, 1])
@pytest.mark.parametrize("slip", [0, 1])
def test_misalignment_moves_one_section_or_all_from_one_on(slip, rotate):
    firsts = set()
    for seed in range(40):
        cfg = config("misalignment", slip=slip, rotate=rotate, distance_vx=6)
        changed = np.flatnonzero((run(cfg, seed).raw != make_patch().raw).any((0, 2, 3)))
        if changed.size:  # a displacement of 0, 0 changes nothing
            assert changed.tolist() == list(range(changed[0], changed[0] + 1 if slip else SHAPE[0]))
            firsts.add(int(changed[0]))
    assert len(firsts) > 5


def test_a_turn_is_that_of_scipy_and_leaves_known_what_was_seen():
    """All sections are turned; found again by its angle, which moves corners by no more than the distance."""
    shape, distance = (1, 40, 40), 6
    rng = np.random.default_rng(0)
    raw = ndimage.gaussian_filter(rng.standard_normal((1, *shape)).astype(np.float32), (0, 0, 3, 3)) * 10
    labels = np.kron(rng.integers(1, 90, (1, 6, 6)), np.ones((1, 8, 8), int))
    patch = Patch(raw.copy(), labels.copy(), (0, 3, 5))
    augment(patch, config("misalignment", rotate=1, slip=0, distance_vx=distance), np.random.default_rng(3))
    most = distance / (np.sqrt(2) * 20)
    angles = np.linspace(-most, most, 401)

    def turned(image, angle, middle, **how):
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return ndimage.affine_transform(image, matrix, middle - matrix @ middle, **how)

    middle = np.array([19.5, 19.5])
    distances = [abs(turned(raw[0, 0], a, middle, order=1, mode="reflect") - patch.raw[0, 0]).mean() for a in angles]
    angle = angles[int(np.argmin(distances))]
    assert min(distances) < 0.01
    assert abs(angle) > 0.01
    expected = turned(labels[0], angle, middle + np.array([3, 5]), order=0, mode="grid-constant", cval=-1)
    found = patch.labels[0]
    known = found != -1
    assert (found == expected)[known].mean() > 0.99
    assert 0 < (~known[3:43, 5:45]).mean() < 0.15


def test_missing_parts_are_rectangles_of_the_size_asked_for():
    for seed in range(30):
        before = make_patch().raw
        changed = (run(config("missing_parts", size=[0.3, 0.5], fill="black"), seed).raw == -2).all(0)
        z, y, x = (np.flatnonzero(changed.any(tuple(b for b in range(3) if b != a))) for a in range(3))
        assert changed.sum() == z.size * y.size * x.size > 0
        assert z.size == 1
        assert 0.3 * 14 - 0.5 <= y.size <= 0.5 * 14 + 0.5
        assert 0.3 * 16 - 0.5 <= x.size <= 0.5 * 16 + 0.5
        assert before.shape[1:] == changed.shape


@given(st.integers(2, 31), st.floats(0, np.pi))
def test_the_line_of_a_motion_blur_has_its_length_and_direction(length, angle):
    kernel = line_kernel(length, angle)
    half = kernel.shape[0] // 2
    rows, columns = np.indices(kernel.shape) - half
    assert kernel.sum() == pytest.approx(1)
    assert (kernel >= 0).all()
    np.testing.assert_allclose([(kernel * rows).sum(), (kernel * columns).sum()], 0, atol=1e-3)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    assert abs(across[kernel > 1e-6]).max() < 1.5
    assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, rel=0.35, abs=0.5)


def test_motion_blur_along_x_is_a_running_mean():
    np.testing.assert_allclose(line_kernel(5, 0.0)[2], [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8], atol=0.03)
    assert line_kernel(5, 0.0)[[0, 1, 3, 4]].max() < 1e-6


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_lower_resolution_keeps_flat_and_sloping_images(steps):
    """A mean of voxels, and lines between the means: a slope comes out as it went in, but at the borders."""
    shape = (20, 22, 24)
    np.testing.assert_allclose(lower_resolution(np.full(shape, 3.0, np.float32), steps), 3, rtol=1e-6)
    slope = np.indices(shape).sum(0).astype(np.float32)
    inner = tuple(slice(2 * step, -2 * step) for step in steps)
    # of an even number of voxels the mean lies between two of them: half a voxel beside the one that it is taken for
    away = sum(0.5 for step in steps if step % 2 == 0)
    assert abs(lower_resolution(slope, steps)[inner] - slope[inner]).max() <= away + 1e-4


def test_lower_resolution_takes_away_what_is_small():
    image = np.random.default_rng(0).standard_normal((8, 32, 32)).astype(np.float32)
    small = lower_resolution(image, (1, 4, 4))
    assert small.std() < 0.3
    assert abs(np.corrcoef(small.ravel(), ndimage.uniform_filter(image, (1, 4, 4)).ravel())[0, 1]) > 0.7


@pytest.mark.parametrize(("name", "axes"), [("cut_blur", "zyx"), ("cut_noise", None)])
def test_boxes_have_their_size(name, axes):
    changes = {"axes": axes} if axes else {}
    for seed in range(20):
        changed = (run(config(name, size=0.5, **changes), seed).raw != make_patch().raw).any(0)
        sides = [np.ptp(np.flatnonzero(changed.any(tuple(b for b in range(3) if b != a)))) + 1 for a in range(3)]
        assert sides == [6, 7, 8]


def test_a_copy_keeps_its_distance_its_size_and_its_grey_values():
    pasted = 0
    for seed in range(30):
        before = linked_patch()
        after = run(config("copy_paste", border_vx=2, angles_deg=[0, 90, 180, 270]), seed, linked_patch())
        labels = after.labels[after.box.slices]
        copy = labels == 61
        original = before.labels[before.box.slices] == 60
        pasted += copy.any()
        assert not (ndimage.maximum_filter(original, 5) & copy).any()
        assert original.sum() == (labels == 60).sum()
        grey = after.raw[0] == 60
        hidden = before.labels[before.box.slices] == -1
        assert (grey & ~original & ~hidden == copy).all()  # where labels were unknown they stay so
    assert pasted > 15


def test_objects_that_are_too_large_are_not_copied():
    patch = make_patch()
    patch.labels[:] = 7
    np.testing.assert_array_equal(run(config("copy_paste"), 1, patch).labels, 7)
