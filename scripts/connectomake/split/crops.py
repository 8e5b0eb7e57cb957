"""Divide annotated crops between training and validation, class by class, and write the challenge's `datasplit.csv`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectomake.cellmap.datasplit import SplitEntry, write_datasplit
from connectomake.cellmap.manifest import ManifestRow, write_manifest
from connectomake.config.settings.split import SplitConfig
from connectomake.errors import DataError
from connectomake.files import replacing
from connectomake.split.by_class import choose_validation
from connectomake.split.class_voxels import AnnotatedCrop, read_crop, write_class_voxels
from connectomake.volumes.ingested import IngestedVolume

log = logging.getLogger(__name__)


def split_crops(
    volume_jsons: Sequence[Path], cfg: SplitConfig, *, datasplit: Path, table: Path, manifest: Path
) -> list[AnnotatedCrop]:
    """Choose the crops to validate on, so that each class has its share, and write which are which.

    Roles that a split of the user's gives are kept. Crops in which no class asked for is annotated are left out.

    Parameters
    ----------
    volume_jsons
        One `volume.json` for each crop, in any order; those not to be learnt from are passed over.
    cfg
        The share of validation, the seed, and whether crops or datasets are kept together.
    datasplit
        The split to write, in the challenge's form of five columns.
    table
        The table to write of the voxels of each class in each crop.
    manifest
        The list to write of what is to be segmented in validation. It holds its header alone where nothing validates,
        and `read_manifest` refuses it then.

    Returns
    -------
    list of AnnotatedCrop
        With their roles, by dataset and crop.

    Raises
    ------
    DataError
        A volume is no crop, a crop comes twice, or none has one of the classes.
    """
    crops = _read_crops(volume_jsons)
    if any(crop.role == "validate" for crop in crops):
        log.info("the roles of crops are those of the split that the data config names")
    else:
        crops = _choose(crops, cfg)
    _tell_shares(crops, cfg.unit)
    with replacing(datasplit) as temporary:
        write_datasplit(temporary, [SplitEntry(crop.role, crop.raw, crop.labels, crop.classes) for crop in crops])
    kept = [crop for crop in crops if crop.role == "validate"]
    with replacing(manifest) as temporary:
        rows = [ManifestRow(crop.crop, crop.dataset, name, crop.grid) for crop in kept for name in crop.classes]
        write_manifest(temporary, rows)
    write_class_voxels(table, crops)
    return crops


def _read_crops(volume_jsons: Sequence[Path]) -> list[AnnotatedCrop]:
    """Read the crops that can be learnt from, in an order that is theirs."""
    read = [crop for path in volume_jsons if (crop := read_crop(IngestedVolume.read(path))) is not None]
    repeated = [name for name, count in Counter(crop.crop for crop in read).items() if count > 1]
    if repeated:
        names = ", ".join(crop.volume for crop in read if crop.crop == repeated[0])
        hint = (
            "the challenge numbers crops through all datasets: rename one, or leave it out by data.cellmap.skip_crops"
        )
        raise DataError(f"several volumes are {repeated[0]}: {names}", hint=hint)
    bare = [crop.volume for crop in read if not crop.classes]
    if bare:
        log.info("left out, since none of the classes asked for is annotated in them: %s", ", ".join(bare))
    crops = [crop for crop in read if crop.classes]
    if not crops:
        raise DataError(
            "no crop to learn from: none of the classes asked for is annotated",
            hint="ask for others in the data config",
        )
    return sorted(crops, key=lambda crop: (crop.dataset, len(crop.crop), crop.crop))


def _choose(crops: Sequence[AnnotatedCrop], cfg: SplitConfig) -> list[AnnotatedCrop]:
    """Return crops their roles."""
    units, present = _gather(crops, cfg.unit)
    chosen = choose_validation(present, cfg.validate_fraction, cfg.seed)
    validates = {unit for unit, is_chosen in zip(units, chosen, strict=True) if is_chosen}
    return [replace(crop, role="validate" if _unit_of(crop, cfg.unit) in validates else "train") for crop in crops]


def _gather(
    crops: Sequence[AnnotatedCrop], unit: str, classes: Sequence[str] | None = None
) -> tuple[list[str], np.ndarray]:
    """Return the names of units, and the (units, classes) voxels that classes, by default all, have in them."""
    units = list(dict.fromkeys(_unit_of(crop, unit) for crop in crops))
    classes = _classes_of(crops) if classes is None else classes
    present = np.zeros((len(units), len(classes)))
    for crop in crops:
        place = units.index(_unit_of(crop, unit))
        present[place] += [crop.voxels[name]["present"] if name in crop.voxels else 0 for name in classes]
    return units, present


def _tell_shares(crops: Sequence[AnnotatedCrop], unit: str) -> None:
    """Log what share of each class validates, and which classes lack training or validation, and why."""
    present = _gather(crops, unit)[1]
    kept = _gather([crop for crop in crops if crop.role == "validate"], unit, _classes_of(crops))[1].sum(0)
    lacks: dict[str, list[str]] = {}
    for name, validate, total, holders in zip(
        _classes_of(crops), kept, present.sum(0), (present > 0).sum(0), strict=True
    ):
        share = f" ({validate / total:.1%})" if total else ""
        log.info("%s: %s of %s voxels validate%s", name, f"{validate:,.0f}", f"{total:,.0f}", share)
        if validate in (0, total):
            what = "are not validated" if total > validate else "are not trained on" if total else "are nowhere"
            why = f", since one {unit} alone has them" if holders == 1 else ""
            lacks.setdefault(what + why, []).append(name)
    for reason, names in lacks.items():
        log.warning("classes that %s: %s", reason, ", ".join(names))
    if not any(crop.role == "validate" for crop in crops):
        log.warning("nothing validates: each %s alone has some class, or has none", unit)


def _classes_of(crops: Sequence[AnnotatedCrop]) -> list[str]:
    return list(dict.fromkeys(name for crop in crops for name in crop.voxels))


def _unit_of(crop: AnnotatedCrop, unit: str) -> str:
    return crop.dataset if unit == "dataset" else crop.labels
