"""MedNeXt is that of its authors: parameters, outputs at every scale, and the same gradients when checkpointed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import MedNeXt as MonaiMedNext

from connectomake.config.settings.train_architectures import MedNextConfig, MedNextCustomConfig
from connectomake.models import build_model
from connectomake.models.mednext import convert_original_state

GOLDEN = Path(__file__).parents[3] / "shared/data/mednext"
# Parameters of the original with 1 input, 2 outputs, kernels of 3, 5 and 7; one of them is its unused dummy_tensor.
ORIGINAL_PARAMETERS = {
    "S": (5_550_915, 5_980_547, 6_936_259),
    "B": (10_526_307, 10_955_939, 11_911_651),
    "M": (17_548_963, 18_260_835, 19_844_387),
    "L": (61_779_267, 62_992_899, 65_692_611),
}


def count(out_channels=2, in_channels=1, **settings):
    with torch.device("meta"):
        network = build_model(MedNextConfig(**settings), in_channels, out_channels)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", ORIGINAL_PARAMETERS)
def test_parameters_are_the_originals(size):
    assert [count(size=size, kernel_size=k) for k in (3, 5, 7)] == [n - 1 for n in ORIGINAL_PARAMETERS[size]]


def test_parameters_of_channels_supervision_and_response_norm():
    small = count()
    assert count(6) - small == 132
    assert count(2, 8) - small == 224
    assert count(deep_supervision=True) - small == 1928
    assert 16_000 < count(grn=True) - small < 18_000
    large = count(size="L")
    assert 185_000 < count(size="L", grn=True) - large < 195_000


def read_case(name):
    if not GOLDEN.exists():
        pytest.skip(f"no golden data in {GOLDEN}")
    case = json.loads((GOLDEN / "cases.json").read_text())[name]
    cfg = MedNextCustomConfig(
        filters=case["n_channels"],
        blocks=case["block_counts"],
        expansions=case["exp_r"],
        kernel_size=case["kernel_size"],
        deep_supervision=case["deep_supervision"],
        grn=case.get("grn", False),
    )
    stored = np.load(GOLDEN / f"{name}.npz")
    state = {k.removeprefix("state/"): torch.from_numpy(stored[k]) for k in stored.files if k.startswith("state/")}
    outputs = [torch.from_numpy(stored[f"output_{i}"]) for i in range(5) if f"output_{i}" in stored]
    return build_model(cfg, case["in_channels"], case["n_classes"]), state, torch.from_numpy(stored["input"]), outputs


@pytest.mark.parametrize("case", ["k3_ds", "k5_varied_exp", "k3_L_exp", "k3_grn"])
def test_outputs_are_the_originals_at_every_scale(case):
    network, state, volume, expected = read_case(case)
    network.load_state_dict(convert_original_state(state, len(expected)))
    with torch.no_grad():
        found = network.train()(volume)
        finest = network.eval()(volume)
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(expected)
    # Coarse scales hold values of 10 to 20, for which the original's own single precision is no better than 2e-5.
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))
    torch.testing.assert_close(finest, expected[0], rtol=0, atol=1e-5)


def test_size_s_gives_what_monais_does():
    ours = build_model(MedNextConfig(filters=4, deep_supervision=True), 1, 2)
    theirs = MonaiMedNext(
        3, 4, 1, 2, kernel_size=3, use_residual_connection=True, deep_supervision=True, blocks_bottleneck=2
    )
    state = {}
    for name, value in ours.state_dict().items():
        if name.startswith("heads."):
            scale, value = int(name.split(".")[2]), value.transpose(0, 1) if value.ndim > 1 else value
            place = "out_0" if scale == 0 else f"out_blocks.{4 - scale}"
            state[f"{place}.conv_out.{name.split('.')[-1]}"] = value
            continue
        name = name.removeprefix("body.")
        for level in range(4):
            name = name.replace(f"enc_block_{level}.", f"enc_stages.{level}.")
            name = name.replace(f"down_{level}.", f"down_blocks.{level}.")
            name = name.replace(f"up_{level}.", f"up_blocks.{3 - level}.")
            name = name.replace(f"dec_block_{level}.", f"dec_stages.{3 - level}.")
        state[name] = value
    theirs.load_state_dict(state)
    volume = torch.randn(1, 1, 16, 16, 32)
    for a, b in zip(ours(volume), theirs(volume), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_checkpointing_changes_no_gradient(dimensions):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        cfg = MedNextConfig(filters=2, dimensions=dimensions, grn=True, gradient_checkpointing=checkpointing)
        network = build_model(cfg, 1, 1)
        network(torch.linspace(-1, 1, 16 * 16 * 32).reshape(1, 1, 16, 16, 32)).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)
