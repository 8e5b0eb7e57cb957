"""Placement turns raw and labels together, in one resampling that is that of scipy and of MONAI."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from connectomake.augment.orientation import Orientation
from connectomake.augment.patch import Patch
from connectomake.augment.placement import Placement, draw_bending, draw_matrix, draw_placement
from connectomake.augment.resample import Bending, resample_labels, resample_raw
from connectomake.config.settings.augment import AffineConfig, AugmentConfig, ElasticConfig

SHAPE = (12, 14, 16)
VOXEL_NM = (30.0, 6.0, 6.0)
BEFORE, AFTER = (1, 0, 2), (3, 2, 0)
WILD = {"probability": 1, "rotate_deg": [180, 180, 180], "scale": 0.2, "shear": 0.5}


def some_matrix(seed):
    return draw_matrix(np.random.default_rng(seed), AffineConfig.model_validate(WILD))


def places(matrix, offset, shape, start=(0, 0, 0)):
    grid = np.indices(shape).reshape(3, -1) + np.array(start)[:, None]
    return matrix @ grid + np.asarray(offset)[:, None]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("channels", [1, 3])
def test_resampling_is_that_of_scipy(seed, channels):
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((channels, *SHAPE), np.float32)
    labels = rng.integers(-1, 90, SHAPE).astype(np.int32)
    matrix, offset, shape, start = some_matrix(seed), rng.uniform(-9, 9, 3), (9, 18, 11), (-2, 3, -4)
    at = places(matrix, offset, shape, start)
    found = resample_raw(raw, matrix, offset, shape, start)
    for channel, values in zip(raw, found, strict=True):
        expected = ndimage.map_coordinates(channel, at, order=1, mode="reflect").reshape(shape)
        np.testing.assert_allclose(values, expected, atol=1e-4)
    expected = ndimage.map_coordinates(labels, at, order=0, mode="grid-constant", cval=-1).reshape(shape)
    np.testing.assert_array_equal(resample_labels(labels, matrix, offset, shape, start), expected)
    assert found.dtype == np.float32
    assert resample_labels(labels, matrix, offset, shape).dtype == np.int32


def test_bending_is_that_of_scipy():
    rng = np.random.default_rng(0)
    raw, shape = rng.standard_normal((1, *SHAPE), np.float32), (10, 12, 13)
    moves, first, spacing = rng.normal(0, 2, (5, 4, 6, 3)), np.array([-1.0, 0, -2]), np.array([3.0, 4.0, 3.5])
    matrix, offset = some_matrix(3), np.array([2.0, 7.0, 5.0])
    grid = np.indices(shape).astype(float)
    on_grid = (grid - first[:, None, None, None]) / spacing[:, None, None, None]
    bent = grid + [ndimage.map_coordinates(moves[..., a], on_grid, order=1) for a in range(3)]
    at = np.tensordot(matrix, bent, 1) + offset[:, None, None, None]
    expected = ndimage.map_coordinates(raw[0], at, order=1, mode="reflect")
    found = resample_raw(raw, matrix, offset, shape, bending=Bending(moves, first, spacing))
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_matrices_are_those_of_monai():
    """The same numbers, drawn in the same order, give MONAI's affine matrix."""
    transforms = pytest.importorskip("monai.transforms.utils")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        angles = rng.uniform(-1, 1, 3) * np.pi
        shears, scales = rng.uniform(-0.5, 0.5, 6), rng.uniform(0.8, 1.2, 3)
        expected = transforms.create_rotate(3, angles) @ transforms.create_shear(3, shears)
        expected = expected @ transforms.create_scale(3, scales)
        np.testing.assert_allclose(some_matrix(seed), expected[:3, :3], atol=1e-12)


def test_a_placed_patch_is_that_of_monai():
    """MONAI's Affine, of a patch without margin: the same grey values, and its labels where it mirrors nothing."""
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("monai.transforms")
    rng = np.random.default_rng(0)
    raw, labels = rng.standard_normal((1, 14, 14, 14), np.float32), rng.integers(0, 9, (14, 14, 14))
    matrix = some_matrix(1)
    placement = Placement(Orientation(), (14, 14, 14), (0, 0, 0), (0, 0, 0), matrix)
    placed = placement.apply(Patch(raw, labels, (0, 0, 0)))
    whole = np.eye(4)
    whole[:3, :3] = matrix
    options = {"affine": whole, "image_only": True, "align_corners": False}
    turn = transforms.Affine(padding_mode="reflection", mode="bilinear", **options)
    np.testing.assert_allclose(placed.raw, turn(torch.as_tensor(raw)).numpy(), atol=1e-4)
    turn = transforms.Affine(padding_mode="border", mode="nearest", **options)
    known = placed.labels != -1
    assert 0.2 < known.mean() < 1
    expected = turn(torch.as_tensor(labels[None].astype(np.float32))).numpy()[0]
    assert (expected == placed.labels)[known].mean() > 0.999  # but where two voxels are equally near


