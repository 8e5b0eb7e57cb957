"""What is to be done, as plain values for the rule that plans it on paper."""

from __future__ import annotations

from typing import Any

from connectomake.config.engine.variant import CHAIN, Variant
from connectomake.flow.files import list_measured, list_segmented
from connectomake.flow.jobs import Jobs, read_extent
from connectomake.flow.study import Study


def describe_work(study: Study, jobs: Jobs) -> dict[str, Any]:
    """Return every variant that segments, with its settings, the size of its volumes, and their numbers of jobs.

    What a generator takes is not planned: its steps are what its preset says.
    """
    return {"variants": [_describe(study, jobs, variant) for variant in study.variants if not variant.makes_volumes]}


def _describe(study: Study, jobs: Jobs, variant: Variant) -> dict[str, Any]:
    volumes, sources = list_segmented(variant), variant.data.volumes
    learnt = [name for name in sources if variant.is_trained and sources[name].role == "train"]
    places = {name: {**variant.ids, "volume": name} for name in volumes}
    return {
        "name": variant.name,
        "chains": {stage: variant.chain(stage) for stage in [*CHAIN, "submit"]},
        "is_trained": variant.is_trained,
        "is_challenge": variant.is_challenge,
        "segmented": volumes,
        "trained_on": learnt,
        "measured": list_measured(variant),
        "volumes": {name: _describe_volume(study, variant, name) for name in dict.fromkeys([*learnt, *volumes])},
        "jobs": {
            name: {"predict": jobs.count("predict", place), "decode": jobs.count("decode", place)}
            for name, place in places.items()
        },
        **{stage: variant.settings[stage].model_dump(mode="json") for stage in ("train", "predict", "decode")},
    }


def _describe_volume(study: Study, variant: Variant, name: str) -> dict[str, Any]:
    """Return how large a volume is, and from where that is known; of a crop, where it will be written."""
    source, extent = variant.data.volumes[name], read_extent(study, variant.ids["data"], name)
    if not extent:
        return {"volume_json": study.paths.volume_json(variant.ids["data"], name)}
    is_linked = source.raw is not None and ".zarr" in source.raw
    return {**extent, "source": "header" if source.raw else "preset", "is_linked": is_linked}
