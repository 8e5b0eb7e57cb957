"""Exported programs (torch.export, .pt2) as the network of a checkpoint.

`torch.export.load` is not used: it runs what the file says. In PyTorch 2.13 it unpickles example inputs, weights and
constants that call themselves pickled or opaque; it evaluates the text of sizes as Python and compiles that of guards;
and it loads machine code that lies in the archive. A test has a hostile archive for each of the first four, and fails
when PyTorch closes one: look then whether this module is still needed. To check a file first and then give it to
PyTorch takes the same knowledge of the format as to read it, and what a later version evaluates would pass unseen.

A program is a list of calls of PyTorch's operators, which the file holds as JSON beside its tensors. This module reads
both, and `connectomake.models.program` runs the calls whose operators it knows. That also makes checkpoints
independent of the file format, which PyTorch changes from version to version, and lets them move between devices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from connectomake.config.settings.train_foreign import ForeignConfig
from connectomake.errors import ModelError
from connectomake.models.foreign import Found, pack_bytes, unpack_bytes
from connectomake.models.program import DTYPES, Program

SIDE = re.compile(r"Mul\(Integer\((\d+)\), Symbol\('\w+'[^()]*\)\)")  # 16 * s: a multiple of 16
WRONG_FILE = "save it with torch.export.save of PyTorch 2.9 or later"


def read(path: Path, prefix: str = "") -> Found:
    """Read what `torch.export.save` wrote, without running anything of it.

    Raises
    ------
    ModelError
        It is no such file, was exported in training mode, or has other inputs than one volume, and what `Program`
        raises.
    """
    try:
        with ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/archive_format")).rpartition("/")[0]
            module = json.loads(archive.read(f"{root}/models/model.json"))["graph_module"]
            tensors = _read_tensors(archive, f"{root}/data/weights", "model_weights_config.json")
            tensors |= _read_tensors(archive, f"{root}/data/constants", "model_constants_config.json")
        held = _find_held(module["signature"]["input_specs"], tensors)
        graph = _describe_graph(module)
        found = _describe_input(module["graph"]["tensor_values"][graph["input"]]["sizes"])
        Program(graph, held)
    except (KeyError, ValueError, StopIteration, BadZipFile, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is no exported program that can be read", got=repr(error), hint=WRONG_FILE) from error
    return replace(found, weights={"graph": pack_bytes(json.dumps(graph).encode()), **held})


def open_program(cfg: ForeignConfig, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Make the program that a checkpoint holds; raises what `Program` does."""
    graph = json.loads(unpack_bytes(weights, "graph"))
    return Program(graph, {name: value for name, value in weights.items() if name != "graph"})


def _read_tensors(archive: ZipFile, folder: str, index: str) -> dict[str, torch.Tensor]:
    """Read weights or constants: name -> tensor; those that share memory still do."""
    buffers: dict[str, torch.Tensor] = {}
    tensors = {}
    for name, entry in json.loads(archive.read(f"{folder}/{index}"))["config"].items():
        meta, file = entry["tensor_meta"], entry["path_name"]
        if entry["use_pickle"] or meta is None:
            raise ModelError(f"the exported program holds {name!r} as a pickle, which could run code", hint=WRONG_FILE)
        if file not in buffers:
            buffers[file] = pack_bytes(archive.read(f"{folder}/{file}"))
        shape, strides = ([side["as_int"] for side in meta[key]] for key in ("sizes", "strides"))
        flat = buffers[file].view(DTYPES[meta["dtype"]])
        tensors[name] = flat.as_strided(shape, strides, meta["storage_offset"]["as_int"])
    return tensors


def _find_held(specs: Sequence[Mapping[str, Any]], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the program's weights and constants under the names that its calls know them by."""
    held = {}
    for spec in specs:
        kind, value = next(iter(spec.items()))
        if kind in ("parameter", "buffer", "tensor_constant"):
            held[value["arg"]["name"]] = tensors[value[f"{kind}_name"]]
        elif kind not in ("user_input", "constant_input"):
            raise ModelError(f"the exported program takes a {kind}", expected="a network of one volume")
    return held


def _describe_graph(module: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a program; see `Program`."""
    signature = module["signature"]
    given = [spec["user_input"]["arg"] for spec in signature["input_specs"] if "user_input" in spec]
    if len(given) != 1 or "as_tensor" not in given[0]:
        raise ModelError(f"the exported program takes {len(given)} inputs", expected="one, the volume")
    changed = [next(iter(spec)) for spec in signature["output_specs"] if "user_output" not in spec]
    if changed:
        raise ModelError(f"the exported program changes itself ({changed[0]})", hint="export it after .eval()")
    outputs = [spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"]]
    return {
        "input": given[0]["as_tensor"]["name"],
        "nodes": [{key: node[key] for key in ("target", "inputs", "outputs")} for node in module["graph"]["nodes"]],
        "outputs": outputs,
        "keys": _find_keys(module["module_call_graph"], len(outputs)),
    }


def _find_keys(calls: Sequence[Mapping[str, Any]], outputs: int) -> list[str] | None:
    """Return the keys of the outputs, where the network gives a dict of tensors."""
    whole = next((call["signature"] for call in calls if call["fqn"] == "" and call["signature"]), None)
    if whole is None:
        return None
    spec = json.loads(whole["out_spec"])[1]
    keys = json.loads(spec["context"]) if spec["type"] in ("builtins.dict", "collections.OrderedDict") else None
    return keys if isinstance(keys, list) and len(keys) == outputs else None


def _describe_input(sizes: Sequence[Mapping[str, Any]]) -> Found:
    """Read from the sizes of the input, (N, C, [Z,] Y, X), what the program fixes."""
    if len(sizes) not in (4, 5) or "as_int" not in sizes[1]:
        raise ModelError("the exported program takes no volume", expected="(N, C, Z, Y, X) or (N, C, Y, X)", got=sizes)
    fixed = [size.get("as_int") for size in sizes]
    factors = [SIDE.fullmatch(size["as_expr"]["expr_str"]) if "as_expr" in size else None for size in sizes]
    z, y, x = [None] * (5 - len(sizes)) + fixed[2:]
    dz, dy, dx = [1] * (5 - len(sizes)) + [int(factor[1]) if factor else 1 for factor in factors[2:]]
    return Found(
        "exported_program",
        {},
        in_channels=fixed[1],
        dimensions=len(sizes) - 2,
        window_zyx=(z, y, x) if z and y and x else None,
        divisor_zyx=(dz, dy, dx),
        sides_zyx=(z, y, x),
        batch=fixed[0],
    )
