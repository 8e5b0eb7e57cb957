"""Grey values to network input: by one mean and standard deviation for all, or by those of each volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from connectomake.config.settings.train import TrainConfig
from connectomake.errors import DataError
from connectomake.train.mixing import mix_boxes
from connectomake.train.volumes import LabelledBox
from connectomake.volumes.grey_values import MOST_BLOCKS, check_contrast, measure_grey_values, sample_grey_values

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
    dtype
        Name of the type of the grey values trained on; "" = not known.
    range
        From which to which grey value they go, but for a thousandth at each end; empty = not known. Prediction
        refuses what lies far beyond.
    """

    mean: float
    std: float
    each: Literal["together", "each_volume"] = "together"
    dtype: str = field(default="", compare=False)
    range: tuple[float, ...] = field(default=(), compare=False)

    def of(self, box: LabelledBox) -> Normalisation:
        """Return the numbers for one box: these, or those of the whole volume that it is a part of.

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
        """Return the numbers for each box; a volume of which several are parts is measured once."""
        keys = [id(box) if box.whole is None else id(box.whole) for box in boxes]
        measured = {key: self.of(box) for key, box in dict(zip(keys, boxes, strict=True)).items()}
        return [measured[key] for key in keys]

    def apply(self, raw: np.ndarray) -> None:
        """Normalise float32 grey values in place."""
        raw -= np.float32(self.mean)
        raw /= np.float32(self.std)

    def scale(self, dtype: np.dtype) -> tuple[float, float]:
        """Return what the range of a type (0 to 1 for float), and a grey value of 0, become."""
        largest = np.iinfo(dtype).max if dtype.kind in "iu" else 1.0
        return float(largest / self.std), -self.mean / self.std

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint."""
        seen = {"dtype": self.dtype, "range": list(self.range)} if self.range else {}
        return {"mean": self.mean, "std": self.std, "each": self.each, **seen}


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
    blocks = min(MOST_BLOCKS, max(LEAST_BLOCKS, 4 * MOST_BLOCKS // len(boxes)))
    means, deviations, lows, highs = np.array([sample_grey_values(box.raw, blocks) for box in boxes]).T
    chances = mix_boxes(boxes).chances
    mean = float(chances @ means)
    std = float(np.sqrt(chances @ (deviations**2 + (means - mean) ** 2)))
    if cfg.raw_mean is None or cfg.raw_std is None:
        check_contrast(mean, std, "the training data")
    return Normalisation(
        mean if cfg.raw_mean is None else cfg.raw_mean,
        std if cfg.raw_std is None else cfg.raw_std,
        cfg.normalise,
        np.result_type(*(box.raw.dtype for box in boxes)).name,
        (float(lows.min()), float(highs.max())),
    )
