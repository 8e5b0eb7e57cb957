"""Settings of where training patches are taken: what is in them decides whether they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from connectomake.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class SamplingConfig(Section):
    """A patch that lacks something is drawn again, a few times; the last one is taken as it is."""

    least_known: Share = Field(0.1, description="share of the voxels whose label must be known")
    least_foreground: Share = Field(0.0, description="share of the voxels that must lie in an object")
    least_objects: int = Field(0, ge=0, description="objects that there must be in the patch (objects)")
    reject_probability: Share = Field(
        1.0, description="how often a patch with too little foreground, or too few objects, is drawn again"
    )
    balance: Literal["voxels", "classes"] = Field(
        "voxels",
        description="voxels = each place is as likely as any other; classes = a class is drawn first, each as often, "
        "then a place where there is some of it (targets.classes.named)",
    )
    attempts: PositiveInt = Field(10, description="draws at most (patches)")
