"""Measure what a network costs without computing anything: it runs on tensors that hold shapes only.

Storages are followed from the operation that makes them to the end of their last tensor, under autocast as in
prediction; flops are those of torch's own counter. What an operation takes besides is known from measurements
(torch 2.13, oneDNN 3, a CPU with AMX, one operation each): convolutions of channels that come first reorder their input
and output into blocks of channels, which takes about 0.8 times both in float32 (0 to 1.6; none where a kernel is one
voxel and all is float32); those of channels that come last take nothing, or, of one voxel in float32, their input.

Tensors come from a heap that the process keeps (`keep_freed_memory`), which is riddled: counted are 1.8 times the most
bytes that were ever alive.

Measured against the peak of two windows in a process of its own, beyond libraries and weights, on one thread: estimated
GB over measured GB.

============  ===========  ===========  ===========  ===========
network       float32 64   float32 96   bfloat16 64  bfloat16 96
============  ===========  ===========  ===========  ===========
BasicUNet     0.64 / 0.54  2.18 / 1.68  0.53 / 0.52  1.65 / 1.79
MedNeXt-S     0.57 / 0.75  1.98 / 1.87  0.53 / 0.55  1.77 / 1.79
MedNeXt-B     0.57 / 0.76  1.98 / 2.09  0.55 / 0.36  1.78 / 1.57
rsunet        0.42 / 0.28  1.42 / 1.22  0.21 / 0.19  0.72 / 0.68
Swin-UNETR    0.81 / 0.79  2.24 / 2.04  0.79 / 0.61  2.15 / 2.20
============  ===========  ===========  ===========  ===========

The factor was chosen on these and two more (MONAI's UNet, residual_unet), which it puts at 0.8 to 1.4 times what was
measured, but for a network that takes 0.1 GB.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from connectomake.models.device import choose_memory_format, has_grouped_convolutions

log = logging.getLogger(__name__)

RIDDLED = 1.8  # the heap's size over what was alive in it
REORDERED_BYTES = 3.2  # per value of a convolution's input and output
SLOW_GROUPS = 5  # so many times as long as their bytes say do networks with depthwise convolutions take in bfloat16

GUESSED_VALUES = 400  # alive per voxel of a window, of a network that cannot be followed: a U-Net of 32 channels
GUESSED_FLOPS = 1e6  # per voxel; twice a U-Net of 32 channels


@dataclass(frozen=True)
class NetworkCost:
    """What one window costs in one network.

    Parameters
    ----------
    peak_bytes
        The most memory that its activations take at once, input and output included.
    weight_bytes
        Of its weights, as they are stored.
    flops
        Of its matrix products and convolutions; a multiplication and an addition count as two.
    moved_bytes
        That its operations read and write; more of operations that are slow for another reason.
    """

    peak_bytes: int
    weight_bytes: int
    flops: int
    moved_bytes: int


def measure_network(
    network: nn.Module, in_channels: int, window_zyx: Sequence[int], dtype: torch.dtype = torch.float32
) -> NetworkCost:
    """Measure what a window costs; takes under a second, and no memory.

    Parameters
    ----------
    network
        In eval mode, its weights on a CPU; they get the layout that they have in prediction.
    in_channels
        Of its input.
    window_zyx
        The window in voxels.
    dtype
        The type that convolutions compute in.

    Returns
    -------
    NetworkCost
        A guess, with a warning, of networks that cannot run without values (TorchScript, branches on data).
    """
    weight_bytes = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    layout, is_grouped = choose_memory_format(network), has_grouped_convolutions(network)
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        window = torch.empty(1, in_channels, *window_zyx).contiguous(memory_format=layout)
        flops, memory = FlopCounterMode(display=False), _Memory()
        memory.follow(window)
        try:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), flops, memory:
                network(window)
        except Exception as error:  # whatever a stranger's network raises
            reason = str(error).partition("\n")[0]
            log.warning("the network's memory and time are guessed: it does not run without values (%s)", reason)
            return _guess(weight_bytes, prod(window_zyx))
    moved_bytes = memory.moved_bytes * (SLOW_GROUPS if dtype != torch.float32 and is_grouped else 1)
    return NetworkCost(memory.peak_bytes, weight_bytes, flops.get_total_flops(), moved_bytes)


def list_costs(network: nn.Module, in_channels: int, window_zyx: Sequence[int]) -> list[dict[str, Any]]:
    """List what a window costs in each type that a CPU or GPU may take, for `CheckpointMeta.costs`.

    Parameters
    ----------
    network, in_channels, window_zyx
        As of `measure_network`; the network stays as it is.
    """
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        cost = measure_network(deepcopy(network).eval(), in_channels, window_zyx, dtype)
        found.append({"window_zyx": list(window_zyx), "dtype": str(dtype), **asdict(cost)})
    return found


def find_cost(costs: Sequence[dict[str, Any]], window_zyx: Sequence[int], dtype: torch.dtype) -> NetworkCost | None:
    """Find what `list_costs` listed for a window and a type; None where it did not."""
    for cost in costs:
        if (list(cost["window_zyx"]), cost["dtype"]) == (list(window_zyx), str(dtype)):
            return NetworkCost(**{field.name: cost[field.name] for field in fields(NetworkCost)})
    return None


def _guess(weight_bytes: int, voxels: int) -> NetworkCost:
    """Guess the cost of a network that cannot be followed."""
    held = 4 * GUESSED_VALUES * voxels
    return NetworkCost(held, weight_bytes, int(GUESSED_FLOPS * voxels), 10 * held)


class _Memory(TorchDispatchMode):
    """Follows storages while operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_bytes = 0
        self._alive = self._peak = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    @property
    def peak_bytes(self) -> int:
        """What the process takes at most."""
        return int(RIDDLED * self._peak)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it makes."""
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self.follow(tensor)
        self._peak = max(self._peak, self._alive + _scratch(func, args, result))
        if not func.is_view:
            self.moved_bytes += sum(tensor.nbytes for tensor in (*_tensors(args), *_tensors(result)))
        return result

    def follow(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage from now on, for as long as it lives."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self._alive += size
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self._alive -= size


def _scratch(func: Any, args: Any, result: Any) -> int:
    """Return the bytes of what a convolution allocates besides its output."""
    if func is not torch.ops.aten.convolution.default:
        return 0
    source, weight = args[0], args[1]
    is_plain = source.dtype == torch.float32 and max(weight.shape[2:]) == 1
    if result.is_contiguous():
        return 0 if is_plain else int(REORDERED_BYTES * (source.numel() + result.numel()))
    return int(source.nbytes) if is_plain else 0


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
