"""Patches and back, padding by reflection, and decoding tile by tile."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from connectomake.config.settings.synth_networks import AutoencoderConfig
from connectomake.errors import ModelError
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.tiles import crop_to, decode_in_tiles, pad_to_multiple, tile, untile

SIDES = st.tuples(*[st.integers(1, 3)] * 3)
RATIO = (4, 4, 4)


@settings(max_examples=25, deadline=None)
@given(grid=SIDES, side=SIDES, n=st.integers(1, 2), channels=st.integers(1, 2))
def test_untile_takes_back_what_tile_does(grid, side, n, channels):
    x = torch.arange(n * channels * np.prod(grid) * np.prod(side)).view(
        n, channels, *(g * s for g, s in zip(grid, side, strict=True))
    )
    tiles = tile(x, side)
    assert tiles.shape == (n * np.prod(grid), channels, *side)
    assert torch.equal(tiles[0], x[0, :, : side[0], : side[1], : side[2]])
    assert torch.equal(untile(tiles, grid), x)


def test_tile_refuses_a_remainder():
    with pytest.raises(ModelError, match=r"multiples of \[4, 4, 4\] voxels; got \[4, 6, 8\]; pad it"):
        tile(torch.zeros(1, 1, 4, 6, 8), (4, 4, 4))


@settings(max_examples=25, deadline=None)
@given(shape=SIDES, multiple=st.tuples(*[st.integers(1, 7)] * 3))
def test_padding_is_numpys_reflection_and_is_taken_off_again(shape, multiple):
    x = torch.arange(np.prod(shape)).view(1, 1, *shape)
    padded = pad_to_multiple(x, multiple)
    after = [(0, -n % m) for n, m in zip(shape, multiple, strict=True)]
    assert np.array_equal(padded[0, 0], np.pad(x[0, 0].numpy(), after, mode="reflect"))
    assert torch.equal(crop_to(padded, shape), x)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_tiles_of_what_looks_at_no_neighbour_are_the_whole(overlap):
    z = torch.randn(2, 3, 7, 5, 6)
    ratio = (1, 2, 4)

    def decode(part):
        for axis, times in zip((2, 3, 4), ratio, strict=True):
            part = part.repeat_interleave(times, axis)
        return part

    found = decode_in_tiles(decode, z, ratio, (3, 4, 10), overlap)
    torch.testing.assert_close(found, decode(z))


def test_a_tile_larger_than_the_volume_is_the_volume():
    seen = []
    z = torch.randn(1, 1, 2, 3, 4)
    for side in (None, (64, 64, 64)):
        decode_in_tiles(lambda part: seen.append(part.shape) or part, z, (2, 2, 2), side, 0.25)
    assert seen == [z.shape] * 2


def steps_at(volume: torch.Tensor, borders: list[int]) -> float:
    """Return the mean step between neighbours across the borders of tiles, over that elsewhere."""
    at, elsewhere = [], []
    for axis in (0, 1, 2):
        steps = volume.diff(dim=axis).abs().mean([a for a in (0, 1, 2) if a != axis])
        chosen = torch.zeros(len(steps), dtype=torch.bool)
        chosen[[border - 1 for border in borders]] = True
        at.append(steps[chosen])
        elsewhere.append(steps[~chosen])
    return float(torch.cat(at).mean() / torch.cat(elsewhere).mean())


def smooth_latents(side: int) -> torch.Tensor:
    coarse = torch.randn(1, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, (side,) * 3, mode="trilinear", align_corners=True)


def test_tiles_that_each_have_a_level_of_their_own_are_blended():
    def decode(part):  # as a norm does, which sees one tile
        return functional.interpolate(part - part.mean(), scale_factor=4.0, mode="trilinear", align_corners=True)

    z = smooth_latents(12)
    whole = decode(z)[0, 0]
    side_by_side = decode_in_tiles(decode, z, RATIO, (24,) * 3, 0)[0, 0]
    blended = decode_in_tiles(decode, z, RATIO, (32,) * 3, 0.25)[0, 0]
    assert steps_at(side_by_side, [24]) > 3 * steps_at(whole, [24])
    assert steps_at(blended, [16, 32]) <= 1.05 * steps_at(whole, [16, 32])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_decoder_leaves_no_seams_between_tiles(seed):
    torch.manual_seed(seed)
    sizes = {"hidden": 4, "groups": 2, "embedding": 4, "codes": 8, "heads": 1, "head_channels": 8}
    model = PatchVolumeAutoencoder(AutoencoderConfig(ratio_zyx=RATIO, patch_zyx_vx=(16,) * 3, **sizes), 1).eval()
    z = smooth_latents(12)
    with torch.no_grad():
        whole, tiled = model.decode(z)[0, 0], model.decode_in_tiles(z, (32, 32, 32), 0.25)[0, 0]
        apart = decode_in_tiles(model.decode, z, RATIO, (32, 32, 32), 0.25)[0, 0]
        assert torch.equal(model.decode_in_tiles(z, None, 0.25)[0, 0], whole)
    assert (tiled - whole).norm() < 0.5 * (apart - whole).norm()
    assert steps_at(tiled, [16, 32]) <= 1.05 * steps_at(whole, [16, 32])
