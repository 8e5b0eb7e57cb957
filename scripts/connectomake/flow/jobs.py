"""How many jobs a volume is divided among, what they write when they are done, and how large volumes will be."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from connectomake.config.engine.fill_generated import generated_shape
from connectomake.config.engine.variant import Variant
from connectomake.config.settings.jobs import AUTO, count_jobs
from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study

_LAST = {"predict": "", "decode": "relabel-"}  # how the names of markers begin that stay when the store is complete


@dataclass(frozen=True)
class Jobs:
    """The jobs of a study.

    Parameters
    ----------
    study
        What runs.
    is_planning
        Whether this process plans; else it is a job itself, which was planned for the markers that lie there.
    """

    study: Study
    is_planning: bool

    def count(self, stage: Literal["predict", "decode"], wildcards: Wildcards) -> int:
        """Return the number of jobs that the settings of a stage ask for, of one volume."""
        variant = self.study.at(stage, wildcards)
        cfg = variant.predict if stage == "predict" else variant.decode
        if cfg.jobs != AUTO:
            return cfg.jobs
        region = self.study.at("predict", wildcards).predict.regions.get(wildcards["volume"])
        extent = read_extent(self.study, wildcards["data"], wildcards["volume"])
        return count_jobs(cfg, extent.get("shape_zyx"), extent.get("voxel_size_zyx_nm"), region)

    def markers(self, stage: Literal["predict", "decode"], kind: str = "") -> Callable[[Wildcards], list[str]]:
        """Return a function that returns what the jobs of a stage over one volume write when they are done.

        What is complete stays so when the number of jobs is changed: it is then that of the jobs that made it.
        """

        def of(wildcards: Wildcards) -> list[str]:
            paths = self.study.paths
            own = paths.fill(paths.folder(stage), wildcards)
            store = paths.fill(paths.affinities if stage == "predict" else paths.labels, wildcards)
            jobs, made = self.count(stage, wildcards), set[int]()
            if not self.is_planning:
                made = find_complete(f"{own}/jobs", kind)
            elif os.path.exists(store):
                made = find_complete(f"{own}/jobs", _LAST[stage])
            if made and jobs not in made:
                jobs = max(made)
            return [f"{own}/jobs/{kind}{job}-of-{jobs}.json" for job in range(jobs)]

        return of


def find_complete(folder: str, kind: str) -> set[int]:
    """Return every n of which a folder holds the markers of all n jobs."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = Counter(m[1] for m in (re.fullmatch(rf"{kind}\d+-of-(\d+)\.json", name) for name in names) if m)
    return {int(jobs) for jobs, count in found.items() if count == int(jobs)}


@cache  # asked for in every variant, and headers of files are read for it
def read_extent(study: Study, data: str, volume: str) -> dict[str, Any]:
    """Return how large a volume is or will be, from its file's header or its preset.

    Returns
    -------
    dict
        ``shape_zyx`` in voxels, ``voxel_size_zyx_nm``, ``dtype``, ``channels``; empty for a crop of a challenge.
    """
    variant = study.index["data", data]
    source = variant.data.volumes[volume]
    if source.crop is not None:
        return {}
    if source.phantom is not None:
        return _extent_of_phantom(variant, source.phantom, source.box_zyx_vx)
    if source.generated is not None:
        return _extent_of_generated(study, variant, source.generated)
    from connectomake.ingest.checks import open_pair  # slow, and needed for files alone

    images, _ = open_pair(source, variant.data.folder)
    return {
        "shape_zyx": list(images.shape_zyx),
        "voxel_size_zyx_nm": list(images.voxel_size_zyx_nm),
        "dtype": images.dtype.name,
        "channels": images.channels,
    }


def _extent_of_phantom(variant: Variant, phantom: str, box_zyx_vx: Any) -> dict[str, Any]:
    made: Any = variant.phantoms[phantom].settings
    start, stop = box_zyx_vx or ((0, 0, 0), made.shape_zyx)
    sides = [min(b, n) - a for a, b, n in zip(start, stop, made.shape_zyx, strict=True)]
    return {"shape_zyx": sides, "voxel_size_zyx_nm": list(made.voxel_size_zyx_nm), "dtype": "uint8", "channels": 1}


def _extent_of_generated(study: Study, variant: Variant, name: str) -> dict[str, Any]:
    """Return the extent of what a volume is learnt from, in a shape of its own."""
    generator = variant.generator
    assert generator is not None
    example = next(key for key, volume in generator.data.volumes.items() if volume.role == "train")
    shape_zyx = list(generated_shape(generator.synth, name))
    return read_extent(study, generator.ids["data"], example) | {"shape_zyx": shape_zyx}
