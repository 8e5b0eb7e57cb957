"""The table of a generator's numbers, as TSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal

from connectomake.files import write_json
from connectomake.tables import QUOTED, write_table

ALL = "*"  # in the columns of class and shape


@dataclass(frozen=True)
class Row:
    """One number.

    Parameters
    ----------
    class_name, shape_zyx_vx
        What it is of; `*` = all. Volumes are compared with those of their own shape.
    metric
        Its name.
    value
        It; NaN where there are too few volumes.
    n
        Volumes, or pairs of them, that it is of.
    reference
        The same number of real volumes: what a perfect generator would reach. NaN where there is none.
    n_reference
        Volumes, or pairs of them, that the reference is of.
    features
        What it is computed on: the network, or the settings of a metric that has some.
    better
        Whether high or low is good; none = near the reference is good.
    """

    class_name: str
    shape_zyx_vx: str
    metric: str
    value: float
    n: int
    reference: float = nan
    n_reference: int = 0
    features: str = "voxels"
    better: Literal["higher", "lower", "none"] = "none"

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data; None for NaN."""
        plain = {"class" if key == "class_name" else key: value for key, value in asdict(self).items()}
        return plain | {key: plain[key] if isfinite(plain[key]) else None for key in ("value", "reference")}


def write_rows(table: Path, numbers: Path, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Write rows, atomically.

    Parameters
    ----------
    table
        metrics.tsv: a row each, empty where there is no number.
    numbers
        metrics.json: `about`, and the same rows as ``rows``.
    rows
        The numbers.
    about
        What else is to be known of them, plain data.
    """
    write_table(table, _columns(), ([row.as_plain()[name] for name in _columns()] for row in rows), QUOTED)
    write_json(numbers, about | {"rows": [row.as_plain() for row in rows]})


def _columns() -> list[str]:
    return ["class" if field.name == "class_name" else field.name for field in fields(Row)]
