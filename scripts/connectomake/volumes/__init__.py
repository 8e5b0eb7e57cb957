"""Volumes of every format, read lazily as (Z, Y, X) or (C, Z, Y, X) and written as OME-Zarr; skeletons; the contracts between stages."""
