"""Measure what a network sees without computing anything: its layers run on tensors that hold shapes only.

Each tensor carries along how many voxels one of its elements depends on. Convolutions, pools and upsampling widen
that by their kernels; where tensors meet, the widest counts. The voxels of one coarse cell see differently much: the
number told is the most that any can see, or a little more. Norms, gates and other means over the whole patch are left
aside; attention sees the whole patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from connectomake.geometry import Triple

CONVOLUTIONS = {"conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose2d", "conv_transpose3d"}
POOLS = {"max_pool2d", "max_pool3d", "avg_pool2d", "avg_pool3d"}
ATTENTION = {"softmax", "scaled_dot_product_attention"}
WHOLE = float("inf")


class Trace(NamedTuple):
    """The scales of a network's outputs, finest first, and how many voxels an output voxel sees at most; None = all."""

    scales_zyx: tuple[Triple, ...]
    field_zyx: Triple | None


class Seen(NamedTuple):
    """Per axis: voxels from one element to the next, and voxels that an element depends on."""

    step: tuple[float, ...]
    field: tuple[float, ...]


class _Traced(torch.Tensor):
    """A tensor that knows what its elements depend on."""

    seen: Seen

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        result = super().__torch_function__(func, types, args, given)
        sources = [leaf.seen for leaf in tree_leaves([args, given]) if hasattr(leaf, "seen")]
        if sources:
            seen = _follow(getattr(func, "__name__", ""), args, given, sources, result)
            for leaf in tree_leaves(result):
                if isinstance(leaf, _Traced):
                    leaf.seen = seen
        return result


def trace_body(network: Any) -> Trace:
    """Run a copy of a network, without memory for weights, on its smallest patch.

    Parameters
    ----------
    network
        A `connectomake.models.network.Network`; it stays as it is.

    Returns
    -------
    Trace
        The scales and the receptive field of its body and heads.
    """
    twin = deepcopy(network).to("meta").eval()
    factor, axes = network.cfg.stem_factor, network.cfg.dimensions
    patch = torch.empty(1, network.in_channels, *network.cfg.smallest_patch_zyx, device="meta")
    volume = twin.prepare(patch).as_subclass(_Traced)
    volume.seen = Seen((factor,) * axes, (factor,) * axes)
    with torch.no_grad():
        features = twin.body(volume)
        fields = [head[0](features[0]).seen.field for head in twin.heads]
    whole = [tuple(a // b for a, b in zip(volume.shape[2:], x.shape[2:], strict=True)) for x in features]
    field = tuple(max(axis) for axis in zip(*fields, strict=True))
    return Trace(tuple(_as_zyx(scale) for scale in whole), None if WHOLE in field else _as_zyx(field))


def _follow(name: str, args: Sequence[Any], given: Mapping[str, Any], sources: list[Seen], result: Any) -> Seen:
    """Return what the elements of a function's result depend on."""
    step = sources[0].step
    field = tuple(max(axis) for axis in zip(*(source.field for source in sources), strict=True))
    if name in ATTENTION:
        return Seen(step, (WHOLE,) * len(step))
    if name in CONVOLUTIONS:
        stride: Sequence[float] = _spread(_argument(args, given, 3, "stride", 1), step)
        kernel, dilation = args[1].shape[2:], _spread(_argument(args, given, 5, "dilation", 1), step)
        wider = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    elif name in POOLS:
        kernel = _spread(_argument(args, given, 1, "kernel_size", None), step)
        stride = _spread(_argument(args, given, 2, "stride", None) or kernel, step)
        wider = [k - 1 for k in kernel]
    elif name in TRANSPOSED:
        stride = [1 / times for times in _spread(_argument(args, given, 3, "stride", 1), step)]
        wider = [k - 1 for k in args[1].shape[2:]]
    elif name == "interpolate":
        stride = [a / b for a, b in zip(args[0].shape[2:], result.shape[2:], strict=True)]
        reach = 1 if given.get("mode", "nearest") == "nearest" else 2  # cells that a voxel between them is made of
        wider = [0 if s == 1 else round(reach / s) - 1 for s in stride]
    else:
        return Seen(step, field)
    after = tuple(a * s for a, s in zip(step, stride, strict=True))
    # A kernel counts the finer elements: those it takes on the way down, those it gives on the way up.
    return Seen(after, tuple(f + w * min(a, b) for f, w, a, b in zip(field, wider, step, after, strict=True)))


def _argument(args: Sequence[Any], given: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else given.get(name, default)


def _spread(value: Any, like: Sequence[float]) -> list[int]:
    """Return one number per axis."""
    return [value] * len(like) if isinstance(value, int) else list(value)


def _as_zyx(values: Sequence[float]) -> Triple:
    """Turn what an image has per axis into z, y, x."""
    z, y, x = (1,) * (3 - len(values)) + tuple(int(v) for v in values)
    return z, y, x
