"""A store of predictions: what its attributes hold, read and written here alone.

The attributes are the settings that all jobs of a prediction share (`predict.plan`), so that a store says by itself
what its channels are and which part of the volume it covers. Stores of older versions lack some of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectomake.channels import name_offset
from connectomake.errors import DataError
from connectomake.geometry import Triple, TripleNm
from connectomake.ledger import hash_settings
from connectomake.volumes.contract import SCHEMA, Record, mark_version
from connectomake.volumes.region import Region
from connectomake.volumes.store import finish_store, read_attributes

SCHEMA_VERSION = 1
AGAIN = "delete the store and predict again"
CONVENTIONS = ("source", "destination")


@dataclass(frozen=True)
class WorkingLevel:
    """On which voxels of a volume something was predicted: what `scale.open_working` takes, without the voxel size.

    Parameters
    ----------
    name
        The level of the pyramid that the raw data are part of; None for the volume itself.
    is_resampled
        Whether that was resampled to the voxel size of the store.
    """

    name: str | None
    is_resampled: bool

    @classmethod
    def of_record(cls, record: Record) -> WorkingLevel:
        """Take it out of a file."""
        return cls(record.optional(record.text, "level"), record.flag("resampled"))

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        return {"level": self.name, "resampled": self.is_resampled}


@dataclass(frozen=True)
class Prediction:
    """What a store of affinities, or other maps, holds.

    Parameters
    ----------
    source
        What to call it in errors.
    offsets_zyx_vx
        For each channel the offset of its edges; None for one that is no affinity.
    edge_convention
        ``source``: channel c at voxel p is the edge p -> p + offset[c]; ``destination``: p - offset[c] -> p.
    channels
        Names, one for each channel.
    activations
        What each channel went through before it was stored.
    region
        What was predicted, not placed yet (`Region.place_on`); None = all of the store.
    level
        On which voxels; None = on those of the volume.
    checkpoint_hash
        Of the network, or of several; None where that is not known.
    voxel_size_zyx_nm, offset_zyx_nm
        Of the store, and the centre of its first voxel; None where only its array says so.
    dtype
        Type of the values; None where only its array says so.
    block_zyx_vx, chunk_zyx_vx
        What a job wrote as one, and what is read as one; None where that is not known.
    blending
        How windows were blended; None where that is not known.
    has_pyramid
        Whether there are coarser levels.
    plain
        All attributes as they are, those of other versions among them.
    """

    source: str = field(compare=False)
    offsets_zyx_vx: tuple[Triple | None, ...]
    edge_convention: str
    channels: tuple[str, ...]
    activations: tuple[str, ...]
    region: Region | None = None
    level: WorkingLevel | None = None
    checkpoint_hash: str | None = None
    voxel_size_zyx_nm: TripleNm | None = None
    offset_zyx_nm: TripleNm | None = None
    dtype: str | None = None
    block_zyx_vx: Triple | None = None
    chunk_zyx_vx: Triple | None = None
    blending: str | None = None
    has_pyramid: bool = False
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, store: Path) -> Prediction:
        """Read the attributes of a finished store.

        Raises
        ------
        MissingDataError
            The store is not finished, or does not exist.
        DataError
            It was not written by Connectomake, is of a version that is not known, or lacks something.
        """
        return cls.of_plain(read_attributes(store), str(store))

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any], source: str) -> Prediction:
        """Read the settings in a ledger, or the attributes of a store, which are the same.

        Raises
        ------
        DataError
            Something is missing, or is not what it should be.
        """
        return cls.of_record(Record(plain, source, AGAIN))

    @classmethod
    def of_record(cls, record: Record) -> Prediction:
        """Take it out of a file."""
        record.check_version(SCHEMA_VERSION)
        offsets = record.triples("offsets_zyx_vx")
        names = record.optional(record.texts, "channels")
        region, level = (record.optional(record.section, key) for key in ("region", "source"))
        return cls(
            source=record.where,
            offsets_zyx_vx=offsets,
            edge_convention=_read_convention(record),
            channels=names or tuple(name_offset(o) if o else f"channel {c}" for c, o in enumerate(offsets)),
            activations=_read_activations(record, len(offsets)),
            region=None if region is None else Region.of_record(region),
            level=None if level is None else WorkingLevel.of_record(level),
            checkpoint_hash=record.optional(record.text, "checkpoint_hash"),
            voxel_size_zyx_nm=record.optional(record.triple_nm, "voxel_size_zyx_nm"),
            offset_zyx_nm=record.optional(record.triple_nm, "offset_zyx_nm"),
            dtype=record.optional(record.text, "dtype"),
            block_zyx_vx=record.optional(record.triple, "block_zyx_vx"),
            chunk_zyx_vx=record.optional(record.triple, "chunk_zyx_vx"),
            blending=record.optional(record.text, "blending"),
            has_pyramid=bool(record.optional(record.flag, "pyramid")),
            plain={key: value for key, value in record.values.items() if key != SCHEMA},
        )

    def write(self, store: Path) -> None:
        """Declare a store of this prediction complete: its zarr.json is written, whole or not at all.

        Raises
        ------
        MissingDataError
            There is no array.
        ResumeMismatchError
            The array was made with another voxel size or place.
        """
        finish_store(store, attributes=mark_version(self.plain, SCHEMA_VERSION))

    @property
    def settings_hash(self) -> str:
        """What tells it from predictions that were made otherwise; the version of the file does not count."""
        return hash_settings(dict(self.plain))


def _read_convention(record: Record) -> str:
    found = record.text("edge_convention")
    if found not in CONVENTIONS:
        expected = " or ".join(CONVENTIONS)
        raise DataError(f"{record.where}: unknown edge_convention", expected=expected, got=found, hint=record.hint)
    return found


def _read_activations(record: Record, channels: int) -> tuple[str, ...]:
    """Read what channels went through; older stores name one activation for all, or none."""
    one = record.optional(record.text, "activation") or "sigmoid"
    found = record.optional(record.texts, "activations") or (one,) * channels
    if len(found) != channels:
        raise record.wrong("activations", f"{channels} names, one for each channel")
    return found
