"""Run a network that is a list of calls of PyTorch's operators on tensors, as plain data.

Nothing of it is evaluated as Python: the operators are looked up by name among those that are allowed, their arguments
are numbers, words and the names of earlier results.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from connectomake.errors import ModelError

# Numbers of the file format (schema of torch._export.serde) -> what they stand for.
DTYPES = {
    **{1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 12: torch.bool},
    **{6: torch.float16, 7: torch.float32, 8: torch.float64, 13: torch.bfloat16},
}
MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
# Arithmetic on sides, where a program takes windows of any size.
_ARITHMETIC = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_")
NUMBERS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (*_ARITHMETIC, *_COMPARISONS)},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")},
    **{"torch.sym_max": max, "torch.sym_min": min, "torch.sym_int": int, "torch.sym_float": float},
    "torch.sym_not": operator.not_,
}
TENSORS = "torch.ops.aten."
FILES = ("save", "from_file")  # operators that read or write files


class Ref(NamedTuple):
    """A value that was computed before."""

    name: str


class _Device:
    """Where the input is: stands for the device that the program was exported on."""


DEVICE = _Device()

_VALUES: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    **dict.fromkeys(("as_int", "as_bool", "as_string"), lambda value: value),
    **dict.fromkeys(("as_ints", "as_bools", "as_strings"), list),
    "as_float": float,
    "as_floats": lambda value: [float(item) for item in value],
    "as_tensor": lambda value: Ref(value["name"]),
    "as_tensors": lambda value: [Ref(item["name"]) for item in value],
    "as_name": Ref,
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), lambda value: read_value(value)),
    **dict.fromkeys(
        ("as_sym_ints", "as_sym_floats", "as_sym_bools", "as_optional_tensors"),
        lambda value: [read_value(item) for item in value],
    ),
    "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": MEMORY_FORMATS.__getitem__,
    "as_device": lambda value: DEVICE,
    "as_layout": lambda value: torch.strided,
}


@dataclass(frozen=True)
class Step:
    """A call of one operator; `frees` are the values that nobody needs after it."""

    call: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    gives: Any
    frees: tuple[str, ...]


class Program(nn.Module):
    """Calls of PyTorch's operators, one after another.

    Parameters
    ----------
    graph
        ``{"input": name, "nodes": [{"target", "inputs", "outputs"}], "outputs": [name], "keys": [key] or None}``, the
        nodes as in the model.json of an exported program.
    tensors
        Name -> weight or constant.

    Raises
    ------
    ModelError
        A call of an operator that is not allowed, or of one in training mode.
    """

    def __init__(self, graph: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.input, self.outputs, self.keys = graph["input"], graph["outputs"], graph["keys"]
        self.tensors = nn.Module()
        for name, value in tensors.items():
            if value.is_floating_point():
                self.tensors.register_parameter(name, nn.Parameter(value, requires_grad=False))
            else:
                self.tensors.register_buffer(name, value)
        self.steps = _make_steps(graph["nodes"], set(self.outputs))

    def forward(self, volume: torch.Tensor) -> Any:
        """Run the program; several outputs are a tuple, or a dict where the network gave one."""
        values: dict[str, Any] = {self.input: volume}
        values |= dict(self.tensors.named_parameters()) | dict(self.tensors.named_buffers())
        for step in self.steps:
            args, kwargs = _fill([step.args, step.kwargs], values, volume.device)
            _keep(step.gives, step.call(*args, **kwargs), values)
            for name in step.frees:
                del values[name]
        results = tuple(values[name] for name in self.outputs)
        if self.keys:
            return dict(zip(self.keys, results, strict=True))
        return results[0] if len(results) == 1 else results


def read_value(arg: Mapping[str, Any]) -> Any:
    """Turn an argument as the file has it, ``{kind: value}``, into a value, or into a `Ref` to one.

    Raises
    ------
    ModelError
        Its kind is not known here, such as a graph in the graph.
    """
    kind, value = next(iter(arg.items()))
    if kind not in _VALUES:
        raise ModelError(f"the exported program has an argument of a kind that is not known here: {kind}")
    return _VALUES[kind](value)


def find_operator(target: str) -> Callable[..., Any]:
    """Return the operator of that name.

    Raises
    ------
    ModelError
        It is none of PyTorch's own on tensors.
    """
    if target in NUMBERS:
        return NUMBERS[target]
    name, _, overload = target.removeprefix(TENSORS).partition(".")
    if target.startswith(TENSORS) and name not in FILES:
        found = getattr(getattr(torch.ops.aten, name, None), overload, None)
        if isinstance(found, torch._ops.OpOverload):
            return found
    raise ModelError(
        f"the exported program calls {target}, which is not allowed or not known here",
        expected="operators of PyTorch itself that work on tensors",
        hint="export the network without it; torch.no_grad and torch.autocast belong around it, not inside",
    )


def _make_steps(nodes: Sequence[Mapping[str, Any]], needed: set[str]) -> list[Step]:
    """Turn nodes into calls; each value is freed after the last that needs it."""
    steps: list[Step] = []
    later = set(needed)
    for node in reversed(nodes):
        if node["target"].startswith(f"{TENSORS}_assert_"):
            continue  # the shapes of input and output are checked, and autocast changes types
        for entry in node["inputs"]:
            if entry["name"] in ("train", "training") and entry["arg"].get("as_bool"):
                raise ModelError(f"{node['target']} was exported in training mode", hint="export it after .eval()")
        given = [(entry["name"], entry.get("kind"), read_value(entry["arg"])) for entry in node["inputs"]]
        results = [read_value(output) for output in node["outputs"]]
        names = _names_in([*(value for *_, value in given), *results])
        steps.append(
            Step(
                call=find_operator(node["target"]),
                args=[value for name, kind, value in given if kind == 1 or not name],
                kwargs={name: value for name, kind, value in given if kind != 1 and name},
                gives=results[0] if len(results) == 1 else results,
                frees=tuple(sorted(names - later)),
            )
        )
        later |= names
    return steps[::-1]


def _names_in(value: Any) -> set[str]:
    """Collect what references point to."""
    if isinstance(value, Ref):
        return {value.name}
    return set().union(*map(_names_in, value)) if isinstance(value, list) else set()


def _fill(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """Put values in the place of references."""
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list):
        return [_fill(item, values, device) for item in value]
    if isinstance(value, dict):
        return {name: _fill(item, values, device) for name, item in value.items()}
    return device if value is DEVICE else value


def _keep(gives: Any, result: Any, values: dict[str, Any]) -> None:
    """Store the results of an operator under their names."""
    if isinstance(gives, Ref):
        values[gives.name] = result
    elif gives:
        for one, part in zip(gives, result, strict=True):
            _keep(one, part, values)
