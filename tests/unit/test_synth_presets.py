"""The presets of the synth stage are what was published, and their networks have as many parameters."""

import json

import pytest

from connectomake.config.engine.compose import Presets
from connectomake.errors import ConfigError
from describe_model import main as describe_model

COMMON = {"quantise": 144, "discriminator": 2_772_321}
PARAMETERS = {
    "paper_8x": COMMON | {"encoder": 15_836_696, "decoder": 18_982_081, "denoiser": 157_654_880},
    "paper_4x": COMMON | {"encoder": 3_928_184, "decoder": 4_557_313, "denoiser": 157_773_824},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_networks_have_the_parameters_of_the_reference(name, capsys):
    describe_model(preset=f"synth/{name}", json=True)
    assert json.loads(capsys.readouterr().out) == PARAMETERS[name]


def test_they_are_also_told_as_text_and_for_other_classes(capsys):
    describe_model(preset="synth/paper_8x", classes=8)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["denoiser", f"{157_654_880 + 288:,}"]


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match=r"no config/synth/paper_9x\.yaml"):
        describe_model(preset="synth/paper_9x")


@pytest.mark.parametrize(
    ("name", "stage1", "stage2", "denoiser"),
    [
        ("paper_8x", (24, "float32", 20_000), (3e-5, (192,) * 3), (1, (48, 64, 58, 42, 20, 4))),
        ("paper_4x", (16, "bfloat16", 12_000), (3e-4, (128, 256, 256)), (2, (26, 22, 18, 10, 4, 1))),
    ],
)
def test_the_presets_hold_the_values_of_the_paper(project, name, stage1, stage2, denoiser):
    cfg = Presets(project).get("synth", name, "the test").settings
    own, first, second = cfg.autoencoder, cfg.stage1, cfg.stage2
    assert (own.codes, own.embedding, own.hidden, own.groups, own.patch_zyx_vx) == (8192, 8, 48, 24, (64, 64, 64))
    assert (own.commitment, own.code_decay, own.restart_below) == (0.25, 0.99, 1)
    weights = cfg.weights
    assert (weights.l1, weights.perceptual, weights.commitment, weights.adversarial, weights.features) == (
        4,
        2,
        1,
        2,
        4,
    )
    assert (first.batch, first.precision, first.adversary_from_step) == stage1
    assert (first.learning_rate, first.betas, first.adversary_turns) == (3e-4, (0.5, 0.9), "alternate")
    assert (second.learning_rate, second.crop_zyx_vx) == stage2
    assert (second.batch, second.adversary_from_step, second.adversary_turns) == (1, 0, "alternate")
    assert (cfg.denoiser.token, cfg.diffusion.batches) == denoiser
    diffusion, ema = cfg.diffusion, cfg.diffusion.ema
    assert (diffusion.timesteps, diffusion.loss, diffusion.learning_rate, diffusion.devices) == (1000, "l1", 1e-4, 8)
    assert (ema.decay, ema.every_steps, ema.from_step) == (0.995, 10, 2000)
    assert (cfg.latents.normalise, cfg.generate.sampler, cfg.perceptual.kind) == ("codebook", "ddpm", "lpips")
