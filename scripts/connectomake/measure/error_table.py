"""The columns of errors.tsv, the same whether errors were found along skeletons or by voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from connectomake.geometry import voxel_at

Table = dict[str, np.ndarray]

KINDS = ("split", "merge", "missing")
IDS = ("truth_a", "truth_b", "segment_a", "segment_b")
COLUMNS = (
    *("kind", "rank", "z_nm", "y_nm", "x_nm", "z_vx", "y_vx", "x_vx"),
    *IDS,
    *("lost_nm", "lost_vx"),
)


@dataclass(frozen=True)
class Ranked:
    """Errors of one kind, worst first: (M,) arrays, and (M, 3) positions in nm."""

    position_zyx_nm: np.ndarray
    truth_a: np.ndarray
    truth_b: np.ndarray
    segment_a: np.ndarray
    segment_b: np.ndarray
    lost: np.ndarray


def error_table(
    found: dict[str, Ranked],
    unit: Literal["nm", "vx"],
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
) -> Table:
    """Put ranked errors, by kind, into the columns of errors.tsv; `unit` says what `lost` counts."""
    kinds = list(found.values())
    position = np.concatenate([kind.position_zyx_nm for kind in kinds])
    table = {
        "kind": np.repeat(list(found), [len(kind.lost) for kind in kinds]),
        "rank": np.concatenate([np.arange(1, len(kind.lost) + 1) for kind in kinds]),
    }
    table |= {f"{axis}_nm": position[:, k] for k, axis in enumerate("zyx")}
    table |= voxels_of(table, voxel_size_zyx_nm, offset_zyx_nm)
    for name in IDS:
        table[name] = np.concatenate([getattr(kind, name) for kind in kinds])
    lost = {unit: np.concatenate([kind.lost for kind in kinds])}
    return table | {f"lost_{u}": lost.get(u, np.full(len(position), np.nan)) for u in ("nm", "vx")}


def voxels_of(table: Table, voxel_size_zyx_nm: Sequence[float], offset_zyx_nm: Sequence[float]) -> Table:
    """Return the columns `z_vx` to `x_vx` of errors, in voxels of this size and place."""
    position = np.stack([table[f"{axis}_nm"] for axis in "zyx"], axis=1)
    voxel = voxel_at(position, voxel_size_zyx_nm, offset_zyx_nm)
    return {f"{axis}_vx": voxel[:, k] for k, axis in enumerate("zyx")}
