"""Read axes, voxel size and position out of the attributes that the field's files carry, with units turned into nm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectomake.errors import DataError
from connectomake.volumes.formats.array import SPATIAL, Metadata, PerAxis

NM_PER_UNIT = {
    "nanometer": 1.0,
    "nm": 1.0,
    "angstrom": 0.1,
    "\u00c5": 0.1,
    "picometer": 1e-3,
    "micrometer": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "um": 1e3,
    "\u00b5m": 1e3,  # micro sign
    "\u03bcm": 1e3,  # greek mu
    "\\u00b5m": 1e3,  # as ImageJ writes it in TIFF
    "millimeter": 1e6,
    "mm": 1e6,
    "centimeter": 1e7,
    "cm": 1e7,
    "meter": 1e9,
    "m": 1e9,
    "inch": 2.54e7,
}

_LETTERS = {"channel": "c", "channels": "c", "time": "t"}


def read_attributes_of_array(attributes: Mapping[str, Any], where: str, names: Sequence[Any] | None = None) -> Metadata:
    """Read the attributes of an HDF5 dataset or a plain Zarr array.

    Understood are ``voxel_size_zyx_nm``, ``offset_zyx_nm``, ``offset_zyx_vx`` and ``axes`` (Connectomake);
    ``resolution`` and ``offset`` in nm (CREMI); ``voxel_size``, ``offset``, ``units``, ``axis_names``
    (funlib.persistence); ``element_size_um`` (ilastik, PlantSeg); ``_ARRAY_DIMENSIONS`` (xarray).

    Parameters
    ----------
    attributes
        Names and values; bytes are taken as UTF-8.
    where
        The array, for messages.
    names
        Axis names that the format itself holds (Zarr 3 `dimension_names`, HDF5 dimension labels), if any.
    """
    named = {
        field: dict(zip(SPATIAL, _numbers(attributes[key], key, where, count=3), strict=True))
        for field, key in (("size", "voxel_size_zyx_nm"), ("nm", "offset_zyx_nm"), ("vx", "offset_zyx_vx"))
        if key in attributes
    }
    axes = next((attributes[k] for k in ("axes", "axis_names", "_ARRAY_DIMENSIONS") if k in attributes), names)
    return Metadata(
        axes=join_axes(axes),
        voxel_size_nm=named.get("size") or _read_in_file_order(attributes, ("resolution", "voxel_size"), where),
        offset_nm=named.get("nm") or _read_in_file_order(attributes, ("offset",), where),
        offset_vx=named.get("vx"),
    )


def read_multiscales(attributes: Mapping[str, Any], dataset: str | None) -> tuple[str, Metadata] | None:
    """Read OME-NGFF `multiscales` metadata, versions 0.1 to 0.5.

    Parameters
    ----------
    attributes
        Attributes of a Zarr group.
    dataset
        Path of a level, as ``s1``; None = the first (finest).

    Returns
    -------
    tuple or None
        (path of the level, what is said about it); None where the group says nothing about that level.
    """
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, Mapping) else None
    for image in images or []:
        for level in image.get("datasets", []):
            if dataset in (None, level["path"].strip("/")):
                return level["path"].strip("/"), _read_level(image, level)
    return None


def list_datasets(attributes: Mapping[str, Any], dataset: str) -> tuple[list[str], bool] | None:
    """List the levels of the image that a level belongs to, and tell whether any level says where it lies.

    Parameters
    ----------
    attributes
        Attributes of a Zarr group.
    dataset
        Path of the level, as ``s0``.

    Returns
    -------
    tuple or None
        (paths, whether a level has a translation); None where no image has that level.
    """
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, Mapping) else None
    for image in images or []:
        levels = image.get("datasets", [])
        paths = [level["path"].strip("/") for level in levels]
        if dataset in paths:
            steps = [step for level in levels for step in level.get("coordinateTransformations", [])]
            return paths, any(step.get("type") == "translation" for step in steps)
    return None


def to_nm(unit: Any) -> float | None:
    """Return the nm in one unit of length; None where the unit is absent or unknown."""
    text = str(unit or "").strip()
    known = NM_PER_UNIT.get(text) or NM_PER_UNIT.get(text.lower())
    return known or NM_PER_UNIT.get(text.lower().replace("metre", "meter").rstrip("s"))


def join_axes(names: Any) -> str | None:
    """Join axis names into one letter per axis; None where they are not such names.

    Examples
    --------
    >>> join_axes(["channel", "Z", "y", "x"])
    'czyx'
    """
    if names is None:
        return None
    if isinstance(names, bytes):
        names = names.decode()
    letters = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    letters = [_LETTERS.get(n.lower(), n.lower()).rstrip("^") for n in letters]  # funlib marks channel axes by ^
    usable = all(len(n) == 1 and n.isalpha() for n in letters) and len(set(letters)) == len(letters)
    return "".join(letters) if usable and set(SPATIAL) <= set(letters) else None


def _read_in_file_order(attributes: Mapping[str, Any], keys: Sequence[str], where: str) -> PerAxis | None:
    """Read a value per spatial axis in the array's own order, in nm unless the attributes name a unit."""
    for key in keys:
        if key in attributes:
            values = _numbers(attributes[key], key, where)
            factors = _factors(attributes.get("units"), len(values))
            return tuple(v * f for v, f in zip(values, factors, strict=True))
    if "voxel_size" in keys and "element_size_um" in attributes:
        return tuple(v * 1e3 for v in _numbers(attributes["element_size_um"], "element_size_um", where))
    return None


