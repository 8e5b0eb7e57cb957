"""Divide volumes among learning, choosing and testing. No voxel ever has two roles."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import BlockGrid, Box, to_triple
from connectomake.split.crop_roles import take_roles
from connectomake.split.leaks import refuse_leaks
from connectomake.split.table import ROLES, SplitRow, check_shares, write_split
from connectomake.volumes.ingested import IngestedVolume

log = logging.getLogger(__name__)


def make_datasplit(
    volume_jsons: Sequence[Path],
    cfg: SplitConfig,
    out: Path,
    data: DataConfig | None = None,
    datasplit: Path | None = None,
) -> list[SplitRow]:
    """Write the table that says which box of which volume has which role.

    Parameters
    ----------
    volume_jsons
        One `volume.json` for each ingested volume.
    cfg
        How to divide.
    out
        The table to write.
    data
        Says of which source each volume is, and how sources are mixed; by default nothing is mixed.
    datasplit
        The `datasplit.csv` that says which crops are trained on and which validate; for the method classes alone.

    Returns
    -------
    list of SplitRow
        What was written.

    Raises
    ------
    DataError
        Nothing to train on, a name twice, a volume too small to be divided, crops and `datasplit` that are not the
        same, or a generated volume whose generator has learnt from what is held out.
    ConfigError
        Volumes shall be divided although some have the role validate, or `datasplit` and the method do not go together.
    """
    volumes = {path: IngestedVolume.read(path) for path in volume_jsons}
    rows = [_row_of(volumes[path]) for path in volume_jsons]
    repeated = [name for name, count in Counter(row.volume for row in rows).items() if count > 1]
    if repeated:
        raise DataError(f"two volumes are called {repeated[0]!r}", hint="give each volume its own name")
    if (cfg.method == "classes") != (datasplit is not None):
        raise ConfigError(f"split.method {cfg.method}", expected="datasplit.csv with classes, and only with it")
    if datasplit is not None:
        rows = take_roles(rows, volumes, datasplit)
    rows = [_mix(row, data) for row in rows]
    if not any(row.role == "train" for row in rows):
        raise DataError(
            "no volume to train on", expected="role: train", got=", ".join(f"{r.volume}: {r.role}" for r in rows)
        )
    check_shares(rows, "the data config")
    if cfg.method in CUTS:
        rows = _divide(rows, volumes, cfg)
    refuse_leaks(rows, volumes)
    for role in ROLES:
        boxes = [row.box for row in rows if row.role == role]
        log.info("%s: %d boxes, %s voxels", role, len(boxes), f"{sum(box.size for box in boxes):,}")
    write_split(out, rows)
    return rows


def _row_of(volume: IngestedVolume) -> SplitRow:
    """Return the row of a whole volume."""
    box = Box.of_shape(volume.shape_zyx)
    if box.size == 0:
        raise DataError(f"volume {volume.name!r} has no voxels", got=list(volume.shape_zyx))
    return SplitRow(volume.name, volume.role, volume.path, box, volume.weight)


def _mix(row: SplitRow, data: DataConfig | None) -> SplitRow:
    """Return of which source a volume is and, where it is trained on and sources are mixed, what share that has.

    Raises
    ------
    DataError
        The data config does not know the volume.
    """
    if data is None:
        return row
    if row.volume not in data.volumes:
        raise DataError(
            f"the data config has no volume {row.volume!r}",
            hint=nearest(row.volume, data.volumes),
        )
    source = data.volumes[row.volume].source
    return replace(row, source=source, share=data.mix.get(source) if row.role == "train" else None)


def _divide(rows: Sequence[SplitRow], volumes: Mapping[Path, IngestedVolume], cfg: SplitConfig) -> list[SplitRow]:
    """Keep a part of every train volume for validation.

    A volume of a source without a share is left alone, and a generated one: what is real is validated on.
    """
    taken = [row.volume for row in rows if row.role == "validate"]
    if taken:
        raise ConfigError(
            f"split.method {cfg.method} takes its own voxels for validation, but {taken[0]!r} has the role validate",
            hint="set split.method to role, or give that volume another role",
        )
    rng = np.random.default_rng(cfg.seed)
    divided = []
    for row in rows:
        if row.role != "train" or row.share == 0 or volumes[row.volume_json].is_generated:
            divided.append(row)
            continue
        train, validate = CUTS[cfg.method](row.box, cfg, rng)
        if not train or not validate:
            raise DataError(
                f"volume {row.volume!r} is too small for split.method {cfg.method}",
                expected="room for training and for validation",
                got=f"{row.box.shape_zyx} voxels",
                hint="make split.block_zyx_vx smaller, or name a validate volume",
            )
        divided += [replace(row, box=box) for box in train]
        divided += [replace(row, box=box, role="validate", share=None) for box in validate]
    return divided


def _cut_slab(box: Box, cfg: SplitConfig, _: np.random.Generator) -> tuple[list[Box], list[Box]]:
    """Cut a box in two across an axis; the far part is for validation."""
    axis = "zyx".index(cfg.axis)
    side = box.shape_zyx[axis]
    border = box.start_zyx[axis] + round(side * (1 - cfg.validate_fraction))
    near_stop, far_start = list(box.stop_zyx), list(box.start_zyx)
    near_stop[axis] = far_start[axis] = border
    near, far = Box(box.start_zyx, to_triple(near_stop)), Box(to_triple(far_start), box.stop_zyx)
    return [near] if near.size else [], [far] if far.size else []


def _cut_blocks(box: Box, cfg: SplitConfig, rng: np.random.Generator) -> tuple[list[Box], list[Box]]:
    """Draw blocks of a grid for validation; what is left is put together to boxes as large as they get.

    The grid's blocks are at least as large as asked for: what remains at the end of an axis is shared among them.
    """
    counts = [max(1, side // block) for side, block in zip(box.shape_zyx, cfg.block_zyx_vx, strict=True)]
    edges = [np.linspace(a, b, n + 1).astype(int) for a, b, n in zip(box.start_zyx, box.stop_zyx, counts, strict=True)]
    cells = BlockGrid(to_triple(counts), (1, 1, 1))
    number = min(max(1, round(len(cells) * cfg.validate_fraction)), len(cells) - 1)
    drawn = set(rng.permutation(len(cells))[:number].tolist())

    def to_voxels(cell: Box) -> Box:
        corners = [[int(edges[a][place[a]]) for a in range(3)] for place in (cell.start_zyx, cell.stop_zyx)]
        return Box(to_triple(corners[0]), to_triple(corners[1]))

    validate = [to_voxels(cells[i]) for i in sorted(drawn)]
    return [to_voxels(cell) for cell in join_boxes(cells[i] for i in range(len(cells)) if i not in drawn)], validate


CUTS: dict[str, Callable[[Box, SplitConfig, np.random.Generator], tuple[list[Box], list[Box]]]] = {
    "slab": _cut_slab,
    "blocks": _cut_blocks,
}


def join_boxes(boxes: Iterable[Box]) -> list[Box]:
    """Join boxes that lie face to face and match, along x, then y, then z, so that patches fit in more places.

    Parameters
    ----------
    boxes
        Boxes without common voxels.

    Returns
    -------
    list of Box
        Fewer boxes, with the same voxels.
    """
    joined = list(boxes)
    for axis in (2, 1, 0):
        joined = _join_along(joined, axis)
    return joined


def _join_along(boxes: Sequence[Box], axis: int) -> list[Box]:
    def profile(box: Box) -> list[tuple[int, int]]:
        return [(box.start_zyx[a], box.stop_zyx[a]) for a in range(3) if a != axis]

    joined: list[Box] = []
    for box in sorted(boxes, key=lambda box: (profile(box), box.start_zyx[axis])):
        last = joined[-1] if joined else None
        if last is not None and profile(last) == profile(box) and last.stop_zyx[axis] == box.start_zyx[axis]:
            joined[-1] = Box(last.start_zyx, box.stop_zyx)
        else:
            joined.append(box)
    return joined
