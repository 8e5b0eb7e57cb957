"""The operations of a network that bfloat16 or float16 would compute: which, of what shapes, in what memory layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from connectomake.models.device import choose_memory_format

log = logging.getLogger(__name__)

# What autocast on a CPU computes in fewer bits, as it arrives below autograd: products of matrices and convolutions.
SHORTENED = (
    "aten.convolution.default",
    "aten.mm.default",
    "aten.addmm.default",
    "aten.bmm.default",
    "aten.baddbmm.default",
    "aten._scaled_dot_product_flash_attention_for_cpu.default",
)

Operation = dict[str, Any]
"""Plain data: ``op`` its name, ``args`` and ``kwargs`` its arguments, ``learns`` whether gradients follow. A tensor is
``{"shape": [...], "stride": [...], "grad": whether it gets a gradient}``."""


class Recorder(TorchDispatchMode):
    """Records each of the `SHORTENED` operations that the body runs in float32, once.

    Attributes
    ----------
    operations
        What was recorded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it."""
        kwargs = kwargs or {}
        if str(func) in SHORTENED:
            found = {"op": str(func), "args": _plain(list(args)), "kwargs": _plain(dict(kwargs))}
            found["learns"] = torch.is_grad_enabled()
            if found not in self.operations:
                self.operations.append(found)
        return func(*args, **kwargs)


def list_training_operations(network: nn.Module, shape: Sequence[int], seen: Collection[int] = (1,)) -> list[Operation]:
    """List what a training step and a validation compute; takes about a second, and no memory.

    Parameters
    ----------
    network
        In training mode or not; stays as it is, in its own memory layout.
    shape
        Of a batch that is learnt from, (N, C, Z, Y, X).
    seen
        How many patches are seen at once without being learnt from, as validation and the measuring of norms do.
    """
    with _in_mode(network, training=True):
        found = [_record(network, partial(torch.empty, tuple(shape)))]
    with _in_mode(network, training=False), torch.no_grad():
        found += [_record(network, partial(torch.empty, (count, *shape[1:]))) for count in sorted(seen)]
    return unite(found)


def list_prediction_operations(network: nn.Module, shape: Sequence[int]) -> list[Operation]:
    """List what a window's prediction computes, in the memory layout that prediction gives a network.

    Parameters
    ----------
    network
        In eval mode; gets that layout.
    shape
        Of a window, (N, C, Z, Y, X).
    """
    layout = choose_memory_format(network)
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        return _record(network, lambda: torch.empty(*shape).contiguous(memory_format=layout))


def describe(operation: Operation) -> str:
    """Return a short text, such as ``convolution of (2, 128, 2, 2, 2) with (128, 128, 3, 3, 3)``."""
    name = operation["op"].split(".")[1].strip("_")
    shapes = [f"({', '.join(map(str, arg['shape']))})" for arg in operation["args"] if isinstance(arg, dict)]
    factors = [shape for shape in shapes if shape.count(",")] or shapes
    return f"{name} of {' with '.join(factors[:2])}"


def record(run: Callable[[], Any]) -> list[Operation]:
    """List what a call computes with values, in float32; operations that could learn are those outside `no_grad`."""
    with torch.random.fork_rng(devices=[]), Recorder() as recorder:
        run()
    return recorder.operations


def unite(lists: Iterable[Iterable[Operation]]) -> list[Operation]:
    """Return what several lists hold, each operation once."""
    return list({str(operation): operation for operations in lists for operation in operations}.values())


def _record(network: nn.Module, make: Callable[[], torch.Tensor]) -> list[Operation]:
    """Record what a copy of a network computes: on tensors that hold shapes only, or where that fails with values."""
    copy = deepcopy(network)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), Recorder() as recorder:
            copy(make())
    except Exception as error:  # whatever a stranger's network raises
        log.debug("the network does not run without values (%s)", str(error).partition("\n")[0])
        return record(lambda: deepcopy(network)(make().zero_()))
    return recorder.operations


@contextmanager
def _in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a network into training or eval mode in the body."""
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _plain(value: Any) -> Any:
    """Return arguments of an operation as plain data."""
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "stride": list(value.stride()), "grad": value.requires_grad}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if not isinstance(item, torch.dtype | torch.device)}
    return value
