"""The diffusion: a schedule of the closed form, and samplers that give what they should."""

from collections.abc import Callable

import pytest
import torch
from monai.networks.schedulers import DDPMScheduler

from connectomake.config.settings.synth import GenerateConfig
from connectomake.synth.diffusion import Diffusion

STD = 0.3
Y = torch.zeros(4, dtype=torch.long)


class Gaussian:
    """A denoiser that knows the answer: latents are normal, of a mean for each class, and of one standard deviation."""

    classes = 2

    def __init__(self, diffusion: Diffusion, means: tuple[float, ...] = (0.0, 0.4, 0.0)) -> None:
        self.alphas_cumprod, self.means, self.calls = diffusion.alphas_cumprod, torch.tensor(means), 0

    def __call__(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor, condition: object = None) -> torch.Tensor:
        self.calls += 1
        alpha_bar = self.alphas_cumprod[t][:, None, None, None, None]
        mean = self.means[y][:, None, None, None, None] * alpha_bar.sqrt()
        return ((1 - alpha_bar).sqrt() * (x - mean) / (1 - alpha_bar + alpha_bar * STD**2)).float()


@pytest.fixture(scope="module")
def diffusion() -> Diffusion:
    return Diffusion(1000)


@pytest.fixture(scope="module")
def draw(diffusion: Diffusion) -> Callable[..., torch.Tensor]:
    def sample(y: torch.Tensor = Y, first_seed: int = 0, clip: bool = False, **settings: object) -> torch.Tensor:
        own = [torch.Generator().manual_seed(first_seed + n) for n in range(len(y))]
        noise = torch.stack([torch.randn(2, 8, 8, 8, generator=g) for g in own])
        return diffusion.sample(Gaussian(diffusion), noise, y, None, GenerateConfig(**settings), clip, own)

    return sample


def test_the_schedule_is_the_closed_form(diffusion):
    places = (torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008
    closed = torch.cos(places * torch.pi / 2) ** 2
    torch.testing.assert_close(diffusion.alphas_cumprod[:-1], closed[1:-1] / closed[0], rtol=1e-9, atol=0)
    assert float(diffusion.alphas_cumprod[-1] / diffusion.alphas_cumprod[-2]) == pytest.approx(1e-4)
    assert float(diffusion.alphas_cumprod[-1]) ** 0.5 == pytest.approx(1.56e-5, rel=0.01)


def test_the_schedule_is_that_of_monai_but_for_its_end(diffusion):
    other = DDPMScheduler(1000, "cosine").alphas_cumprod.double()
    torch.testing.assert_close(diffusion.alphas_cumprod[:-1], other[:-1], rtol=0, atol=1e-6)


def test_noise_is_added_as_the_schedule_says(diffusion):
    x0, noise = torch.randn(2, 4, 1, 2, 2, 2)
    t = torch.tensor([0, 300, 600, 999])
    found = diffusion.add_noise(x0, t, noise)
    for n, step in enumerate(t.tolist()):
        alpha_bar = float(diffusion.alphas_cumprod[step])
        torch.testing.assert_close(found[n], alpha_bar**0.5 * x0[n] + (1 - alpha_bar) ** 0.5 * noise[n])


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.798), ("l2", 1.0)])
def test_a_network_that_says_nothing_has_the_loss_of_the_noise(diffusion, kind, expected):
    def silent(x: torch.Tensor, *given: object) -> torch.Tensor:
        return torch.zeros_like(x)

    own = torch.Generator().manual_seed(0)
    loss = diffusion.loss(silent, torch.zeros(4, 1, 16, 16, 16), Y, None, own, kind)
    assert float(loss) == pytest.approx(expected, abs=0.02)


