"""What neuroglancer shows of a segmentation: its states, as plain data.

Every layer has the frame of the volume, nm with the first voxel's centre at the volume's offset, and positions are in
units of its voxel size, x, y, z. `labels | truth` stand above `affinities | skeletons in 3-D`, each over raw data and
all at one position, since two segmentations on top of each other cannot be told apart.

The keys are those of neuroglancer's JSON schema (https://neuroglancer-docs.web.app/json/api).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from connectomake.geometry import Triple, TripleNm
from connectomake.volumes.affinities import Shown

FIELD_NM = 2000.0
PANEL_PIXELS = 400

_OTHERS = ("raw", "labels", "truth", "skeletons", "errors")  # names of layers


@dataclass(frozen=True)
class Maps:
    """A prediction: where it is served, and what of it is drawn.

    Parameters
    ----------
    url
        An OME-Zarr image (C, Z, Y, X).
    voxel_size_zyx_nm
        Of its finest level; it may be another than that of the raw data.
    shown
        The channels that are drawn blue, green and red: of affinities those that lead along z, y, x, as in the figures.
        Its name is the layer's.
    in_floats
        Whether values are served as floats; else as bytes.
    """

    url: str
    voxel_size_zyx_nm: TripleNm
    shown: Shown
    in_floats: bool = False

    @property
    def name(self) -> str:
        """What the layer is called: no other layer has that name."""
        return f"{self.shown.name} (predicted)" if self.shown.name in _OTHERS else self.shown.name


@dataclass(frozen=True)
class Scene:
    """Where the layers of one segmentation are served, and the frame that they share.

    Parameters
    ----------
    title
        What the browser's tab says.
    shape_zyx, voxel_size_zyx_nm, offset_zyx_nm
        Of the volume; the offset is the centre of its first voxel.
    raw_url, labels_url, truth_url
        OME-Zarr images.
    maps
        The prediction.
    skeletons_url
        A source of precomputed skeletons.
    contrast
        Raw values that are drawn black and white.
    """

    title: str
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    raw_url: str
    labels_url: str
    contrast: tuple[float, float]
    maps: Maps | None = None
    truth_url: str | None = None
    skeletons_url: str | None = None

    @property
    def dimensions(self) -> dict[str, list[Any]]:
        """The axes x, y, z with their unit: a voxel, in metres."""
        return _dimensions(self.voxel_size_zyx_nm)

    @property
    def center_zyx_nm(self) -> TripleNm:
        """The middle of the volume."""
        places = zip(self.offset_zyx_nm, self.shape_zyx, self.voxel_size_zyx_nm, strict=True)
        z, y, x = (offset + (sides - 1) / 2 * size for offset, sides, size in places)
        return z, y, x

    @property
    def extent_nm(self) -> float:
        """The longest side of the volume."""
        return max(n * size for n, size in zip(self.shape_zyx, self.voxel_size_zyx_nm, strict=True))

    def position(self, position_zyx_nm: Sequence[float]) -> list[float]:
        """Return a position as neuroglancer counts it: x, y, z in voxel sizes from 0 nm."""
        return [nm / size for nm, size in zip(position_zyx_nm[::-1], self.voxel_size_zyx_nm[::-1], strict=True)]


@dataclass(frozen=True)
class Mark:
    """A place worth looking at, and the objects there, by layer (``labels``, ``truth``, ``skeletons``)."""

    name: str
    description: str
    position_zyx_nm: TripleNm
    segments: Mapping[str, Sequence[str]]


def describe_whole(scene: Scene, marks: Sequence[Mark], skeleton_ids: Sequence[str]) -> dict[str, Any]:
    """Return the state that shows the whole volume with all marks and some skeletons."""
    selected = "errors" if marks else "labels"
    return _describe(scene, scene.center_zyx_nm, scene.extent_nm, marks, {"skeletons": skeleton_ids}, selected)


def describe_mark(scene: Scene, mark: Mark) -> dict[str, Any]:
    """Return the state that shows one mark from close by, its objects selected."""
    return _describe(scene, mark.position_zyx_nm, min(FIELD_NM, scene.extent_nm), [mark], mark.segments, "labels")


def link(client: str, state: Mapping[str, Any]) -> str:
    """Return the address that opens a state in a client; the whole state is in it."""
    return f"{client}#!{quote(json.dumps(state, separators=(',', ':')), safe='/:,')}"


def _describe(
    scene: Scene,
    position_zyx_nm: TripleNm,
    field_nm: float,
    marks: Sequence[Mark],
    segments: Mapping[str, Sequence[str]],
    selected: str,
) -> dict[str, Any]:
    layers = [*_describe_layers(scene, segments), *_describe_marks(scene, marks)]
    maps = [] if scene.maps is None else [scene.maps.name]
    smallest_nm = min(scene.voxel_size_zyx_nm)
    return {
        "title": scene.title,
        "dimensions": scene.dimensions,
        "position": scene.position(position_zyx_nm),
        "crossSectionScale": field_nm / PANEL_PIXELS / smallest_nm,
        "projectionScale": 1.5 * field_nm / smallest_nm,
        "layers": layers,
        "layout": _arrange([layer["name"] for layer in layers], maps),
        "selectedLayer": {"layer": selected, "visible": True},
        "showSlices": False,
    }


def _describe_layers(scene: Scene, segments: Mapping[str, Sequence[str]]) -> Iterable[dict[str, Any]]:
    low, high = scene.contrast
    yield {
        "type": "image",
        "name": "raw",
        "source": f"zarr3://{scene.raw_url}",
        "opacity": 1,
        "shaderControls": {"normalized": {"range": [low, high]}},
    }
    if scene.maps is not None:
        yield _describe_maps(scene.maps)
    for name, source in (("labels", scene.labels_url), ("truth", scene.truth_url)):
        if source is not None:
            yield _describe_objects(name, f"zarr3://{source}", segments.get(name, ()))
    if scene.skeletons_url is not None:
        layer = _describe_objects("skeletons", f"precomputed://{scene.skeletons_url}", segments.get("skeletons", ()))
        yield layer | {"skeletonRendering": {"mode2d": "lines_and_points", "lineWidth2d": 3}}


def _describe_maps(maps: Maps) -> dict[str, Any]:
    """Draw three channels red, green, blue, fewer as their mean in gray; an axis `c^` is one that shaders see whole."""
    values = [f"toNormalized(getDataValue({channel}))" for channel in maps.shown.channels]
    if maps.in_floats:  # which are normalised already, they say
        signed = maps.shown.signed or (False,) * len(values)
        values = [f"0.5 + 0.5 * {v}" if s else v for v, s in zip(values, signed, strict=True)]
    mean = f"({' + '.join(values)}) / {len(values)}.0"
    color = f"emitRGB(vec3({', '.join(values[::-1])}))" if len(values) == 3 else f"emitGrayscale({mean})"
    dimensions = _dimensions(maps.voxel_size_zyx_nm)
    spatial = {axis: dimensions[axis] for axis in "zyx"}
    return {
        "type": "image",
        "name": maps.name,
        "source": {
            "url": f"zarr3://{maps.url}",
            "transform": {"outputDimensions": {"c^": [1, ""], **spatial}},
        },
        "opacity": 1,
        "shader": f"void main() {{ {color}; }}",
    }


def _describe_objects(name: str, source: str, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "segmentation",
        "name": name,
        "source": source,
        "tab": "segments",
        "segments": list(ids),
        "selectedAlpha": 0.4,
        "notSelectedAlpha": 0.12,
    }


def _describe_marks(scene: Scene, marks: Sequence[Mark]) -> Iterable[dict[str, Any]]:
    if not marks:
        return
    points = [
        {
            "type": "point",
            "id": mark.name,
            "point": scene.position(mark.position_zyx_nm),
            "description": mark.description,
        }
        for mark in marks
    ]
    yield {
        "type": "annotation",
        "name": "errors",
        "source": {"url": "local://annotations", "transform": {"outputDimensions": scene.dimensions}},
        "tab": "annotations",
        "annotationColor": "#ffe600",
        "annotations": points,
    }


def _arrange(names: Sequence[str], maps: Sequence[str]) -> Any:
    """Lay out one panel for each segmentation and for a prediction, and one in 3-D, in rows of two."""
    over = [name for name in ("skeletons", "errors") if name in names]
    panels = [_panel(["raw", name, *over], "xy") for name in ("labels", "truth", *maps) if name in names]
    if len(panels) == 1:
        return "4panel"
    panels.append(_panel([name for name in names if name not in ("truth", *maps)], "3d"))
    rows = [{"type": "row", "children": panels[k : k + 2]} for k in range(0, len(panels), 2)]
    return {"type": "column", "children": rows}


def _dimensions(voxel_size_zyx_nm: TripleNm) -> dict[str, list[Any]]:
    return {axis: [size * 1e-9, "m"] for axis, size in zip("xyz", voxel_size_zyx_nm[::-1], strict=True)}


def _panel(layers: Sequence[str], layout: str) -> dict[str, Any]:
    return {"type": "viewer", "layers": list(layers), "layout": layout}
