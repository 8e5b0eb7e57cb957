"""Where the crops and arrays of a submission lie, as the challenge's scorer looks for them (`submission.py`).

It takes the one folder that ends in .zarr as the top, or the whole where there is none, then the crops' folders right
in it, and of each crop only what is a Zarr 2 array. All else counts as missing.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connectomake.cellmap.manifest import ManifestRow, group_by_crop
from connectomake.config.engine.explain import nearest
from connectomake.submit.check.files import Files
from connectomake.submit.check.finding import WHOLE, Finding

CROP = re.compile(r"crop\d+")


@dataclass(frozen=True)
class Node:
    """A folder inside a crop's, and the names of its files below it."""

    path: str
    names: list[str] = field(default_factory=list)

    @property
    def is_array(self) -> bool:
        """Whether the scorer takes it as an array."""
        return ".zarray" in self.names


@dataclass(frozen=True)
class Layout:
    """What the scorer finds.

    Parameters
    ----------
    crops
        Crop, as in ``crop557`` -> class -> what lies there.
    findings
        What is wrong; nothing can be scored where there are no crops.
    """

    crops: dict[str, dict[str, Node]]
    findings: list[Finding]


def find_crops(files: Files, wanted: Collection[str] | None) -> Layout:
    """Find the crops' folders.

    Parameters
    ----------
    files
        The submission's.
    wanted
        The crops of the manifest; None = whatever is called ``cropN``.
    """
    paths = {*files.sizes, *files.folders}
    if not paths:
        return Layout({}, [Finding("fails", WHOLE, "it is empty", "pack the crops' folders")])
    inner = sorted({part for path in paths for part in _ancestors(path) if part.endswith(".zarr")})
    if len(inner) > 1:
        what = f"{len(inner)} folders or files end in .zarr, at most one is taken: {', '.join(inner[:3])}"
        return Layout({}, [Finding("fails", WHOLE, what, "submit one Zarr folder with all crops in it")])
    top = inner[0] + "/" if inner else ""
    below = _gather(files, top)
    names, renamed = _match(below, wanted)
    if not names:
        return Layout({}, [_tell_no_crops(paths, sorted(below))])
    crops = {crop: below[name] for name, crop in names.items()}
    findings = [finding for name, crop in names.items() for finding in _judge_crop(files, top + name, crop)]
    findings += [
        Finding("note", name, "a folder that is no crop to score: ignored", _suggest(name, wanted or ()))
        for name in sorted(below.keys() - names.keys())
    ]
    findings += _judge_group(files, f"{top}.zgroup", WHOLE)
    if renamed:
        findings.append(Finding("note", WHOLE, "folders of crops lack `crop` before the number: the scorer adds it"))
    return Layout(crops, findings)


def find_missing(layout: Layout, rows: Iterable[ManifestRow]) -> list[Finding]:
    """Find what the manifest asks for and is not there, and what is there without being asked for."""
    found = []
    for crop, of_crop in group_by_crop(rows).items():
        labels = [row.label for row in of_crop]
        if crop not in layout.crops:
            what = f"no such folder: {len(labels)} {'classes are' if len(labels) > 1 else 'class is'} scored as missing"
            found.append(Finding("zero", crop, what, "write an array for each class, empty ones included"))
            continue
        nodes = layout.crops[crop]
        for label in labels:
            if label not in nodes:
                what = "no such array: it is scored as missing"
                found.append(Finding("zero", f"{crop}/{label}", what, "write one, even if it is empty"))
        for label in sorted(nodes.keys() - set(labels)):
            what = "not in the manifest for this crop: ignored"
            found.append(Finding("note", f"{crop}/{label}", what, _suggest(label, labels)))
    return found