def test_the_loss_is_a_function_of_the_generator(diffusion):
    model = Gaussian(diffusion)
    x0 = torch.zeros(4, 1, 2, 2, 2)
    losses = [diffusion.loss(model, x0, Y, None, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(("steps", "std"), [(10, 0.238), (20, 0.267), (50, 0.284), (100, 0.294)])
def test_ddim_narrows_a_gaussian_by_what_few_steps_cost(draw, steps, std):
    made = draw(torch.zeros(8, dtype=torch.long), steps=steps)
    assert float(made.std()) == pytest.approx(std, abs=0.004)
    assert float(made.mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("settings", [{"sampler": "ddpm"}, {"steps": 250, "eta": 1.0}, {"steps": 250, "eta": 0.5}])
def test_samplers_that_add_noise_give_the_gaussian_too(draw, settings):
    made = draw(**settings)
    assert float(made.std()) == pytest.approx(STD, abs=0.012)
    assert float(made.mean()) == pytest.approx(0, abs=0.02)


def test_ddpm_is_the_posterior_of_the_paper(diffusion):
    """One step of the sampler against mean and variance as Ho et al. 2020 write them."""
    t, x = 400, torch.randn(1, 1, 4, 4, 4)
    alpha_bar, before = float(diffusion.alphas_cumprod[t]), float(diffusion.alphas_cumprod[t - 1])
    beta = 1 - alpha_bar / before
    told = Gaussian(diffusion)(x, torch.tensor([t]), torch.zeros(1, dtype=torch.long))
    x0 = (x - (1 - alpha_bar) ** 0.5 * told) / alpha_bar**0.5
    mean = before**0.5 * beta / (1 - alpha_bar) * x0 + (1 - beta) ** 0.5 * (1 - before) / (1 - alpha_bar) * x
    own, same = (torch.Generator().manual_seed(5) for _ in range(2))
    found = diffusion.step(x, told, t, t - 1, 5.0, 1.0, [own])
    noise = torch.randn(1, 4, 4, 4, generator=same)
    torch.testing.assert_close(found, mean + (beta * (1 - before) / (1 - alpha_bar)) ** 0.5 * noise, atol=1e-5, rtol=0)


def test_a_step_goes_on_with_the_noise_that_fits_what_was_clipped(diffusion):
    x, told = 3 * torch.randn(2, 1, 1, 4, 4, 4)
    alpha_bar, after = float(diffusion.alphas_cumprod[500]), float(diffusion.alphas_cumprod[400])
    clipped = ((x - (1 - alpha_bar) ** 0.5 * told) / alpha_bar**0.5).clamp(-1, 1)
    noise = (x - alpha_bar**0.5 * clipped) / (1 - alpha_bar) ** 0.5
    found = diffusion.step(x, told, 500, 400, 1.0, 0.0, [])
    torch.testing.assert_close(found, after**0.5 * clipped + (1 - after) ** 0.5 * noise)
    last = diffusion.step(x, told, 500, -1, 1.0, 1.0, [])
    torch.testing.assert_close(last, clipped, atol=0, rtol=0)


@pytest.mark.parametrize("settings", [{"steps": 10}, {"steps": 10, "eta": 1.0}])
def test_a_seed_gives_the_same_latents_in_any_batch(draw, settings):
    together = draw(torch.tensor([0, 1, 0, 1]), **settings)
    for n, y in enumerate([0, 1, 0, 1]):
        torch.testing.assert_close(draw(torch.tensor([y]), n, **settings)[0], together[n], atol=1e-6, rtol=0)
    assert not torch.allclose(together[0], together[2])


def test_classes_have_their_means(draw):
    made = draw(torch.tensor([0, 1]), steps=100)
    assert [float(one.mean()) for one in made] == pytest.approx([0, 0.4], abs=0.02)


def test_clipped_latents_stay_in_range_and_wild_answers_do_no_harm(diffusion):
    class Wrong(Gaussian):
        def __call__(self, *given: torch.Tensor) -> torch.Tensor:
            return 1.1 * super().__call__(*given)

    own = [torch.Generator().manual_seed(n) for n in range(4)]
    noise = torch.randn(4, 2, 8, 8, 8, generator=own[0])
    sampled = {
        clip: diffusion.sample(Wrong(diffusion), noise, Y, None, GenerateConfig(steps=50), clip, own)
        for clip in (True, False)
    }
    assert sampled[True].abs().max() <= 1
    assert sampled[False].abs().max() <= 5


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_guidance_goes_further_towards_the_class_and_costs_nothing_when_off(diffusion, guidance):
    model = Gaussian(diffusion, means=(-0.2, 0.2, 0.0))
    y, own = torch.tensor([0, 1]), [torch.Generator().manual_seed(n) for n in range(2)]
    cfg = GenerateConfig(steps=100, guidance=guidance)
    made = diffusion.sample(model, torch.randn(2, 2, 8, 8, 8, generator=own[0]), y, None, cfg, False, own)
    assert model.calls == (100 if guidance == 1 else 200)
    assert [float(one.mean()) for one in made] == pytest.approx([-0.2 * guidance, 0.2 * guidance], abs=0.05)
