"""The PatchVolume autoencoder: sizes, patches, freezing, memory of decoding, and its discriminator."""

import weakref

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from connectomake.config.settings.synth_networks import AutoencoderConfig, DiscriminatorConfig
from connectomake.errors import ModelError
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.blocks import Attention
from connectomake.synth.discriminator import adversarial_loss, build_discriminator, discriminator_loss, feature_loss

TINY = {"hidden": 4, "groups": 2, "embedding": 3, "codes": 8, "heads": 1, "head_channels": 4}


def make(channels=1, ratio=(4, 4, 4), patch=(8, 8, 8)) -> PatchVolumeAutoencoder:
    torch.manual_seed(0)
    return PatchVolumeAutoencoder(AutoencoderConfig(ratio_zyx=ratio, patch_zyx_vx=patch, **TINY), channels)


@pytest.mark.parametrize("ratio", [(8, 8, 8), (4, 4, 4), (1, 4, 4), (2, 8, 8)])
def test_shapes_of_isotropic_and_anisotropic_ratios(ratio):
    with torch.device("meta"):
        model = make(channels=2, ratio=ratio)
        latents = model.encode(torch.zeros(1, 2, 8, 16, 8))
        assert latents.shape == (1, 3, 8 // ratio[0], 16 // ratio[1], 8 // ratio[2])
        assert model.decode(latents).shape == (1, 2, 8, 16, 8)


def test_patches_are_encoded_by_themselves_in_any_batch():
    model = make().eval()
    x = torch.rand(2, 1, 8, 16, 8)
    with torch.no_grad():
        whole, alone = model.encode(x, batch=3), model.encode(x[1:, :, :, 8:])
    torch.testing.assert_close(whole[1:, :, :, 2:], alone)


def test_a_volume_of_any_size_is_reconstructed_and_encode_says_what_it_wants():
    model = make().eval()
    with torch.no_grad():
        assert model.reconstruct(torch.rand(1, 1, 5, 9, 8)).shape == (1, 1, 5, 9, 8)
    with pytest.raises(ModelError, match="multiples of"):
        model.encode(torch.rand(1, 1, 5, 9, 8))


def test_a_frozen_encoder_stays_bit_by_bit_while_the_decoder_learns():
    model = make().train()
    x = torch.rand(1, 1, 8, 8, 8)
    model.quantise(model.encode(x))
    model.freeze_encoder()
    model.train()
    before, decoder = model.frozen_hash(), model.decoder[0].weight.clone()
    learning = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in learning} == {id(p) for m in (model.post_quantise, model.decoder) for p in m.parameters()}
    (model.reconstruct(x) - x).abs().mean().backward()
    torch.optim.SGD(learning, 0.1).step()
    assert model.frozen_hash() == before
    assert not torch.equal(model.decoder[0].weight, decoder)
    with torch.no_grad():
        model.pre_quantise.bias += 1
    assert model.frozen_hash() != before


class Peak(TorchDispatchMode):
    """Adds up the bytes of all tensors that are alive, and keeps the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.known:
                self._add(storage._cdata, storage.nbytes(), storage)
        return out

    def _add(self, key: int, size: int, storage: torch.UntypedStorage) -> None:
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@pytest.fixture
def paper(monkeypatch) -> PatchVolumeAutoencoder:
    """Return 3D MedDiffusion 8x without memory; attention there has no kernel but that which holds all pairs."""
    monkeypatch.setattr(functional, "scaled_dot_product_attention", lambda q, k, v: torch.empty_like(q))
    with torch.device("meta"):
        return PatchVolumeAutoencoder(AutoencoderConfig(), 1).eval()


@pytest.mark.parametrize(("tile_vx", "share"), [(None, 1), ((128, 128, 128), 0.25)])
def test_decoding_256_cubed_takes_no_more_memory_than_is_said(paper, tile_vx, share):
    said = share * 5 * 48 * 4 * 256**3  # bytes: five maps of 48 channels
    with torch.device("meta"), torch.no_grad():
        latents = torch.zeros(1, 8, 32, 32, 32)
        with Peak() as peak:
            assert paper.decode_in_tiles(latents, tile_vx, 0).shape[2:] == (256, 256, 256)
    assert 0.9 * said < peak.most < 1.02 * said


def test_attention_never_holds_all_pairs():
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):  # an error, if neither is possible
        found = Attention(8, 2, heads=4, head_channels=32)(torch.rand(1, 8, 6, 6, 6))
    assert found.shape == (1, 8, 6, 6, 6)


def test_the_discriminator_gives_features_and_logits_and_its_losses_are_those_of_the_paper():
    cfg = DiscriminatorConfig(channels=4, layers=2, padding=1)
    seen = build_discriminator(cfg, 1)(torch.rand(2, 1, 16, 16, 16))
    assert len(seen) == 4
    assert seen[-1].shape[1] == 1
    sure, unsure = [torch.full((1, 1, 2, 2, 2), 3.0)], [torch.zeros(1, 1, 2, 2, 2)]
    assert adversarial_loss(sure).item() == -3
    assert discriminator_loss(cfg, sure, [-sure[0]]).item() == 0
    assert discriminator_loss(cfg, unsure, sure).item() == pytest.approx(0.5 * (1 + 4))
    soft = DiscriminatorConfig(loss="softplus")
    assert discriminator_loss(soft, unsure, unsure).item() == pytest.approx(0.6931, abs=1e-4)
    inner = [torch.ones(1, 2, 3, 3, 3, requires_grad=True), torch.zeros(1)]
    made = [torch.zeros(1, 2, 3, 3, 3, requires_grad=True), torch.ones(1)]
    feature_loss(inner, made).backward()
    assert feature_loss(inner, made).item() == 1
    assert inner[0].grad is None
    assert made[0].grad is not None
