"""A store of labels: what its attributes hold, read and written here alone.

Labels of other origin than the decode stage are measured too: of their attributes none is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectomake.volumes.contract import SCHEMA, Record, mark_version
from connectomake.volumes.prediction import Prediction, WorkingLevel
from connectomake.volumes.region import Region
from connectomake.volumes.store import finish_store, read_attributes

SCHEMA_VERSION = 1
AGAIN = "delete the store and decode again"


@dataclass(frozen=True)
class Segmentation:
    """What a store of labels holds.

    Parameters
    ----------
    decoder, threshold
        How it was decoded; None of labels of other origin.
    n_objects
        The largest id; of `semantic` labels the number of different ones.
    settings
        All settings of the decode stage that count, as plain data.
    checkpoint_hash
        Of the network that made the affinities; None where that is not known.
    region
        What was predicted, not placed yet (`Region.place_on`); None = all of the store.
    level
        On which voxels of the volume; None = on its own.
    plain
        All attributes as they are.
    """

    decoder: str | None = None
    threshold: float | None = None
    n_objects: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_hash: str | None = None
    region: Region | None = None
    level: WorkingLevel | None = None
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_prediction(
        cls, prediction: Prediction, *, decoder: str, threshold: float, n_objects: int, settings: Mapping[str, Any]
    ) -> Segmentation:
        """Describe labels that were decoded from a prediction: which part that covers is handed on."""
        passed_on: dict[str, Any] = {}
        if prediction.region is not None:
            passed_on["region"] = prediction.region.as_settings()
        if prediction.level is not None:
            passed_on["source"] = prediction.level.as_plain()
        plain = {
            "decoder": decoder,
            "threshold": threshold,
            "n_objects": n_objects,
            "settings": dict(settings),
            "checkpoint_hash": prediction.checkpoint_hash,
            **passed_on,
        }
        return cls.of_plain(plain, prediction.source)

    @classmethod
    def read(cls, store: Path) -> Segmentation:
        """Read the attributes of a finished store.

        Raises
        ------
        MissingDataError
            The store is not finished, or does not exist.
        DataError
            It was not written by Connectomake, is of a version that is not known, or an attribute is not what it
            should be.
        """
        return cls.of_plain(read_attributes(store), str(store))

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any], source: str) -> Segmentation:
        """Read the attributes of a store of labels.

        Raises
        ------
        DataError
            One is not what it should be.
        """
        record = Record(plain, source, AGAIN)
        record.check_version(SCHEMA_VERSION)
        region, level, settings = (record.optional(record.section, key) for key in ("region", "source", "settings"))
        return cls(
            decoder=record.optional(record.text, "decoder"),
            threshold=record.optional(record.number, "threshold"),
            n_objects=record.optional(record.whole, "n_objects"),
            settings={} if settings is None else dict(settings.values),
            checkpoint_hash=record.optional(record.text, "checkpoint_hash"),
            region=None if region is None else Region.of_record(region),
            level=None if level is None else WorkingLevel.of_record(level),
            plain={key: value for key, value in plain.items() if key != SCHEMA},
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """What becomes the attributes of the store."""
        return mark_version(self.plain, SCHEMA_VERSION)

    def write(self, store: Path) -> None:
        """Declare a store of these labels complete: its zarr.json is written, whole or not at all.

        Raises
        ------
        MissingDataError
            There is no array.
        """
        finish_store(store, attributes=self.attributes)
