"""Grey values to network input: by one mean and standard deviation for all, or by those of each volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from connectomake.config.train import TrainConfig
from connectomake.errors import DataError
from connectomake.train.mixing import mix_boxes
from connectomake.train.volumes import LabelledBox
from connectomake.volumes.grey_values import MOST_BLOCKS, check_contrast, grey_moments, measure_grey_values

LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Normalisation:
    """Grey values to network input: (raw - mean) / std.

    Parameters
    ----------
    mean, std
        Of the training data.
    each
        ``together``: these hold for every volume. ``each_volume``: a volume is normalised by its own; see `of`.
    """

    mean: float
    std: float
    each: Literal["together", "each_volume"] = "together"

    def of(self, box: LabelledBox) -> Normalisation:
        """Give the numbers for one box: these, or those of the whole volume that it is a part of.

        Raises
        ------
        DataError
            The volume's grey values are all equal, or some are not finite; names it.
        """
        if self.each == "together":
            return self
        try:
            return Normalisation(*measure_grey_values(box.raw if box.whole is None else box.whole))
        except DataError as error:
            raise DataError(f"volume {box.name}: {error}") from error

    def of_all(self, boxes: Sequence[LabelledBox]) -> list[Normalisation]:
        """Give the numbers for each box; a volume of which several are parts is measured once."""
        keys = [id(box) if box.whole is None else id(box.whole) for box in boxes]
        measured = {key: self.of(box) for key, box in dict(zip(keys, boxes, strict=True)).items()}
        return [measured[key] for key in keys]

    def apply(self, raw: np.ndarray) -> None:
        """Normalise float32 grey values in place."""
        raw -= np.float32(self.mean)
        raw /= np.float32(self.std)

    def scale(self, dtype: np.dtype) -> tuple[float, float]:
        """Give what the range of a type (0 to 1 for float), and a grey value of 0, become."""
        largest = np.iinfo(dtype).max if dtype.kind in "iu" else 1.0
        return float(largest / self.std), -self.mean / self.std

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for a checkpoint."""
        return {"mean": self.mean, "std": self.std, "each": self.each}


def find_normalisation(boxes: Sequence[LabelledBox], cfg: TrainConfig) -> Normalisation:
    """Take mean and standard deviation from the settings, or measure those of the patches that will be drawn.

    Parameters
    ----------
    boxes
        What is trained on. Each counts as often as patches come from it.
    cfg
        Settings: `normalise`, `raw_mean`, `raw_std`.

    Raises
    ------
    DataError
        All grey values are equal, or some are not finite.
    """
    if cfg.raw_mean is not None and cfg.raw_std is not None:
        return Normalisation(cfg.raw_mean, cfg.raw_std, cfg.normalise)
    blocks = min(MOST_BLOCKS, max(LEAST_BLOCKS, 4 * MOST_BLOCKS // len(boxes)))
    means, deviations = np.array([grey_moments(box.raw, blocks) for box in boxes]).T
    chances = mix_boxes(boxes).chances
    mean = float(chances @ means)
    std = float(np.sqrt(chances @ (deviations**2 + (means - mean) ** 2)))
    check_contrast(mean, std, "the training data")
    return Normalisation(
        mean if cfg.raw_mean is None else cfg.raw_mean, std if cfg.raw_std is None else cfg.raw_std, cfg.normalise
    )