def find_foreign(files: Files, where: str, node: Node) -> list[Finding]:
    """Find why the scorer takes a folder for no array, if it does not; it counts as missing then."""
    if node.is_array:
        return []
    if "zarr.json" in node.names:
        hint = "write it with zarr_format=2 (zarr 3 writes format 3 unless told)"
        return [
            Finding("zero", where, "in Zarr format 3, which the scorer does not see: it is scored as missing", hint)
        ]
    levels = sorted({name.split("/")[0] for name in node.names if name.endswith(("/.zarray", "/zarr.json"))})
    if levels or ".zgroup" in node.names:
        is_ome = ".zattrs" in node.names and "multiscales" in _read_json(files, f"{node.path}/.zattrs")
        kind = "an OME multiscale group" if is_ome else "a group"
        what = f"{kind} ({', '.join(levels) or 'empty'}), not an array: it is scored as missing"
        return [Finding("zero", where, what, "write the level on the crop's own voxels as one array right there")]
    what = "a folder without .zarray, thus no array: it is scored as missing"
    return [Finding("zero", where, what, "write it as a Zarr 2 array")]


def _gather(files: Files, top: str) -> dict[str, dict[str, Node]]:
    """Sort the files below the top into folders and folders in these."""
    below: dict[str, dict[str, Node]] = {}
    for path in (*files.folders, *files.sizes):
        if not path.startswith(top):
            continue
        crop, *rest = path.removeprefix(top).split("/", 2)
        is_folder = path in files.folders
        if not rest and not is_folder:
            continue
        nodes = below.setdefault(crop, {})
        if len(rest) == 2 or (rest and is_folder):
            node = nodes.setdefault(rest[0], Node(f"{top}{crop}/{rest[0]}"))
            if len(rest) == 2 and not is_folder:
                node.names.append(rest[1])
    return below


def _match(names: Iterable[str], wanted: Collection[str] | None) -> tuple[dict[str, str], bool]:
    """Pair folders with crops, as (folder -> crop, whether `crop` was put before the names)."""

    def is_crop(name: str) -> bool:
        return CROP.fullmatch(name) is not None if wanted is None else name in wanted

    found = {name: name for name in sorted(names) if is_crop(name)}
    if found:
        return found, False
    found = {name: f"crop{name}" for name in sorted(names) if is_crop(f"crop{name}")}
    return found, bool(found)


def _tell_no_crops(paths: Iterable[str], there: list[str]) -> Finding:
    deeper = next((path for path in sorted(paths) if any(map(CROP.fullmatch, path.split("/")[1:]))), None)
    if deeper is None:
        shown = ", ".join(there[:3]) or "only files"
        return Finding(
            "fails", WHOLE, f"no folder of a crop to score, got {shown}", "pack folders crop557/mito and so on"
        )
    parts = deeper.split("/")
    wrapper = "/".join(parts[: next(k for k, part in enumerate(parts) if CROP.fullmatch(part))])
    what = f"no folder of a crop at the top: they lie in {wrapper}/"
    return Finding("fails", WHOLE, what, f"pack what is in {wrapper}, not the folder itself")


def _judge_crop(files: Files, path: str, crop: str) -> list[Finding]:
    """Find whether a crop's folder cannot be opened as a group; one without .zgroup can."""
    if f"{path}/.zarray" in files.sizes:
        return [Finding("fails", crop, "the crop's folder is an array, not a group of arrays", "write crop/class")]
    return _judge_group(files, f"{path}/.zgroup", crop)


def _judge_group(files: Files, name: str, where: str) -> list[Finding]:
    if name not in files.sizes or _read_json(files, name).get("zarr_format") == 2:
        return []
    return [Finding("fails", where, f"{name} cannot be read", 'it must hold {"zarr_format": 2}, or not be there')]


def _read_json(files: Files, name: str) -> dict[str, object]:
    """Read a file that holds a mapping; an empty one where it cannot be read."""
    try:
        return dict(json.loads(files.read(name)))
    except Exception:  # a zip raises whatever it likes
        return {}


def _suggest(name: str, known: Collection[str]) -> str:
    """Return the nearest of the names that are known, if one is near."""
    told = nearest(name, known)
    return told if told.startswith("did") else ""


def _ancestors(path: str) -> Iterable[str]:
    while path:
        yield path
        path = posixpath.dirname(path)
