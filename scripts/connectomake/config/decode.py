"""Settings of the decode stage: how affinities become instances."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connectomake.config.section import Section


class DecodeConfig(Section):
    """Turn affinities into labels: cut weak edges, join what is left, drop crumbs, give their voxels away.

    The steps run in this order: components of the edges above `threshold`; objects below `min_size_vx` are treated as
    `remove_small` says; `fill` gives the voxels without an object to the objects around them.
    """

    decoder: Literal["affinity_cc"] = Field(
        "affinity_cc",
        description="how: affinity_cc = connected components of the edges to the nearest voxels",
    )
    threshold: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="affinity (0 to 1) above which, strictly, an edge joins two voxels",
    )
    min_size_vx: int = Field(
        0,
        ge=0,
        description="objects with fewer voxels than this are small; 0 and 1 keep every object",
    )
    remove_small: Literal["background", "neighbor", "none"] = Field(
        "background",
        description="small objects become background, join the kept object they share most voxel faces with, or stay",
    )
    fill: Literal["none", "watershed"] = Field(
        "none",
        description="watershed gives every background voxel to the object at the end of its strongest affinity path; "
        "for ground truth without background (touching neurons)",
    )
    fill_floor: float = Field(
        0.0,
        ge=0,
        le=1,
        description="affinity (0 to 1) below which no edge carries the filling; 0 fills everything that can be reached",
    )
    fill_distance_vx: int = Field(
        0,
        ge=0,
        le=65535,
        description="the filling stops this many voxels, counted along its path, from the object; 0 = no limit",
    )
