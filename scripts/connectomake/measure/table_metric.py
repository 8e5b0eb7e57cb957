"""What a voxel metric says of itself: its function, the settings that it reads, the numbers that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import ConfigError
from connectomake.measure.contingency import Contingency


@dataclass(frozen=True)
class TableMetric:
    """A metric that follows from the table of truth and segmentation.

    Parameters
    ----------
    compute
        Function of the table, without unknown and ignored truth, and of `settings` by keyword, that returns numbers.
    columns
        Names of the numbers; ``*`` stands for what depends on the settings or on the labels.
    settings
        The keys of `MeasureConfig` that it reads.
    """

    compute: Callable[..., Mapping[str, Any]]
    columns: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def measure(self, table: Contingency, cfg: MeasureConfig) -> dict[str, Any]:
        """Compute the numbers.

        Raises
        ------
        ConfigError
            The metric reads a setting that there is not, or gives a number that it does not name.
        """
        known = type(cfg).model_fields
        for key in self.settings:
            if key not in known:
                raise ConfigError("a voxel metric reads no such setting", expected=" or ".join(known), got=key)
        numbers = dict(self.compute(table, **{key: getattr(cfg, key) for key in self.settings}))
        for name in numbers:
            if not any(fnmatchcase(name, pattern) for pattern in self.columns):
                raise ConfigError(
                    "a voxel metric gives a number that it does not name", expected=" or ".join(self.columns), got=name
                )
        return numbers
