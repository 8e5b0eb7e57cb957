"""Turn what a network says of each class of a crop into labels on the crop's own voxels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.submit import SubmitConfig
from connectomake.errors import ResumeMismatchError
from connectomake.files import explain_write_failure
from connectomake.geometry import BlockGrid, Box
from connectomake.ledger import Ledger, job_name
from connectomake.log import progress
from connectomake.submit.arrays import create_array, measure_content, read_chunks, smallest_type
from connectomake.submit.class_grid import Held, choose_part, cut_box, hull_of
from connectomake.submit.crop_plan import CropPlan, plan_crop, remove_folder, threshold_of
from connectomake.submit.objects import find_objects
from connectomake.volumes.decoded_crop import DecodedClass, DecodedCrop

log = logging.getLogger(__name__)

JOB = job_name(0, 1)
MOST_MASK_BYTES = 2**28


def decode_crop(
    affinities: Path, volume_json: Path, cfg: SubmitConfig, *, out: Path, threads: int = 1, code: str = ""
) -> None:
    """Write the labels of every class of a crop, and what they are, last.

    First the probabilities of all classes are cut at their thresholds, block by block, since a block of the prediction
    holds all classes. Then the objects of one class after the other are found. Killed at any moment and begun again,
    what was finished is not done again, and the bytes are the same; what was begun with other settings, or of another
    prediction, is removed.

    Parameters
    ----------
    affinities
        A finished store of predictions: (C, Z, Y, X), channels called after the classes, uint8 (probability * 255) or
        floats.
    volume_json
        The crop, ingested: its voxels and the classes to submit.
    cfg
        The settings of the stage.
    out
        crop.json; the arrays go into the folder ``cropN`` beside it, ``parts`` is used meanwhile. A class without a
        channel becomes all 0.
    threads
        The labels do not depend on it.
    code
        A hash of the code that decodes: what other code left behind is not used.

    Raises
    ------
    DataError
        The volume is no crop, the prediction does not cover it or is no probability, or the disk refuses.

    Notes
    -----
    `objects.estimate_mb` says what memory it takes.
    """
    plan = plan_crop(affinities, volume_json, cfg, out, code=code)
    out.unlink(missing_ok=True)
    missing = [name for name in plan.classes if name not in plan.channels]
    if missing:
        of_all = f"{len(missing)} of {len(plan.classes)}"
        log.warning("%s: %s classes were not predicted and are empty: %s", plan.crop, of_all, ", ".join(missing))
    ledger = _open_ledger(plan)
    _cut_blocks(plan, ledger, threads)
    for number, name in enumerate(plan.instances, len(plan.blocks)):
        if number not in ledger.done():
            _label_objects(plan, name, threads)
            ledger.mark(number, JOB)
        remove_folder(plan.mask_of(name))
    with explain_write_failure(plan.folder):
        for left_over in plan.folder.rglob("*.partial"):  # of a run that was killed while it wrote a chunk
            left_over.unlink(missing_ok=True)
    _describe(plan, out, ledger.settings_hash).write()


def _open_ledger(plan: CropPlan) -> Ledger:
    """Open the ledger of a crop; where it does not belong to what lies there, start from nothing."""
    if not (plan.parts / "ledger").exists() or not plan.folder.exists():
        plan.remove_all()
    try:
        ledger = Ledger(plan.parts / "ledger", plan.settings)
    except ResumeMismatchError as error:
        log.warning("%s is decoded anew: %s", plan.folder, error)
        plan.remove_all()
        ledger = Ledger(plan.parts / "ledger", plan.settings)
    with explain_write_failure(plan.folder):
        plan.folder.mkdir(exist_ok=True)
    return ledger


def _cut_blocks(plan: CropPlan, ledger: Ledger, threads: int) -> None:
    """Cut the probabilities of all classes at their thresholds, block by block."""
    done = ledger.done()
    todo = [number for number in range(len(plan.blocks)) if number not in done]
    if not todo:
        return
    arrays, names = plan.create_arrays(), list(plan.channels)
    at_a_time = max(1, MOST_MASK_BYTES // plan.blocks[0].size)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for number in progress(todo, len(todo)):
            for first in range(0, len(names), at_a_time):
                some = names[first : first + at_a_time]
                masks = _cut_block(plan, plan.blocks[number], some, pool)
                list(pool.map(_write, [arrays[name] for name in some], repeat(plan.blocks[number]), masks))
            ledger.mark(number, JOB)


def _cut_block(plan: CropPlan, block: Box, names: Sequence[str], pool: ThreadPoolExecutor) -> NDArray[np.uint8]:
    """Return the masks of some classes in a block: (classes, Z, Y, X)."""
    channels = [plan.channels[name] for name in names]
    thresholds = [threshold_of(name, plan.cfg) for name in names]
    run = slice(min(channels), max(channels) + 1)
    found = np.zeros((len(names), *block.shape_zyx), np.uint8)
    for part in BlockGrid(block.shape_zyx, choose_part(plan.prediction, plan.grid, block, run.stop - run.start)):
        box = part.shift(block.start_zyx)
        hull = hull_of(plan.prediction, plan.grid, box)
        values = plan.prediction.read(hull, run)
        held = [Held(values[channel - run.start], hull, plan.prediction) for channel in channels]
        for mask, cut in zip(found, pool.map(cut_box, held, repeat(plan.grid), repeat(box), thresholds), strict=True):
            mask[part.slices] = cut
    return found


def _label_objects(plan: CropPlan, name: str, threads: int) -> None:
    """Find the objects of a class in its mask, and write them."""
    mask = np.zeros(plan.grid.shape_zyx, np.uint8)
    for box, values in read_chunks(plan.mask_of(name)):
        mask[box.slices] = values
    labels, count = find_objects(mask, plan.grid.voxel_size_zyx_nm, plan.cfg.objects_of(name), threads=threads)
    log.info("%s: %d objects of %s", plan.crop, count, name)
    remove_folder(plan.array_of(name))
    array = create_array(plan.array_of(name), plan.grid, smallest_type(count), plan.cfg.chunk_zyx_vx)
    for block in plan.blocks:
        _write(array, block, labels[block.slices])


def _write(array: Any, box: Box, values: NDArray) -> None:
    if values.any():
        array[box.slices] = values.astype(array.dtype, copy=False)


def _describe(plan: CropPlan, out: Path, settings_hash: str) -> DecodedCrop:
    classes = {name: _describe_class(plan, name) for name in plan.classes}
    return DecodedCrop(out, plan.crop, plan.dataset, plan.folder.name, plan.grid, classes, settings_hash)


def _describe_class(plan: CropPlan, name: str) -> DecodedClass:
    content = measure_content(plan.array_of(name))
    told_apart = name in plan.cfg.instance_classes
    return DecodedClass(
        is_predicted=name in plan.channels,
        has_instances=told_apart,
        dtype=smallest_type(content.largest).name,
        voxels=content.voxels,
        objects=content.largest if told_apart else None,
    )
