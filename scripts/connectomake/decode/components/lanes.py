"""64 voxels at once: vectors that compiled code holds in variables.

Numba has no type for them, so this is one, with the few operations that decoding needs, and with those on words of 64
bits that hold one for each voxel. LLVM spreads a vector over whatever registers the machine has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

_COUNT = 64


class Lanes(types.Type):
    """64 unsigned integers of one type, one for each voxel."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(kind.dtype.bitwidth), _COUNT))


def _pointer(context: Any, builder: Any, line: Any, array: Any, at: Any) -> Any:
    kind = ir.VectorType(context.get_value_type(line.dtype), _COUNT)
    start = builder.gep(make_array(line)(context, builder, array).data, [at])
    return builder.bitcast(start, kind.as_pointer())


def _load(context: Any, builder: Any, line: Any, array: Any, at: Any) -> Any:
    return builder.load(_pointer(context, builder, line, array, at), align=line.dtype.bitwidth // 8)


def _comparison(builder: Any, line: Any) -> Any:
    return builder.icmp_signed if line.dtype.signed else builder.icmp_unsigned


def _spread(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, _COUNT)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), _COUNT), [0] * _COUNT))


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """Count the bits of a word."""
    return types.int64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Count the zeros below the lowest bit of a word."""
    return types.int64(types.uint64), lambda context, builder, signature, args: builder.cttz(args[0], cgutils.false_bit)


@intrinsic
def between(typingctx: Any, line: Any, at: Any, low: Any, high: Any) -> Any:
    """Return low < line[at + i] <= high as bit i of a word: one vector comparison where the machine has it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, compare = _load(context, builder, line, *args[:2]), _comparison(builder, line)
        inside = builder.and_(
            compare(">", values, _spread(builder, args[2])), compare("<=", values, _spread(builder, args[3]))
        )
        return builder.bitcast(inside, ir.IntType(_COUNT))

    return types.uint64(line, types.int64, line.dtype, line.dtype), emit


@intrinsic
def load(typingctx: Any, line: Any, at: Any) -> Any:
    """Return line[at : at + 64]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(context, builder, line, *args)

    return Lanes(line.dtype)(line, types.int64), emit


@intrinsic
def store(typingctx: Any, line: Any, at: Any, lanes: Any) -> Any:
    """Write line[at : at + 64]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, line, args[0], args[1]), align=line.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(line, types.int64, lanes), emit


@intrinsic
def lower(typingctx: Any, a: Any, b: Any) -> Any:
    """Return the smaller of a and b, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_unsigned("<", *args), *args)

    return a(a, b), emit


@intrinsic
def higher(typingctx: Any, a: Any, b: Any) -> Any:
    """Return the larger of a and b, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_unsigned(">", *args), *args)

    return a(a, b), emit


@intrinsic
def below(typingctx: Any, a: Any, b: Any) -> Any:
    """Return a < b, lane by lane, as the bits of a word."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_unsigned("<", *args), ir.IntType(_COUNT))

    return types.uint64(a, b), emit


@intrinsic
def above(typingctx: Any, a: Any, low: Any) -> Any:
    """Return a > low, low a number, lane by lane, as the bits of a word."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_unsigned(">", args[0], _spread(builder, args[1])), ir.IntType(_COUNT))

    return types.uint64(a, a.dtype), emit


@intrinsic
def rank(typingctx: Any, line: Any, at: Any, lows: Any, high: Any, levels: Any) -> Any:
    """Count the `lows` below each of line[at : at + 64], 0 for those above `high`; the type is that of `levels`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(context.get_value_type(levels.dtype), _COUNT)
        values, compare = _load(context, builder, line, *args[:2]), _comparison(builder, line)
        bounds = make_array(lows)(context, builder, args[2])
        count = cgutils.alloca_once_value(builder, ir.Constant(kind, None))
        with cgutils.for_range(builder, builder.extract_value(bounds.shape, 0)) as loop:
            low = _spread(builder, builder.load(builder.gep(bounds.data, [loop.index])))
            one = builder.zext(compare(">", values, low), kind)
            builder.store(builder.add(builder.load(count), one), count)
        inside = compare("<=", values, _spread(builder, args[3]))
        return builder.select(inside, builder.load(count), ir.Constant(kind, None))

    return Lanes(levels.dtype)(line, types.int64, lows, line.dtype, levels), emit
