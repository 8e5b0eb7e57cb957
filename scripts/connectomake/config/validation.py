"""Settings of validation by segmentation: volumes are predicted and decoded while the network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from connectomake.config.section import Section


class SegmentationConfig(Section):
    """The network of the moment segments the validation volumes, and is measured by what comes out."""

    every_validations: PositiveInt = Field(
        1, description="at every so many validations, and at the last one (validations)"
    )
    criterion: Literal["nerl", "voi"] = Field(
        "nerl",
        description="nerl = normalised expected run length along skeletons, voi = variation of information of voxels; "
        "both at the best of 13 thresholds (BANIS)",
    )
    largest_vx: PositiveInt = Field(
        16_000_000,
        description="a validation volume with more voxels is cut to a cube of this size in its middle (voxels)",
    )
