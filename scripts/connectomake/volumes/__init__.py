"""Volumes of every format, read lazily as (Z, Y, X) or (C, Z, Y, X), written as OME-Zarr; contracts between stages."""