def _factors(units: Any, count: int) -> list[float]:
    """Return nm per unit for each axis; units that are not told are nm, as is the custom of these attributes."""
    if units is None:
        return [1.0] * count
    texts = [units] * count if isinstance(units, str | bytes) else list(units)
    if len(texts) != count:
        return [1.0] * count
    return [to_nm(t.decode() if isinstance(t, bytes) else t) or 1.0 for t in texts]


def _numbers(value: Any, key: str, where: str, count: int | None = None) -> tuple[float, ...]:
    """Turn an attribute's value into floats."""
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        raise DataError(
            f"the attribute {key} of {where} cannot be read",
            expected=f"{count or 3} numbers, one per axis",
            got=repr(value),
        )
    return numbers


def _read_level(image: Mapping[str, Any], level: Mapping[str, Any]) -> Metadata:
    """Compose the transformations of one level and those of the whole image into size and position in nm."""
    axes = image.get("axes")
    if not axes:  # versions 0.1 to 0.3 fix the order t, c, z, y, x and hold no scale
        return Metadata(axes="tczyx")
    entries = [a if isinstance(a, Mapping) else {"name": a} for a in axes]
    letters = join_axes([{"channel": "c", "time": "t"}.get(e.get("type", ""), e["name"]) for e in entries])
    scale, translation = [1.0] * len(entries), [0.0] * len(entries)
    stated = False
    for step in (*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])):
        if step.get("type") == "scale" and "scale" in step:
            stated = True
            scale = [a * b for a, b in zip(scale, step["scale"], strict=True)]
            translation = [a * b for a, b in zip(translation, step["scale"], strict=True)]
        elif step.get("type") == "translation" and "translation" in step:
            translation = [a + b for a, b in zip(translation, step["translation"], strict=True)]
    factors = {e["name"].lower(): to_nm(e.get("unit")) for e in entries}
    if letters is None or not stated or any(factors.get(a) is None for a in SPATIAL):
        return Metadata(axes=letters)
    at = {a: letters.index(a) for a in SPATIAL}
    return Metadata(
        axes=letters,
        voxel_size_nm={a: scale[at[a]] * (factors[a] or 1.0) for a in SPATIAL},
        offset_nm={a: translation[at[a]] * (factors[a] or 1.0) for a in SPATIAL},
    )
