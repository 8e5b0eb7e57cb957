"""Run a network over one block: every window that reaches into it, blended there.

The result of a block does not depend on the block. Each window is computed from the same voxels in a call of its own,
and each voxel's sum adds its windows in the order of their numbers, in float32. Measured with torch 2.13: on a CPU a
window's output depends on its neighbours in the batch (in the last bits), so a CPU takes one window at a time; it
also depends on the number of threads, so jobs of one volume should have equally many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from connectomake.config.channels import Channel
from connectomake.errors import ModelError
from connectomake.geometry import Box
from connectomake.models.activation import activate
from connectomake.models.arithmetic import choose_memory_format
from connectomake.predict.windows import WindowGrid, blending_weights

log = logging.getLogger(__name__)

LOGIT_SCALE = {"sigmoid": 1.0, "scaled_sigmoid": 0.2}  # the latter as in BANIS


@dataclass(frozen=True)
class Recipe:
    """How a window of raw values becomes probabilities, or what else the channels hold.

    Parameters
    ----------
    mean, std
        The network sees (raw - mean) / std.
    channels
        The network's output channels that are kept, in this order.
    activation
        Of sigmoid channels: ``sigmoid`` or ``scaled_sigmoid`` (0.2 x, as in BANIS).
    blending
        Name of the weights (`blending_weights`).
    outputs
        All channels of the network; none = all are sigmoid channels.
    """

    mean: float
    std: float
    channels: tuple[int, ...]
    activation: str = "sigmoid"
    blending: str = "gaussian"
    outputs: tuple[Channel, ...] = ()

    @cached_property
    def needed(self) -> tuple[int, ...]:
        """The output channels that those kept are made of: these, and the others of their softmax; each once."""
        if not self.outputs:
            return self.channels
        soft = {self.outputs[c].target for c in self.channels if self.outputs[c].activation == "softmax"}
        others = [c for c, o in enumerate(self.outputs) if o.activation == "softmax" and o.target in soft]
        return tuple(sorted({*self.channels, *others})) if others else self.channels

    @cached_property
    def meanings(self) -> tuple[Channel, ...]:
        """What the channels that are needed are."""
        return tuple(self.outputs[c] if self.outputs else Channel(str(c), "output") for c in self.needed)

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """What was applied to each channel kept, ``scaled_sigmoid`` told apart; by this, stored values are read."""
        named = dict(zip(self.needed, (channel.activation for channel in self.meanings), strict=True))
        return tuple(self.activation if named[c] == "sigmoid" else named[c] for c in self.channels)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn the logits of the channels needed, (C, Z, Y, X) float32, modified, into the values of those kept."""
        scale = LOGIT_SCALE[self.activation]
        if scale != 1:
            for logit, channel in zip(logits, self.meanings, strict=True):
                if channel.activation == "sigmoid":
                    logit.mul_(scale)
        values = activate(logits[None], self.meanings)[0]
        return values if self.needed == self.channels else values[[self.needed.index(c) for c in self.channels]]


