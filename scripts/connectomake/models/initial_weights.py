"""Start from weights that others trained: checkpoints of this project, of BANIS, of MedNeXt, or any state dict.

Files are read with `weights_only=True`, which runs no code of theirs. BANIS keeps counters and scores in its
checkpoints; the few types that these are of are allowed, no other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.train_optimizer import InitialWeights
from connectomake.errors import MissingDataError, ModelError
from connectomake.models.checkpoint import FORMAT, load_tensors
from connectomake.models.network import Network

log = logging.getLogger(__name__)

COMPILED = "_orig_mod."  # torch.compile puts it into every name
SHOWN = 20
_SCALAR = np.float32(0).__reduce__()[0]


def _read_as_dict(default: object = None) -> dict[Any, Any]:
    """Stand in for `defaultdict`, which PyTorch's reader makes but cannot fill."""
    return {}


SAFE: list[Any] = [
    (_read_as_dict, "collections.defaultdict"),
    *((kind, f"builtins.{kind.__name__}") for kind in (dict, list, int, float)),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float16", "float32", "float64", "int32", "int64", "bool")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # before and since numpy 2
]

State = dict[str, torch.Tensor]


def load_initial_weights(network: Network, cfg: InitialWeights) -> None:
    """Put the weights of a file into a network, in place.

    Parameters
    ----------
    network
        Its weights are replaced, but for those that `cfg.skip` names.
    cfg
        The file, and how its names are to be read.

    Raises
    ------
    MissingDataError
        The file does not exist.
    ModelError
        The file holds no weights, or not those of this network: all names that are missing, left over, or of another
        shape are listed.
    """
    state = read_state(Path(cfg.path), cfg.prefix)
    own = network.state_dict()
    if not any(name.startswith("body.") for name in state):
        state = network.body.convert_state(state)
    state = {name: value for name, value in state.items() if not name.startswith(cfg.skip)}
    if cfg.grow_kernels:
        state = grow_kernels(state, own)
    _check(state, own, cfg)
    network.load_state_dict(state, strict=False)  # what is not in `state` was named by `skip`
    log.info("%d of %d tensors start from %s", len(state), len(own), cfg.path)


def read_state(path: Path, prefix: str = "") -> State:
    """Read the weights in a file.

    Parameters
    ----------
    path
        A checkpoint of this project, one of Lightning (weights under ``state_dict``) or MONAI (``model``), or a bare
        state dict.
    prefix
        What the names of the weights begin with; it is cut off, and names without it are left out. What
        `torch.compile` puts into names goes too.

    Returns
    -------
    dict
        Name -> tensor.

    Raises
    ------
    MissingDataError
        The file does not exist.
    ModelError
        It holds no weights, or none with this prefix.
    """
    if not path.is_file():
        raise MissingDataError(f"no weights {path}", hint="see train.initial_weights.path")
    with torch.serialization.safe_globals(SAFE):
        content = load_tensors(path)
    if isinstance(content, Mapping):
        ours = content.get("format") == FORMAT
        content = content["weights"] if ours else content.get("state_dict", content.get("model", content))
    tensors = _only_tensors(content)
    if not tensors:
        raise ModelError(f"{path} holds no weights", expected="names and tensors, or these under state_dict")
    prefix = prefix.replace(COMPILED, "")
    plain = {name.replace(COMPILED, ""): value for name, value in tensors.items()}
    state = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
    if not state:
        first = sorted({name.partition(".")[0] + "." for name in plain})
        raise ModelError(f"no weights in {path} have the prefix {prefix!r}", hint=nearest(prefix, first, "prefixes"))
    return state


def grow_kernels(state: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> State:
    """Stretch kernels to those of another network: UpKern of Roy et al. 2023.

    Parameters
    ----------
    state
        Name -> tensor.
    like
        Name -> tensor of the network that is to take them. Where it has the same channels but other sides, the kernel
        is interpolated linearly along each axis; nothing is rescaled, since norms follow.

    Returns
    -------
    dict
        Name -> tensor.
    """
    return {name: _grow(value, like[name].shape) if name in like else value for name, value in state.items()}


def _grow(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if value.ndim != len(shape) or value.ndim < 4 or value.shape == shape or value.shape[:2] != shape[:2]:
        return value
    mode = "trilinear" if value.ndim == 5 else "bilinear"
    return functional.interpolate(value.float(), shape[2:], mode=mode, align_corners=False).to(value.dtype)


def _only_tensors(content: Any) -> State:
    held = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in held if isinstance(value, torch.Tensor)}


def _check(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], cfg: InitialWeights) -> None:
    """Compare names and shapes with those of the network, and list what differs."""
    wanted = [name for name in own if not name.startswith(cfg.skip)]
    problems = {
        "missing": [name for name in wanted if name not in state],
        "left over": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in wanted
            if name in state and state[name].shape != own[name].shape
        ],
    }
    if any(problems.values()):
        told = [f"{len(names)} {what}: {_shorten(names)}" for what, names in problems.items() if names]
        raise ModelError(
            f"the weights in {cfg.path} are not those of this network; {'; '.join(told)}",
            hint="see initial_weights.prefix, .skip and .grow_kernels",
        )


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
