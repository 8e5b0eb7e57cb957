"""NIfTI volumes, ``.nii`` and ``.nii.gz``; their arrays are ordered x, y, z."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.volumes.formats.array import FileArray, Format, Metadata
from connectomake.volumes.formats.metadata import to_nm


def open_nifti(path: Path) -> FileArray:
    """Open a NIfTI file; ``.nii`` is mapped, ``.nii.gz`` is decompressed up to the part that is read.

    Sizes are in the header's unit; a header without unit means mm, except where its sizes are all 1, which is what
    programs write that do not know. The affine's translation is taken as position where the affine neither turns nor
    mirrors.

    Raises
    ------
    DataError
        The file is not NIfTI.
    """
    image = _load(path)
    proxy = image.dataobj
    rank = len(proxy.shape)
    scaled = proxy.slope != 1 or proxy.inter != 0
    size = _read_voxel_size(image)
    return FileArray(
        source=str(path),
        kind="NIfTI",
        shape=tuple(int(n) for n in proxy.shape),
        dtype=np.asarray(proxy[(slice(0, 1),) * rank]).dtype if scaled else proxy.dtype,
        metadata=Metadata(voxel_size_nm=size, offset_nm=_read_offset(image) if size else None),
        fetch=partial(_fetch, path),
        chunks=tuple(proxy.shape) if path.suffix == ".gz" else None,
        usual_axes={3: "xyz", 4: "xyzc"}.get(rank),
    )


def _load(path: Path) -> Any:
    import nibabel

    try:
        return nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as NIfTI ({error})", hint="check that it was copied completely"
        ) from error


def _fetch(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    return np.asarray(_load(path).dataobj[part])


def _unit_nm(image: Any) -> float:
    return to_nm(image.header.get_xyzt_units()[0]) or 1e6


def _read_voxel_size(image: Any) -> tuple[float, ...] | None:
    sizes = tuple(float(s) for s in image.header.get_zooms()[:3])
    unit_is_stated = to_nm(image.header.get_xyzt_units()[0]) is not None
    if not unit_is_stated and all(s == 1.0 for s in sizes):
        return None
    return tuple(s * _unit_nm(image) for s in sizes)


def _read_offset(image: Any) -> tuple[float, ...] | None:
    """Return the affine's translation in nm, x, y, z, where the axes run along the world's."""
    affine = np.asarray(image.affine)
    turned = affine[:3, :3] - np.diag(np.diag(affine[:3, :3]))
    stated = image.header["sform_code"] > 0 or image.header["qform_code"] > 0
    if not stated or np.abs(turned).max() > 1e-6 * np.abs(affine[:3, :3]).max() or np.diag(affine)[:3].min() <= 0:
        return None
    offset = tuple(float(v) * _unit_nm(image) for v in affine[:3, 3])
    return offset if any(offset) else None


NIFTI = Format("NIfTI", lambda path, _: open_nifti(path), example=".nii, .nii.gz", suffixes=(".nii", ".nii.gz"))
