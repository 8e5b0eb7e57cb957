"""Settings of phantoms: volumes that are drawn by rules, with exact truth.

Lengths are in nm, so one preset looks the same at every voxel size; lengths that belong to the pixels are in voxels.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from connectomake.config.section import Section

LengthNm = Annotated[float, Field(gt=0)]
Grey = Annotated[float, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]


class NeuriteConfig(Section):
    """How thick the processes of the neuropil are, how they run and branch."""

    radius_nm: LengthNm = Field(
        default=90.0, description="median radius of the tubes (nm); the filled neurites are about a third thicker"
    )
    radius_spread: float = Field(default=0.45, ge=0, le=1.5, description="sd of the logarithm of the radius")
    radius_range_nm: tuple[LengthNm, LengthNm] = Field(
        default=(44.0, 300.0), description="smallest and largest radius anywhere along a neurite (nm)"
    )
    tortuosity: float = Field(default=0.2, ge=0, le=1, description="sd of the turn along one radius of path (radians)")
    varicosity: float = Field(
        default=0.25, ge=0, le=1, description="sd of the logarithm of the radius along one neurite"
    )
    branch_every_nm: LengthNm = Field(
        default=1800.0, description="mean length of path from one branch to the next (nm)"
    )
    roughness_nm: float = Field(default=18.0, ge=0, description="largest displacement of the borders (nm)")
    roughness_scale_nm: LengthNm = Field(default=90.0, description="length over which that displacement changes (nm)")

    @model_validator(mode="after")
    def _check_radii(self) -> NeuriteConfig:
        low, high = self.radius_range_nm
        if not low <= self.radius_nm <= high:
            raise ValueError(f"radius_nm lies outside radius_range_nm: expected {low} to {high}, got {self.radius_nm}")
        return self


class OrganelleConfig(Section):
    """How many organelles there are, and of which size."""

    mitochondrion_every_nm: LengthNm = Field(
        default=1000.0, description="mean length of path for one mitochondrion (nm)"
    )
    mitochondrion_length_nm: tuple[LengthNm, LengthNm] = Field(
        default=(300.0, 1400.0), description="shortest and longest (nm)"
    )
    mitochondrion_radius_nm: tuple[LengthNm, LengthNm] = Field(
        default=(34.0, 160.0), description="thinnest and thickest; thinner neurites have none (nm)"
    )
    vesicles_every_nm: LengthNm = Field(
        default=1600.0, description="mean length of path for one cluster of vesicles (nm)"
    )
    vesicle_radius_nm: LengthNm = Field(default=18.0, description="mean radius of a vesicle (nm)")
    vesicle_count: tuple[PositiveInt, PositiveInt] = Field(default=(15, 60), description="fewest and most in a cluster")
    reticulum_every_nm: LengthNm = Field(
        default=2000.0,
        description="mean length of path for one tubule of endoplasmic reticulum: clutter, no class (nm)",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> OrganelleConfig:
        for key in ("mitochondrion_length_nm", "mitochondrion_radius_nm", "vesicle_count"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: expected [smallest, largest], got [{low}, {high}]")
        return self


class ImageConfig(Section):
    """What the microscope makes of it: grey values of 0 (black) to 255, membranes dark."""

    cytoplasm: Grey = Field(default=158.0, description="mean grey value of cytoplasm")
    cytoplasm_spread: Grey = Field(default=13.0, description="sd of that value from one neurite to the next")
    membrane: Grey = Field(default=62.0, description="grey value in the middle of a membrane cut at a right angle")
    membrane_width_nm: LengthNm = Field(default=24.0, description="full width of a membrane at half its depth (nm)")
    membrane_variation: Share = Field(
        default=0.35, description="share of the membrane's depth that comes and goes along it"
    )
    mitochondrion: Grey = Field(default=98.0, description="mean grey value inside mitochondria")
    texture: Grey = Field(default=13.0, description="sd of the grain of the cytoplasm")
    texture_scale_nm: LengthNm = Field(default=14.0, description="size of that grain (nm)")
    noise: Grey = Field(
        default=8.0, description="sd of the shot noise at grey value 128; it grows with the square root"
    )


class DefectConfig(Section):
    """What goes wrong with sections (z planes); the image changes, the truth stays that of the undamaged volume."""

    brightness_jitter: Grey = Field(
        default=0.0, description="sd of the brightness from section to section (grey values)"
    )
    contrast_jitter: float = Field(
        default=0.0, ge=0, le=0.5, description="sd of the contrast from section to section (factor)"
    )
    missing: Share = Field(default=0.0, description="share of sections that are lost (black)")
    dark: Share = Field(default=0.0, description="share of sections that are dark and flat")
    stripes: Share = Field(default=0.0, description="share of sections with charging stripes along x")
    shift_vx: float = Field(default=0.0, ge=0, description="sd of the misalignment of a section along y and x (voxels)")


class PhantomConfig(Section):
    """One generated volume of EM-like neuropil."""

    shape_zyx: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        default=(256, 256, 256), description="voxels along z, y, x"
    )
    voxel_size_zyx_nm: tuple[LengthNm, LengthNm, LengthNm] = Field(
        default=(8.0, 8.0, 8.0), description="nm along z, y, x"
    )
    neurites: NeuriteConfig = Field(default_factory=NeuriteConfig, description="the processes")
    organelles: OrganelleConfig = Field(default_factory=OrganelleConfig, description="what is in them")
    image: ImageConfig = Field(default_factory=ImageConfig, description="how they look")
    defects: DefectConfig = Field(default_factory=DefectConfig, description="what is wrong with the sections")

    @model_validator(mode="after")
    def _check_resolution(self) -> PhantomConfig:
        """Reject neurites too thin for skeletons that are sure to lie in them (neurites.py derives the bound)."""
        diagonal = sqrt(sum(size**2 for size in self.voxel_size_zyx_nm))
        least = (diagonal / 2 + self.neurites.roughness_nm) / 0.75
        thinnest = self.neurites.radius_range_nm[0]
        if thinnest <= least:
            raise ValueError(
                f"neurites.radius_range_nm: the smallest radius must exceed {least:.1f} nm at this voxel size "
                f"and roughness_nm, got {thinnest:g}"
            )
        extent_nm = min(n * size for n, size in zip(self.shape_zyx, self.voxel_size_zyx_nm, strict=True))
        if extent_nm < 4 * thinnest:
            raise ValueError(
                f"shape_zyx: each side must be at least 4 of the smallest radii ({4 * thinnest:.0f} nm), "
                f"got {extent_nm:.0f} nm"
            )
        return self
