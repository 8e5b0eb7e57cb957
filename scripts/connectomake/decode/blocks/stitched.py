"""What stitch_blocks leaves behind for relabel_blocks and finish_labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectomake.files import write_json
from connectomake.volumes.contract import mark_version, read_record

SCHEMA_VERSION = 1
AGAIN = "run stitch_blocks again"


@dataclass(frozen=True)
class Stitched:
    """Where the new ids of all blocks stand.

    Parameters
    ----------
    table
        Name of the file of new ids, in `Plan.parts`.
    base
        For each block the place in the table before its first id; one more at the end.
    dtype
        The smallest type that holds the ids.
    n_objects
        How many objects there are.
    """

    table: str
    base: tuple[int, ...]
    dtype: np.dtype
    n_objects: int

    @classmethod
    def read(cls, path: Path) -> Stitched:
        """Read what `write` wrote.

        Raises
        ------
        MissingDataError
            stitch_blocks was not run.
        DataError
            The file is damaged, or lacks something.
        """
        record = read_record(path, SCHEMA_VERSION, AGAIN)
        return cls(
            record.text("table"), record.wholes("base"), np.dtype(record.text("dtype")), record.whole("n_objects")
        )

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        content = {"table": self.table, "base": self.base, "dtype": self.dtype.name, "n_objects": self.n_objects}
        write_json(path, mark_version(content, SCHEMA_VERSION))
