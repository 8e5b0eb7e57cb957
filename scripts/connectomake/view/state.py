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

FIELD_NM = 2000.0
PANEL_PIXELS = 400


@dataclass(frozen=True)
class Scene:
    """Where the layers of one segmentation are served, and the frame that they share.

    Parameters
    ----------
    title
        What the browser's tab says.
    shape_zyx, voxel_size_zyx_nm, offset_zyx_nm
        Of the volume; the offset is the centre of its first voxel.
    raw_url, labels_url, affinities_url, truth_url
        OME-Zarr images.
    skeletons_url
        A source of precomputed skeletons.
    contrast
        Raw values that are drawn black and white.
    affinity_channels
        The channels that are drawn blue, green and red: those that lead along z, y, x, as in the figures.
    """

    title: str
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    raw_url: str
    labels_url: str
    contrast: tuple[float, float]
    affinities_url: str | None = None
    truth_url: str | None = None
    skeletons_url: str | None = None
    affinity_channels: tuple[int, ...] = (0, 1, 2)

    @property
    def dimensions(self) -> dict[str, list[Any]]:
        """The axes x, y, z with their unit: a voxel, in metres."""
        return {axis: [size * 1e-9, "m"] for axis, size in zip("xyz", self.voxel_size_zyx_nm[::-1], strict=True)}

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
        """Give a position as neuroglancer counts it: x, y, z in voxel sizes from 0 nm."""
        return [nm / size for nm, size in zip(position_zyx_nm[::-1], self.voxel_size_zyx_nm[::-1], strict=True)]


@dataclass(frozen=True)
class Mark:
    """A place worth looking at, and the objects there, by layer (``labels``, ``truth``, ``skeletons``)."""

    name: str
    description: str
    position_zyx_nm: TripleNm
    segments: Mapping[str, Sequence[str]]


def describe_whole(scene: Scene, marks: Sequence[Mark], skeleton_ids: Sequence[str]) -> dict[str, Any]:
    """Give the state that shows the whole volume with all marks and some skeletons."""
    selected = "errors" if marks else "labels"
    return _describe(scene, scene.center_zyx_nm, scene.extent_nm, marks, {"skeletons": skeleton_ids}, selected)


def describe_mark(scene: Scene, mark: Mark) -> dict[str, Any]:
    """Give the state that shows one mark from close by, its objects selected."""
    return _describe(scene, mark.position_zyx_nm, min(FIELD_NM, scene.extent_nm), [mark], mark.segments, "labels")


def link(client: str, state: Mapping[str, Any]) -> str:
    """Give the address that opens a state in a client; the whole state is in it."""
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
    smallest_nm = min(scene.voxel_size_zyx_nm)
    return {
        "title": scene.title,
        "dimensions": scene.dimensions,
        "position": scene.position(position_zyx_nm),
        "crossSectionScale": field_nm / PANEL_PIXELS / smallest_nm,
        "projectionScale": 1.5 * field_nm / smallest_nm,
        "layers": layers,
        "layout": _arrange([layer["name"] for layer in layers]),
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
    if scene.affinities_url is not None:
        yield _describe_affinities(scene)
    for name, source in (("labels", scene.labels_url), ("truth", scene.truth_url)):
        if source is not None:
            yield _describe_objects(name, f"zarr3://{source}", segments.get(name, ()))
    if scene.skeletons_url is not None:
        layer = _describe_objects("skeletons", f"precomputed://{scene.skeletons_url}", segments.get("skeletons", ()))
        yield layer | {"skeletonRendering": {"mode2d": "lines_and_points", "lineWidth2d": 3}}


def _describe_affinities(scene: Scene) -> dict[str, Any]:
    """Draw three channels red, green, blue, fewer as gray; an axis `c^` is one that shaders see whole."""
    values = [f"toNormalized(getDataValue({channel}))" for channel in scene.affinity_channels[::-1]]
    color = f"emitRGB(vec3({', '.join(values)}))" if len(values) == 3 else f"emitGrayscale({values[0]})"
    spatial = {axis: scene.dimensions[axis] for axis in "zyx"}
    return {
        "type": "image",
        "name": "affinities",
        "source": {
            "url": f"zarr3://{scene.affinities_url}",
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


def _arrange(names: Sequence[str]) -> Any:
    """Lay out one panel for each segmentation and for affinities, and one in 3-D, in rows of two."""
    over = [name for name in ("skeletons", "errors") if name in names]
    panels = [_panel(["raw", name, *over], "xy") for name in ("labels", "truth", "affinities") if name in names]
    if len(panels) == 1:
        return "4panel"
    panels.append(_panel([name for name in names if name not in ("affinities", "truth")], "3d"))
    rows = [{"type": "row", "children": panels[k : k + 2]} for k in range(0, len(panels), 2)]
    return {"type": "column", "children": rows}


def _panel(layers: Sequence[str], layout: str) -> dict[str, Any]:
    return {"type": "viewer", "layers": list(layers), "layout": layout}
