"""Stop a training whose loss or gradient is not finite, before the weights are touched, and say what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from connectomake.errors import ModelError
from connectomake.fitting.processes import largest_in_place

HINT = "lower train.optimizer.learning_rate, set train.precision to float32, or look for broken values in raw"


class Trained(Protocol):
    """What is watched: a training that Lightning's trainer makes."""

    @property
    def trainer(self) -> Any:
        """The trainer that makes its steps."""


@dataclass
class _Asked:
    """A step that a GPU has not told about yet."""

    step: int
    bad: torch.Tensor
    copied: torch.cuda.Event | None


class Watch:
    """Looks at loss and gradient of every step.

    On a CPU at once. A GPU would have to be waited for: there the optimizer is told, on the GPU, to leave the weights
    alone, and the training stops one step later, when the answer has long arrived.

    Parameters
    ----------
    folder
        Where the batch is written that broke the training.
    find_cause
        Returns the error that says what is not finite, of a training, after so many steps, for this folder.
    """

    def __init__(self, folder: Path, find_cause: Callable[[Any, int, Path], ModelError]) -> None:
        self.folder = folder
        self.find_cause = find_cause
        self._loss = torch.zeros(())
        self._asked: _Asked | None = None

    def see(self, loss: torch.Tensor, first: bool) -> None:
        """Take in the loss of a batch; `first` of its step."""
        self._loss = loss if first else self._loss + loss

    def check(self, module: Trained, optimizer: torch.optim.Optimizer, norm: torch.Tensor) -> None:
        """Look at a step that is about to be made.

        Parameters
        ----------
        module
            The training.
        optimizer
            Whose step it is.
        norm
            Of the gradient, the same in all processes.

        Raises
        ------
        ModelError
            This step, or on a GPU the one before, is not finite: in all processes.
        """
        good = torch.isfinite(self._loss)
        scaler = getattr(module.trainer.precision_plugin, "scaler", None)
        # With gradient scaling (float16), gradients overflow now and then, and the scaler tries a smaller scale.
        if scaler is None or scaler.get_scale() < 1:
            good = good & torch.isfinite(norm)
        bad = largest_in_place((~good).float())
        step = module.trainer.global_step
        if not tells_late(bad.device):
            if bad:
                raise self.find_cause(module, step, self.folder)
            return
        if scaler is None:  # which leaves the weights alone by itself
            optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.settle(module)
        self._asked = _Asked(step, *_fetch(bad))

    def settle(self, module: Trained) -> None:
        """Wait for the answer about the last step that was looked at.

        Raises
        ------
        ModelError
            It was not finite.
        """
        asked, self._asked = self._asked, None
        if asked is None:
            return
        if asked.copied is not None:
            asked.copied.synchronize()
        if asked.bad:
            raise self.find_cause(module, asked.step, self.folder)


def tells_late(device: torch.device) -> bool:
    """Return whether looking at a value makes this process wait for what it has asked a device to do."""
    return device.type == "cuda"


def _fetch(value: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """Begin to copy a number from a GPU; the event tells when it is there."""
    if value.device.type == "cpu":
        return value, None
    copied = torch.cuda.Event()
    told = torch.empty((), pin_memory=True).copy_(value, non_blocking=True)
    copied.record()
    return told, copied


def diverged(step: int, what: str, hint: str = HINT) -> ModelError:
    """Return the error for a training that cannot go on."""
    return ModelError(
        f"training diverged at step {step}",
        expected="finite numbers everywhere",
        got=f"not finite: {what}",
        hint=hint,
    )


def miscalculated(step: int, module: Trained) -> ModelError:
    """Return the error for a step that was not finite, and was when it was computed again from the same numbers.

    Weights, batch and random numbers were the same, so nothing that a recipe says can be the reason.

    Parameters
    ----------
    step
        Its number, from 1.
    module
        The training.
    """
    precision, device = str(module.trainer.precision), module.trainer.strategy.root_device.type
    exact = precision.startswith("32")
    advice = (
        "if it happens again, test the memory of this computer, or take another"
        if exact
        else "if it happens again, set precision: float32 in the preset, which goes on from there too"
    )
    return ModelError(
        f"step {step} was computed wrongly: not finite at first, finite when the same numbers were computed again",
        got=f"{precision} on {device}, torch {torch.__version__}",
        hint="the learning rate is not to blame; suspect the arithmetic of this computer or its memory. Run the same "
        f"command again: it goes on from the last state; {advice}",
    )
