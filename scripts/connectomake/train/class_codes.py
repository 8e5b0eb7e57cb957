"""Classes by name: the labels of all crops of a training as numbers that mean the same in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.errors import ConfigError, DataError
from connectomake.split.table import SplitRow
from connectomake.targets.combinations import Combinations
from connectomake.volumes.ingested import IngestedVolume

if TYPE_CHECKING:
    from connectomake.ingest.crops.codes import Codes

LEARNT = ("train", "validate")


@dataclass(frozen=True)
class Numbering:
    """What codes of crops become.

    Parameters
    ----------
    combinations
        Of the classes that are learnt: what the numbers mean.
    by_volume
        For each volume.json the number of code 0, 1, 2, ..., (K + 1,) int32. Code 0 is nowhere but in chunks that were
        never written, and unknown.
    """

    combinations: Combinations
    by_volume: Mapping[Path, np.ndarray]


def number_codes(
    rows: Sequence[SplitRow], targets: TargetsConfig | None, volumes: Mapping[Path, IngestedVolume]
) -> Numbering | None:
    """Join what the codes of all volumes that a training reads mean.

    Parameters
    ----------
    rows
        The split. Volumes to train and to validate on are numbered together, whichever of them is opened.
    targets
        What is learnt; None = nothing that needs labels by class.
    volumes
        Those that are trained on or validate, by the path of their volume.json.

    Returns
    -------
    Numbering or None
        None where the labels are no classes by name.

    Raises
    ------
    ConfigError
        A volume does not have one of the classes asked for.
    DataError
        Classes by name are learnt from volumes that have none, or something else from volumes that have.
    """
    named = targets.classes.named if targets is not None and targets.classes is not None else ()
    names = {row.volume_json: row.volume for row in rows if row.role in LEARNT and row.share != 0}
    found = {path: _read_codes(volumes[path]) for path in names}
    for path, codes in found.items():
        if codes is not None:
            _check_targets(names[path], targets, named)
            _check_names(named, codes.classes)
        elif named:
            raise DataError(
                f"train.targets.classes.named: the labels of volume {names[path]} do not say which classes they hold",
                expected="crops of a challenge (`cellmap` in the data config)",
                hint="name classes by the values of these labels in train.targets.classes.labels",
            )
    states = {path: _choose(codes, named) for path, codes in found.items() if codes is not None}
    if not states:
        return None
    combinations = Combinations.of(named, np.concatenate(list(states.values())))
    numbers = {path: np.append(np.int32(UNKNOWN), combinations.number(own)) for path, own in states.items()}
    return Numbering(combinations, numbers)


def _read_codes(volume: IngestedVolume) -> Codes | None:
    """Read what the labels of a volume mean; None where they are no classes by name."""
    if volume.crop is None:
        return None
    from connectomake.ingest.crops.codes import read_codes  # whose kernels only those need who train on crops

    return read_codes(volume)


def _choose(codes: Codes, named: Sequence[str]) -> np.ndarray:
    """Return the states of the classes that are learnt, in their order: (K, N)."""
    return codes.states[:, [codes.classes.index(name) for name in named]]


def _check_targets(volume: str, targets: TargetsConfig | None, named: Sequence[str]) -> None:
    if not named or (targets is not None and targets.names != ["classes"]):
        raise DataError(
            f"the labels of volume {volume} tell classes, and no objects",
            expected="train.targets.classes.named, and no other target",
            got=", ".join(targets.names) if targets is not None else "a reader of objects",
            hint="set train.targets: {affinity: null, classes: {named: [...]}}",
        )


def _check_names(named: Iterable[str], classes: Sequence[str]) -> None:
    for name in named:
        if name not in classes:
            hint = nearest(name, classes, "classes in cellmap.classes of the data config")
            raise ConfigError(f"train.targets.classes.named: the data have no class {name!r}", hint=hint)