def volume():
    """Return smooth grey values, and labels that are those values in steps."""
    rng = np.random.default_rng(0)
    raw = ndimage.gaussian_filter(rng.standard_normal((60, 70, 80)), 4).astype(np.float32)
    raw /= raw.std()
    return raw, np.rint(raw * 100).astype(int) + 1000


def cut(placement, start, raw, labels):
    """Read what a placement asks for, as the training does."""
    (before, after), (label_before, label_after) = placement.margin, placement.label_margin
    boxes = [
        tuple(slice(s - b, s + n + a) for s, b, n, a in zip(start, first, placement.patch_zyx, last, strict=True))
        for first, last in ((before, after), (label_before, label_after))
    ]
    offset = tuple(int(a) - int(b) for a, b in zip(label_before, before, strict=True))
    assert min(offset) >= 0
    return Patch(raw[boxes[0]][None].copy(), labels[boxes[1]].copy(), offset)


SETTINGS = {
    "none": {},
    "turned": {"flip": {}, "rotate": {}},
    "affine": {"affine": {**WILD, "shear": 0.1}},
    "elastic": {"elastic": {"probability": 1, "distance_nm": 20, "spacing_nm": 60}},
    "all": {"flip": {}, "rotate": {}, "affine": WILD, "elastic": {"probability": 1, "distance_nm": 10}},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("beyond", [0, 0.125, 1])
def test_raw_and_labels_are_those_of_the_volume_in_one_place(name, beyond):
    """Every known voxel of the result is where one map takes it, in a volume that goes on around the patch."""
    raw, labels = volume()
    cfg = AugmentConfig.model_validate({**SETTINGS[name], "read_beyond": beyond})
    shares = []
    for seed in range(6):
        placement = draw_placement(np.random.default_rng(seed), cfg, (10.0, 10.0, 10.0), (12, 12, 12), BEFORE, AFTER)
        source = cut(placement, (25, 30, 35), raw, labels)
        copies = source.raw.copy(), source.labels.copy()
        placed = placement.apply(source)
        np.testing.assert_array_equal(source.raw, copies[0])
        np.testing.assert_array_equal(source.labels, copies[1])
        assert placed.raw.shape == (1, 12, 12, 12)
        assert placed.labels.shape == tuple(b + 12 + a for b, a in zip(BEFORE, AFTER, strict=True))
        assert placed.before_zyx == BEFORE
        inner = placed.labels[placed.box.slices]
        known = inner != -1
        shares.append(known.mean())
        away = abs(placed.raw[0] * 100 + 1000 - inner)[known]
        assert away.mean() < 15  # from one voxel to the next, values differ by 18
        assert away.max() < 80
    if beyond == 1 or name in ("none", "turned"):
        assert min(shares) == 1
    elif name == "affine":
        assert np.mean(shares) > 0.5


def test_without_an_affine_nothing_is_copied():
    cfg = AugmentConfig.model_validate({"flip": {}, "rotate": {}, "affine": {"probability": 0}})
    raw, labels = volume()
    for seed in range(5):
        placement = draw_placement(np.random.default_rng(seed), cfg, (8.0, 8.0, 8.0), (12, 12, 12), BEFORE, AFTER)
        source = cut(placement, (25, 30, 35), raw, labels)
        placed = placement.apply(source)
        assert placement.margin == ((0, 0, 0), (0, 0, 0))
        assert np.shares_memory(placed.raw, source.raw)
        assert np.shares_memory(placed.labels, source.labels)


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("mirrored", [*product((False, True), repeat=3)])
def test_an_orientation_by_resampling_is_that_without(order, mirrored):
    rng = np.random.default_rng(0)
    orientation = Orientation(order, mirrored)
    views, resampled = (
        Placement(orientation, (6, 6, 6), BEFORE, AFTER, linear, most_zyx=(3, 3, 3)) for linear in (None, np.eye(3))
    )
    raw, labels = rng.standard_normal((20, 20, 20)).astype(np.float32), rng.integers(0, 99, (20, 20, 20))
    expected = views.apply(cut(views, (7, 7, 7), raw, labels))
    found = resampled.apply(cut(resampled, (7, 7, 7), raw, labels))
    np.testing.assert_allclose(found.raw, expected.raw, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("angle", [30, 90])
def test_angles_are_those_of_the_tissue(angle):
    """Turned about y in anisotropic voxels, a plane that was tilted in nm lies level: nothing is sheared."""
    middle = (np.array(SHAPE) - 1) / 2
    cfg = AugmentConfig.model_validate({"affine": {**WILD, "rotate_deg": [0, angle, 0], "scale": 0, "shear": 0}})
    for seed in range(5):
        linear = draw_placement(np.random.default_rng(seed), cfg, VOXEL_NM, SHAPE).linear
        in_nm = linear * np.array(VOXEL_NM)[:, None] / np.array(VOXEL_NM)
        np.testing.assert_allclose(in_nm @ in_nm.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(in_nm[1], [0, 1, 0], atol=1e-12)
        assert abs(np.rad2deg(np.arcsin(in_nm[0, 2]))) <= angle
        placement = Placement(Orientation(), SHAPE, (0, 0, 0), (0, 0, 0), linear)
        ones = Patch(
            np.indices(SHAPE, np.float32) - middle[:, None, None, None].astype(np.float32),
            np.zeros(SHAPE, int),
            (0, 0, 0),
        )
        at_middle = placement.apply(ones).raw[:, 5:7, 6:8, 7:9].mean((1, 2, 3))
        np.testing.assert_allclose(at_middle, 0, atol=0.05)


def test_amounts_keep_to_their_limits():
    rng = np.random.default_rng(0)
    cfg = AffineConfig(rotate_deg=(0, 0, 0), scale=0.3, shear=0)
    scales = np.array([np.diag(draw_matrix(rng, cfg)) for _ in range(300)])
    assert scales.min() > 0.7 - 1e-9
    assert scales.max() < 1.3 + 1e-9
    assert np.ptp(scales, 0).min() > 0.55
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.25
    turns = [draw_matrix(rng, AffineConfig(rotate_deg=(90, 0, 0), scale=0, shear=0)) for _ in range(300)]
    angles = np.rad2deg([np.arctan2(turn[2, 1], turn[1, 1]) for turn in turns])
    assert 85 < abs(angles).max() <= 90
    assert all(np.allclose(turn[0], [1, 0, 0]) for turn in turns)


@pytest.mark.parametrize("name", ["affine", "elastic"])
@pytest.mark.parametrize("probability", [0, 0.3, 1])
def test_probability_is_kept(name, probability):
    cfg = AugmentConfig.model_validate({name: {"probability": probability}})
    drawn = [draw_placement(np.random.default_rng(seed), cfg, VOXEL_NM, SHAPE) for seed in range(300)]
    changed = sum(placement.linear is not None for placement in drawn)
    assert abs(changed - 300 * probability) <= (0 if probability in (0, 1) else 4 * np.sqrt(300 * 0.21))


def test_same_generator_same_placement():
    cfg = AugmentConfig.model_validate(SETTINGS["all"])
    first, again, other = (draw_placement(np.random.default_rng(s), cfg, VOXEL_NM, SHAPE) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.linear, again.linear)
    np.testing.assert_array_equal(first.bending.moves, again.bending.moves)
    assert (first.linear != other.linear).any()


def test_bending_is_smooth_and_as_strong_as_asked_for():
    cfg = ElasticConfig(distance_nm=50, spacing_nm=300)
    bending = draw_bending(np.random.default_rng(0), cfg, VOXEL_NM, (40, 300, 300), (0, 5, 10), (0, 0, 10))
    in_nm = bending.moves * VOXEL_NM
    assert bending.first_zyx.tolist() == [0, -5, -10]
    np.testing.assert_allclose(in_nm.std((0, 1, 2)), 50 * 0.7, rtol=0.3)  # between the points the sd is lower
    for axis, (count, spacing) in enumerate(zip(in_nm.shape, bending.spacing_zyx, strict=False)):
        assert (count - 1) * spacing >= ((40, 305, 320)[axis]) - 1
        slope = np.diff(in_nm, axis=axis) / (spacing * VOXEL_NM[axis])
        assert slope.std() < 50 / 300 * 1.5
