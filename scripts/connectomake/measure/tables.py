"""Write tables of numbers as tab-separated text, and numbers as JSON that every reader takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.volumes.files import replacing


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write columns of equal length as TSV with a header, whole or not at all; None and NaN become empty fields.

    Floats are written so that reading gives the same float back.
    """
    lines = ["\t".join(columns)]
    plain = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
    lines += ["\t".join(_field(value) for value in row) for row in zip(*plain, strict=True)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def finite_or_none(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Replace floats that JSON has no word for (NaN, infinities) by None."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in numbers.items()}


def _field(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
