"""The decoder `waterz`: a watershed on affinities, and agglomeration of its regions (Funke et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator, model_validator

from connectomake.channels import find_nearest
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import FILL, NEAREST_AFFINITIES, SIZE, Decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels

Probability = Annotated[float, Field(ge=0, lt=1)]

WATERZ_QUANTILES = tuple(range(10, 100, 5))
"""Those that the wheels of waterz hold compiled."""


class WaterzConfig(Section):
    """A watershed, then regions are merged by a score of the affinities between them, the best pair first."""

    threshold: float = Field(
        0.3, ge=0, le=1, description="regions are merged while their score, 1 - affinity, is below this: higher = more"
    )
    merge_function: str = Field(
        "aff50_his256",
        description="score of two regions that touch: aff50_his256 = 1 - median of the affinities between them in 256 "
        "bins (aff10 to aff95, in steps of 5: other percentiles), mean = 1 - their mean",
    )
    aff_threshold_low: Probability = Field(
        0.001, description="in the watershed, edges at or below this join nothing; a voxel with no other is background"
    )
    aff_threshold_high: float = Field(
        0.999, gt=0, le=1, description="in the watershed, edges at or above this always join"
    )

    @field_validator("merge_function")
    @classmethod
    def _check_merge_function(cls, name: str) -> str:
        """Reject scores that waterz would have to compile."""
        if name != "mean" and name not in {f"aff{quantile}_his256" for quantile in WATERZ_QUANTILES}:
            raise ValueError(f"expected mean, or aff10_his256 to aff95_his256 in steps of 5, got {name!r}")
        return name

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        """Reject a watershed in which an edge would both always and never join."""
        if self.aff_threshold_low >= self.aff_threshold_high:
            raise ValueError(
                f"aff_threshold_low {self.aff_threshold_low} must be below aff_threshold_high {self.aff_threshold_high}"
            )
        return self


def decode_waterz(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label by watershed and agglomeration of the nearest affinities, treat small objects, fill the rest.

    Parameters, results and errors are those of `decode`. The score of two regions is 1 - (a percentile or the mean of)
    the affinities between them, and pairs are merged while it is below `threshold`: a higher threshold merges more.
    A voxel without an affinity above `aff_threshold_low` is background. One thread; waterz writes what it does to the
    standard output.

    Notes
    -----
    Affinities are cut to 0..1, because the bins of a score hold nothing else. With percentiles about 2 microseconds and
    600 bytes a voxel, because each edge between two regions holds 256 bins; less than half of the time with the mean.
    """
    from connectomake.decode.agglomeration import label_by_agglomeration
    from connectomake.decode.filling.fill import fill_gaps
    from connectomake.decode.postprocess import drop_small

    own = cfg.own(WaterzConfig)
    labels = label_by_agglomeration(
        maps,
        channels,
        threshold=own.threshold,
        merge_function=own.merge_function,
        aff_threshold_low=own.aff_threshold_low,
        aff_threshold_high=own.aff_threshold_high,
    )
    labels = drop_small(labels, cfg)
    fill_gaps(labels, maps, cfg, channels)
    return labels


DECODER = Decoder(
    summary="watershed and agglomeration (package waterz)",
    decode=decode_waterz,
    reads=NEAREST_AFFINITIES,
    find_channels=lambda own, channels: find_nearest(channels),
    shared=SIZE | FILL,
    settings=WaterzConfig,
    mvoxel_per_s=0.6,
    bytes_per_voxel=600,
)
