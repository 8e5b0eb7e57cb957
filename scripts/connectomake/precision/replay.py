"""Compute operations in fewer bits, in poisoned memory, and compare them with float32: in a process that may crash.

Reads a request as JSON from standard input, and writes a line of JSON to standard output: ``wrong``, "" where all is
right. Before each operation free memory is filled with NaN, so that whatever a kernel leaves unwritten shows; blocks
between are kept, and looked at afterwards, so that what it writes beside its tensors shows as well.

Found that way in oneDNN 3 as torch 2.13 has it, on CPUs with AVX-512 and without AMX: gradients of the weights of small
3-D convolutions in bfloat16 hold memory that nobody wrote, and once the heap was damaged.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch

from connectomake.models.device import DTYPES, keep_freed_memory
from connectomake.precision.operations import Operation, describe

TOLERANCE = 0.03  # of the largest value; a bfloat16 has 8 bits, and products are summed in float32
ROUNDS = 3  # each in memory that is laid out anew
LARGE = 2**20  # values of an operation's largest tensor, from which on it is computed once
HEAP_VALUES = 2**24  # of float32 that are poisoned in one piece: 64 MiB
BLOCK_VALUES = tuple(2**power for power in range(4, 18))  # in pieces: 64 bytes to 512 KiB
BLOCKS = 8  # of each size


def find_wrong(operations: list[Operation], dtype: torch.dtype) -> str:
    """Name the first operation that is not what float32 gives; "" where all are.

    Parameters
    ----------
    operations
        As recorded.
    dtype
        The type to compute in.
    """
    for operation in operations:
        sizes = [_count(spec) for spec in operation["args"] if isinstance(spec, dict)]
        for number in range(ROUNDS if max(sizes) < LARGE else 1):
            torch.manual_seed(number)
            wrong = check_operation(operation, dtype)
            if wrong:
                return f"{wrong} of a {describe(operation)}"
    return ""


def check_operation(operation: Operation, dtype: torch.dtype) -> str:
    """Compute one operation and its gradients in poisoned memory.

    Returns
    -------
    str
        What is wrong: the name of the result, and how; "" where nothing is.
    """
    learns = operation["learns"]
    args = [_draw(spec, dtype, learns) for spec in operation["args"]]
    kwargs = {name: _draw(spec, dtype, learns) for name, spec in operation["kwargs"].items()}
    expected = list(_compute(operation, args, kwargs, torch.float32))
    guards = poison()
    found = list(_compute(operation, args, kwargs, dtype))
    if any(bool((~torch.isnan(guard)).any()) for guard in guards):
        return "memory beside the tensors was written by the computation"
    for (name, value), (_, other) in zip(found, expected, strict=True):
        difference = (value.float() - other).abs().max() / other.abs().max().clamp_min(1e-30)
        if not bool(difference <= TOLERANCE):  # NaN is none
            return f"the {name} ({float(difference):.2g} of its largest value away from float32)"
    return ""


def poison() -> list[torch.Tensor]:
    """Fill free memory of all sizes with NaN, and return blocks between that stay: NaN, as long as nobody writes."""
    torch.full((HEAP_VALUES,), math.nan)
    blocks = [torch.full((size,), math.nan) for size in BLOCK_VALUES for _ in range(BLOCKS)]
    return blocks[1::2]


def _compute(operation: Operation, args: list[Any], kwargs: dict[str, Any], dtype: torch.dtype) -> Iterator[Any]:
    """Return the named results in a type: the output, and the gradients of those arguments that want them."""
    namespace, name, overload = operation["op"].split(".")
    function = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    values = [_cast(arg, dtype) for arg in args]
    with torch.set_grad_enabled(operation["learns"]):
        output = function(*values, **{key: _cast(value, dtype) for key, value in kwargs.items()})
    output = output if isinstance(output, torch.Tensor) else output[0]
    yield "output", output.detach()
    wanted = [number for number, value in enumerate(values) if isinstance(value, torch.Tensor) and value.requires_grad]
    if not wanted or not output.requires_grad:
        return
    generator = torch.Generator().manual_seed(1)
    slope = torch.empty_like(output).copy_(torch.randn(output.shape, generator=generator))
    gradients = torch.autograd.grad(output, [values[number] for number in wanted], slope)
    for number, gradient in zip(wanted, gradients, strict=True):
        yield f"gradient of argument {number}", gradient


def _draw(spec: Any, dtype: torch.dtype, learns: bool) -> Any:
    """Make an argument: a tensor of values that the type holds exactly, in the layout recorded."""
    if isinstance(spec, list):
        return [_draw(item, dtype, learns) for item in spec]
    if not isinstance(spec, dict):
        return spec
    made = torch.empty_strided(spec["shape"], spec["stride"])
    made.copy_(torch.randn(spec["shape"]).to(dtype))
    return made.requires_grad_(learns and spec["grad"])


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Return a tensor, in the layout it has, as a leaf of that type; other arguments as they are."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().to(dtype, copy=True).requires_grad_(value.requires_grad)


def _count(spec: dict[str, Any]) -> int:
    count = 1
    for side in spec["shape"]:
        count *= side
    return count


def main() -> None:
    """Answer the request."""
    request = json.load(sys.stdin)
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    torch.set_num_threads(request["threads"])
    keep_freed_memory(one_heap=True)
    said.write(json.dumps({"wrong": find_wrong(request["operations"], DTYPES[request["dtype"]])}) + "\n")
    said.flush()


if __name__ == "__main__":
    main()
