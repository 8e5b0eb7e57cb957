"""A store that a generator made: what later stages read of its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from connectomake.volumes.contract import Record
from connectomake.volumes.ingested import SEEN, SeenBox
from connectomake.volumes.store import read_attributes

SCHEMA_VERSION = 1
AGAIN = "delete it and generate it again"


@dataclass(frozen=True)
class GeneratedStore:
    """The image of a generated volume, or its labels; nothing is known of what a phantom made.

    Parameters
    ----------
    class_name
        The class that it was made as; empty where there is none.
    intensity
        The grey values that became -1 and 1 for the network; None where that is not known.
    seen
        What the generator has learnt from; None where no generator that learns made it.
    """

    class_name: str
    intensity: tuple[float, float] | None
    seen: tuple[SeenBox, ...] | None

    @classmethod
    def read(cls, store: Path) -> GeneratedStore:
        """Read the attributes of a finished store.

        Raises
        ------
        MissingDataError
            The store is not finished, or does not exist.
        DataError
            It was not written by Connectomake, is of a version that is not known, or an attribute is not what it
            should be.
        """
        record = Record(read_attributes(store), str(store), AGAIN)
        record.check_version(SCHEMA_VERSION)
        return cls(
            class_name=record.optional(record.text, "class") or "",
            intensity=record.optional(record.pair, "intensity"),
            seen=tuple(map(SeenBox.of_record, record.sections(SEEN))) if SEEN in record.values else None,
        )