class SlidingWindow:
    """A network, and the grid of windows of one volume that it is run over.

    Parameters
    ----------
    network
        Takes (N, C, Z, Y, X) float32 of the window's shape, gives (N, channels, Z, Y, X) logits; in eval mode, on
        `device`.
    grid
        The volume's windows.
    recipe
        What happens before and after the network.
    device, dtype
        Where it runs, and the type that convolutions compute in there.
    batch
        Windows per call. Calls are all of one shape: the last one of a block is filled up. Halved, with a warning,
        when the GPU's memory does not suffice.
    """

    def __init__(
        self,
        network: nn.Module,
        grid: WindowGrid,
        recipe: Recipe,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        batch: int = 1,
    ) -> None:
        self.grid, self.recipe, self.device, self.dtype, self.batch = grid, recipe, device, dtype, batch
        self._memory_format = choose_memory_format(network)
        self._network = network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._weights = torch.from_numpy(blending_weights(grid.window_zyx, recipe.blending)).to(device)
        self._needed = torch.tensor(recipe.needed, device=device)

    @torch.inference_mode()
    def predict(
        self, raw: np.ndarray, at: Box, core: Box, on_window: Callable[[], object] = lambda: None
    ) -> np.ndarray:
        """Compute the blended values of a block.

        Parameters
        ----------
        raw
            (C, Z, Y, X) of any real type, the voxels of `at`; not modified.
        at
            The box that `raw` covers: at least ``grid.hull(core)``.
        core
            The block.
        on_window
            Called after each window.

        Returns
        -------
        np.ndarray
            (channels, Z, Y, X) uint8 over `core`: round(255 p) of what lies between 0 and 1, round(127.5 (v + 1)) of
            tanh, which lies between -1 and 1; identity is cut off at 0 and 1.

        Raises
        ------
        ModelError
            The network's output has another shape than it should, or holds NaN.
        torch.OutOfMemoryError
            The GPU's memory does not suffice for the block and one window.
        """
        source = torch.from_numpy(as_torch_can(raw)).to(self.device)
        values = torch.zeros((len(self.recipe.channels), *core.shape_zyx), device=self.device)
        weight = torch.zeros(core.shape_zyx, device=self.device)
        windows = [self.grid[number] for number in self.grid.touching(core)]
        position = 0
        while position < len(windows):
            group = windows[position : position + self.batch]
            logits = self._try(torch.stack([source[:, *self._slices(window, at)] for window in group]))
            if logits is None:
                continue
            for window, sample in zip(group, logits, strict=False):
                self._blend(sample, window, core, values, weight)
                on_window()
            position += len(group)
        return self._finish(values, weight)

    def _try(self, windows: torch.Tensor) -> torch.Tensor | None:
        """Run the network over a batch; give nothing, and halve the batch, where the GPU's memory does not suffice."""
        missing = self.batch - len(windows)
        if missing > 0:
            windows = torch.cat([windows, windows[-1:].expand(missing, -1, -1, -1, -1)])
        try:
            normalised = windows.float().sub_(self.recipe.mean).div_(self.recipe.std)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self._network(normalised.contiguous(memory_format=self._memory_format))
        except torch.OutOfMemoryError:
            if self.batch == 1:
                raise
        else:
            return self._checked(logits)
        self.batch //= 2
        torch.cuda.empty_cache()
        log.warning("the GPU's memory does not suffice; going on with %d windows at once (predict.batch)", self.batch)
        return None

    def _checked(self, logits: torch.Tensor) -> torch.Tensor:
        """Refuse an output that is no tensor of the window's shape with all channels asked for."""
        window, channels = self.grid.window_zyx, max(self.recipe.needed) + 1
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if isinstance(shape, str) or len(shape) != 5 or shape[2:] != window or shape[1] < channels:
            expected = f"(N, at least {channels} channels, {', '.join(map(str, window))})"
            raise ModelError("the network's output does not fit its input", expected=expected, got=shape)
        return logits

    def _blend(self, logits: torch.Tensor, window: Box, core: Box, values: torch.Tensor, weight: torch.Tensor) -> None:
        """Add one window to the sums, in place.

        The product is rounded before it is added: a fused multiply-add, which compilers use in some places and not in
        others, would make a voxel's last bits depend on where in the block it lies.
        """
        weighted = self.recipe.apply(logits.index_select(0, self._needed).float()).mul_(self._weights)
        common = window.intersect(core)
        there, here = self._slices(common, core), self._slices(common, window)
        values[:, *there] += weighted[:, *here]
        weight[there] += self._weights[here]

    def _finish(self, values: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
        """Divide, check and round the sums; modifies them."""
        values /= weight
        if bool(torch.isnan(values.sum())):
            raise ModelError("the network's output holds NaN", hint=self._nan_hint())
        for channel, activation in zip(values, self.recipe.activations, strict=True):
            if activation == "tanh":
                channel.add_(1).div_(2)
            elif activation == "identity":
                channel.clamp_(0, 1)
        return values.mul_(255).round_().to(torch.uint8).cpu().numpy()

    def _nan_hint(self) -> str:
        """Say what may have gone wrong."""
        if self.dtype == torch.float16:
            return "float16 overflows easily: use precision: bfloat16 or float32"
        return "the training may have diverged (see its loss), or the raw volume holds NaN"

    @staticmethod
    def _slices(box: Box, of: Box) -> tuple[slice, slice, slice]:
        """Index a box in an array that covers another."""
        return box.within(of).slices


def as_torch_can(array: np.ndarray) -> np.ndarray:
    """Give an array in a type that torch computes with: small integers and floats stay, others become float32."""
    kept = (np.uint8, np.int8, np.int16, np.float16, np.float32)
    if not array.dtype.isnative or array.dtype.type not in kept:
        return array.astype(np.float32)
    return np.require(array, requirements=["C", "W"])
