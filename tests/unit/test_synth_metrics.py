"""The numbers of a generator, each by itself, against slow twins and known cases."""

import numpy as np
import pytest
import torch

from connectomake.synth.metrics.distances import frechet_distance, median_distance, rbf_mmd
from connectomake.synth.metrics.diversity import choose_scales, draw_pairs, mean_likeness, measure_likeness
from connectomake.synth.metrics.histograms import histogram_distance, look_at
from connectomake.synth.metrics.memorisation import NearestLatents
from connectomake.synth.metrics.reconstruction import CodeUse, measure_seams, score_reconstruction


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # by MONAI, of SciPy's sqrtm
@pytest.mark.parametrize(("n", "m"), [(300, 200), (3, 5), (2, 2)])
def test_frechet_distance_is_that_of_monai_with_few_vectors_too(n, m):
    from monai.metrics import FIDMetric

    x, y = draw(0, n, 12), 1.5 * draw(1, m, 12) + 0.3
    wanted = float(FIDMetric()(torch.from_numpy(x), torch.from_numpy(y)))
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-5)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert np.isnan(frechet_distance(x, y[:1]))


def slow_mmd(x, y, bandwidth):
    def likeness(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    def within(s):
        return np.mean([likeness(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j])

    return within(x) + within(y) - 2 * np.mean([likeness(a, b) for a in x for b in y])


def test_mmd_is_that_of_its_definition():
    x, y = draw(2, 7, 5), draw(3, 4, 5) + 1
    bandwidth = median_distance(x)
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    assert bandwidth == pytest.approx(np.median(pairs))
    assert rbf_mmd(x, y, bandwidth) == pytest.approx(slow_mmd(x, y, bandwidth))
    assert np.isnan(rbf_mmd(x, y[:1], bandwidth))
    assert np.isnan(rbf_mmd(x, y, 0.0))


def test_mmd_of_many_vectors_is_summed_in_blocks(monkeypatch):
    x, y = draw(4, 50, 3), draw(5, 41, 3)
    whole = rbf_mmd(x, y, 1.7)
    monkeypatch.setattr("connectomake.synth.metrics.distances.BLOCK", 7)
    assert rbf_mmd(x, y, 1.7) == pytest.approx(whole, rel=1e-12)


def test_mmd_sees_a_shift_and_a_change_of_scale():
    x, same = draw(6, 500, 16), draw(7, 500, 16)
    bandwidth = median_distance(np.concatenate([x, same]))
    found = [rbf_mmd(x, other, bandwidth) for other in (same, same + 0.5, 2 * same)]
    assert abs(found[0]) < 0.002
    assert found[1] > 0.03
    assert found[2] > 0.1


def test_mmd_does_not_depend_on_how_many_vectors_there_are():
    few = [rbf_mmd(draw(2 * k, 4, 8), draw(2 * k + 1, 4, 8), 4.0) for k in range(400)]
    assert abs(np.mean(few)) < 4 * np.std(few) / 20
    assert np.std(few) > 0


def slow_seams(error, patch):
    near, far = [], []
    for place in np.ndindex(error.shape):
        touches = any(
            (p % side == 0 and p > 0) or (p % side == side - 1 and p + 1 < n)
            for p, side, n in zip(place, patch, error.shape, strict=True)
        )
        (near if touches else far).append(abs(error[place]))
    return np.mean(near) / np.mean(far)


@pytest.mark.parametrize(("shape", "patch"), [((12, 8, 8), (4, 4, 4)), ((5, 9, 10), (8, 4, 4)), ((8, 7, 6), (4, 7, 6))])
def test_seam_ratio_is_that_of_its_definition(shape, patch):
    error = draw(8, *shape)
    assert measure_seams(error, patch) == pytest.approx(slow_seams(error, patch))


def test_seam_ratio_tells_errors_at_borders_from_others():
    error = np.ones((16, 16, 16))
    assert measure_seams(error, (8, 8, 8)) == 1
    error[7:9] = 3
    assert measure_seams(-error, (8, 16, 16)) == 3
    assert np.isnan(measure_seams(error, (16, 16, 16)))
    assert np.isnan(measure_seams(np.zeros((16, 16, 16)), (8, 8, 8)))


def test_a_reconstruction_is_scored_in_the_range_of_its_original():
    real = torch.from_numpy(np.tanh(draw(9, 16, 16, 16))).float()
    scores = score_reconstruction(real.clamp(-0.9, 0.9), real, (8, 8, 8))
    error = float(((real.clamp(-0.9, 0.9) - real) ** 2).mean())
    assert scores.psnr_db == pytest.approx(10 * np.log10(4 / error), rel=1e-5)
    assert 0.9 < scores.ssim < 1
    perfect = score_reconstruction(torch.where(real > 0.99, 7.0, real), torch.where(real > 0.99, 1.0, real), (8, 8, 8))
    assert (perfect.psnr_db, perfect.ssim) == (np.inf, pytest.approx(1))
    assert np.isfinite(score_reconstruction(0.9 * real[:2], real[:2], (1, 8, 8)).ssim)


def test_codes_are_counted_over_volumes():
    use = CodeUse(8)
    use.add(torch.tensor([[0, 0], [1, 1]]))
    use.add(torch.tensor([2, 2, 3, 3]))
    assert use.used == 0.5
    assert use.perplexity == pytest.approx(4)


def test_ms_ssim_is_one_of_equal_volumes_and_low_of_different_ones():
    x, y = (np.tanh(draw(seed, 24, 24, 24)).astype(np.float32) for seed in (10, 11))
    assert measure_likeness(x, x) == pytest.approx(1)
    assert measure_likeness(x, y) < 0.3
    assert np.isnan(measure_likeness(x[:4], y[:4]))


@pytest.mark.parametrize(
    ("side", "wanted"),
    [(4, (5, 0)), (5, (5, 1)), (9, (5, 1)), (10, (5, 2)), (20, (5, 3)), (175, (5, 3)), (176, (11, 5))],
)
def test_scales_of_ms_ssim_fit_the_volume(side, wanted):
    assert choose_scales((side, 500, 500)) == wanted


@pytest.mark.parametrize("side", [5, 9, 10, 20])
def test_ms_ssim_can_be_computed_from_the_smallest_volume_on(side):
    x, y = (np.tanh(draw(seed, side, 20, 20)).astype(np.float32) for seed in (12, 13))
    assert np.isfinite(measure_likeness(x, y))


def test_pairs_are_different_and_come_once():
    rng = np.random.default_rng(0)
    assert draw_pairs(3, 64, rng) == [(0, 1), (0, 2), (1, 2)]
    drawn = draw_pairs(40, 64, rng)
    assert len(set(drawn)) == len(drawn) == 64
    assert all(a < b < 40 for a, b in drawn)
    assert draw_pairs(40, 64, np.random.default_rng(1)) != drawn
    value, count = mean_likeness([lambda: np.zeros((8, 8, 8), np.float32)], 4, rng)
    assert np.isnan(value)
    assert count == 0


class Kept:
    def __init__(self, values):
        self.values, self.shape, self.reads = values, values.shape, 0

    def read(self):
        self.reads += 1
        return self.values


@pytest.mark.parametrize("block_mb", [0, 256])
def test_the_nearest_learnt_latents_are_those_of_a_search_of_all(block_mb):
    learnt = [Kept(draw(seed, 2, 3, 3, 3).astype(np.float32)) for seed in range(6)]
    learnt.append(Kept(draw(6, 2, 3, 3, 4).astype(np.float32)))
    others = [draw(seed, 2, 3, 3, 3).astype(np.float32) for seed in (20, 21)] + [learnt[3].values]
    nearest = NearestLatents(learnt, block_mb)
    for z in (*others, learnt[6].values + 0.5, np.zeros((2, 5, 5, 5), np.float32)):
        nearest.add(z)
    found = nearest.finish()
    wanted = [min(np.sqrt(((z - k.values) ** 2).mean()) for k in learnt[:6]) for z in others]
    assert found[:4] == pytest.approx([*wanted, 0.5], rel=1e-5)
    assert found[2] == 0
    assert np.isnan(found[4])
    assert learnt[0].reads == (1 if block_mb else 3)


def test_grey_values_are_measured_and_compared():
    image = np.zeros((4, 5, 6), np.float32)
    image[:] = np.linspace(-1, 1, 6)
    look = look_at(image)
    assert (look.mean, look.std) == (pytest.approx(0, abs=1e-7), pytest.approx(image.std()))
    assert look.gradient == pytest.approx(0.4)
    assert look.histogram.sum() == pytest.approx(1)
    assert look_at(image[:1]).gradient == pytest.approx(0.4)
    flat = [look_at(np.full((3, 3, 3), value, np.float32)) for value in (-0.5, 0.25)]
    assert histogram_distance(flat[:1], flat[1:]) == pytest.approx(0.75, abs=1 / 128)
    assert histogram_distance(flat, flat) == 0
    assert np.isnan(histogram_distance([], flat))
