"""Make a step again to find what in it was not finite: input, target, output, loss, gradient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import default_collate

from connectomake.errors import ModelError
from connectomake.files import replacing
from connectomake.fitting.finite import diverged, miscalculated
from connectomake.fitting.loading import numbers_of_step
from connectomake.fitting.processes import gather, rank, world

if TYPE_CHECKING:
    from connectomake.train.module import Training


def explain(module: Training, step: int, folder: Path) -> ModelError:
    """Make a step again, batch by batch, to find what is not finite, and save the batch where it is found.

    The weights are still those that the step began with, and patches and dropout are functions of the batch's number.
    All processes take part, and get the same error.

    Parameters
    ----------
    module
        The training.
    step
        Steps made before it.
    folder
        Where the batch is written: a file of tensors and plain data.
    """
    data = module.trainer.datamodule  # type: ignore[attr-defined]
    module.zero_grad()
    found = ""
    for part in range(module.cfg.accumulate):
        numbers = list(numbers_of_step(step, data.batch, module.cfg.accumulate, rank(), world())[part])
        batch = default_collate([data.training[number] for number in numbers])
        module.seed_batch(step, part)
        with module.trainer.precision_plugin.forward_context():
            what = find_broken(module, {name: value.to(module.device) for name, value in batch.items()})
        if what:
            file = folder / f"not_finite_step{step + 1:09}_process{rank()}.pt"
            volumes = [data.training.volume_of(number) for number in numbers]
            with replacing(file) as temporary:
                torch.save({**batch, "step": step + 1, "what": what, "patches": numbers, "volumes": volumes}, temporary)
            found = f"{what}, in patches {numbers} of {', '.join(sorted(set(volumes)))}; the batch is saved in {file}"
            break
    everywhere = [text for text in gather(found) if text]
    return diverged(step + 1, everywhere[0]) if everywhere else miscalculated(step + 1, module)


def find_broken(module: Training, batch: dict[str, torch.Tensor]) -> str:
    """Compute loss and gradient of a batch, and name the first thing that is not finite; "" where all is.

    Parameters
    ----------
    module
        The training; the gradients of its weights are added to.
    batch
        ``raw``, ``values`` and ``mask``, on its device.
    """
    if not _is_finite(batch["raw"]):
        return "the input (raw)"
    if not _is_finite(torch.where(batch["mask"].bool(), batch["values"].float(), 0.0)):
        return "the target (values)"
    output = module.network(batch["raw"])
    outputs = [output] if isinstance(output, torch.Tensor) else output
    if not all(map(_is_finite, outputs)):
        return "the network's output"
    loss = module.losses(output, batch["values"], batch["mask"])
    terms = [f"the loss term {name}" for name, value in module.losses.parts.items() if not _is_finite(value)]
    if terms or not _is_finite(loss):
        return [*terms, "the loss"][0]
    loss.backward()
    weights = module.network.named_parameters()
    broken = [name for name, value in weights if value.grad is not None and not _is_finite(value.grad)]
    return f"the gradient of {broken[0]}" if broken else ""


def _is_finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())
