"""What one instruction set computes, in a process of its own: `ONEDNN_MAX_CPU_ISA` counts when torch is first used.

`python one_instruction_set.py PROJECT` trains and predicts with the networks of presets as the pipeline would, in
poisoned memory, and writes as a line of JSON how far gradients and outputs are from those in float64, and whether
bfloat16 has its known fault here.
"""

import json
import sys
from copy import deepcopy
from pathlib import Path

import torch

from connectomake.config.engine.compose import Presets
from connectomake.models import build_model
from connectomake.models.device import choose_memory_format, keep_freed_memory
from connectomake.precision import operations, replay
from connectomake.precision.choose import choose_for_prediction, choose_for_training
from connectomake.precision.cpu import describe_cpu

# The default networks, each with a patch as small as it takes: faults were those of small grids.
PATCHES = {
    "demo": (64, 64, 32),
    "default": (64, 32, 32),
    "cellmap_mini": (16, 16, 8),
    "banis": (32, 32, 16),
}
STEPS = 2
CPU = torch.device("cpu")


def far(found, expected):
    """Return the largest difference over the largest value; infinite where anything is NaN."""
    away = max(float((a.double() - b).abs().max()) for a, b in zip(found, expected, strict=True))
    largest = max(float(b.abs().max()) for b in expected)
    return away / largest if away == away else float("inf")


def train_and_predict(project, preset, patch_zyx):
    """Make steps of training, then predict; give how far the worst of each is from float64, and the types."""
    cfg = Presets(project).get("train", preset, "test").settings
    channels = cfg.targets.channels
    torch.manual_seed(0)
    network = build_model(cfg.model, 1, len(channels), [channel.target for channel in channels])
    shape = (2, 1, *patch_zyx)
    learns = choose_for_training("auto", CPU, network, shape)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    worst = 0.0
    for _ in range(STEPS):
        raw = torch.randn(shape)
        exact = deepcopy(network).double()
        gradients = []
        for net, values, dtype in ((exact, raw.double(), None), (network, raw, learns)):
            guards = replay.poison()
            with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
                output = net(values)
            outputs = [output] if isinstance(output, torch.Tensor) else output
            loss = sum((value.to(values.dtype) - 0.3).square().mean() for value in outputs)
            net.zero_grad()
            loss.backward()
            gradients.append([weight.grad for weight in net.parameters() if weight.grad is not None])
            assert all(torch.isnan(guard).all() for guard in guards), "memory beside tensors was written"
        worst = max(worst, far(gradients[1], gradients[0]))
        optimizer.step()
    network.eval()
    exact = deepcopy(network).double()
    raw = torch.randn(1, 1, *patch_zyx)
    predicts = choose_for_prediction("auto", CPU, network, raw.shape)
    kept = replay.poison()
    with torch.inference_mode(), torch.autocast("cpu", predicts, enabled=predicts != torch.float32):
        output = network(raw.contiguous(memory_format=choose_memory_format(network)))
    with torch.inference_mode():
        expected = exact(raw.double())
    del kept
    first = [value if isinstance(value, torch.Tensor) else value[0] for value in (output, expected)]
    return {
        "learns": str(learns),
        "gradients": worst,
        "predicts": str(predicts),
        "outputs": far(first[:1], first[1:]),
    }


def find_known_fault():
    """Compute what oneDNN 3 computed wrongly in bfloat16 (torch 2.13); "" where it is right."""
    layer = torch.nn.Conv3d(128, 128, 3, padding=1)
    found = operations.list_training_operations(layer, (2, 128, 2, 2, 2), seen=())
    return replay.find_wrong(found, torch.bfloat16)


def main():
    """Write all of it."""
    torch.set_num_threads(1)
    keep_freed_memory(one_heap=True)
    project = Path(sys.argv[1])
    cpu = describe_cpu()
    found = {preset: train_and_predict(project, preset, patch) for preset, patch in PATCHES.items()}
    answer = {"cpu": str(cpu), "amx": cpu.has_amx, "presets": found, "fault": find_known_fault()}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
