"""Checkpoints of the synth stage: whole, checked, and without code in them."""

import pytest
import torch

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConnectomakeError, MissingDataError, ModelError
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.biflownet import build_denoiser
from connectomake.synth.checkpoints import (
    load_autoencoder,
    load_diffusion,
    load_discriminator,
    save_autoencoder,
    save_diffusion,
)
from connectomake.synth.discriminator import build_discriminator

CFG = SynthConfig.model_validate(
    {
        "autoencoder": {
            "ratio_zyx": [2, 2, 2], "patch_zyx_vx": [8, 8, 8], "hidden": 4, "groups": 2, "embedding": 2, "codes": 4,
            "heads": 1, "head_channels": 4,
        },
        "discriminator": {"channels": 2, "layers": 1},
        "denoiser": {
            "dim": 6, "mults": [1, 1, 2], "attention": [False, False, True], "subvolume": 2, "heads": 2, "groups": 2
        },
    }
)  # fmt: skip
META = {"cfg": CFG.model_dump(mode="json"), "classes": ["thin", "thick"], "autoencoder_hash": "abc"}


@pytest.fixture
def autoencoder() -> PatchVolumeAutoencoder:
    torch.manual_seed(0)
    return PatchVolumeAutoencoder(CFG.autoencoder, 1)


def test_an_autoencoder_comes_back_with_its_discriminator(tmp_path, autoencoder):
    autoencoder.train()
    autoencoder.quantise(torch.rand(1, 2, 4, 4, 4))  # so that the codebook has a state
    judge, path = build_discriminator(CFG.discriminator, 1), tmp_path / "model.ckpt"
    made = save_autoencoder(path, autoencoder, META, judge)
    model, meta = load_autoencoder(path)
    x = torch.rand(1, 1, 8, 8, 8)
    assert not model.training
    assert meta["hash"] == made
    assert SynthConfig.model_validate(meta["cfg"]) == CFG
    assert torch.equal(model.reconstruct(x), autoencoder.eval().reconstruct(x))
    assert torch.equal(load_discriminator(path).eval()(x)[-1], judge.eval()(x)[-1])
    save_autoencoder(path, autoencoder, META)
    assert load_discriminator(path) is None


def test_the_hash_is_of_weights_codebook_and_settings_alone(tmp_path, autoencoder):
    path = tmp_path / "model.ckpt"
    first = save_autoencoder(path, autoencoder, META | {"time": 1})
    assert save_autoencoder(path, autoencoder, META | {"time": 2}) == first
    autoencoder.codebook.codes[0] += 1
    assert save_autoencoder(path, autoencoder, META) != first


def test_a_denoiser_comes_back_with_its_averaged_weights(tmp_path):
    plain, average, path = build_denoiser(CFG, 2), build_denoiser(CFG, 2), tmp_path / "model.ckpt"
    made = save_diffusion(path, average.state_dict(), plain, META)
    model, meta = load_diffusion(path)
    assert (meta["hash"], meta["classes"], model.training) == (made, ["thin", "thick"], False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), average.parameters(), strict=True))
    kept = torch.load(path, weights_only=True)["plain_weights"]
    assert all(torch.equal(kept[name], value) for name, value in plain.state_dict().items())
    assert save_diffusion(path, average.state_dict(), plain, META | {"autoencoder_hash": "other"}) != made


def test_what_is_no_such_checkpoint_is_refused_and_says_what_to_give(tmp_path, autoencoder):
    path = tmp_path / "model.ckpt"
    with pytest.raises(MissingDataError, match=r"no checkpoint .*train_diffusion"):
        load_diffusion(path)
    save_autoencoder(path, autoencoder, META)
    with pytest.raises(ModelError, match=r"synth stage's diffusion; expected .*diffusion; got .*autoencoder; give the"):
        load_diffusion(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ModelError, match="got a file of something else"):
        load_autoencoder(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="damaged"):
        load_autoencoder(path)


def test_weights_and_settings_that_do_not_belong_together_are_refused(tmp_path, autoencoder):
    path = tmp_path / "model.ckpt"
    save_autoencoder(path, autoencoder, META)
    content = torch.load(path, weights_only=True)
    content["meta"]["cfg"]["autoencoder"]["codes"] = 8
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"are not those of its settings; got .*codebook"):
        load_autoencoder(path)
    content["meta"]["cfg"]["autoencoder"]["newer"] = 1
    torch.save(content, path)
    with pytest.raises(ConnectomakeError, match=r"got autoencoder\.newer"):
        load_autoencoder(path)
