"""What is to be done, told to the rule that plans it on paper. No rules."""

from types import SimpleNamespace


def planned_work():
    """Give every variant that segments, with its settings, the size of its volumes, and the jobs they are divided among.

    What a generator takes is not planned: its steps are what its preset says.
    """
    return {"variants": [planned_variant(variant) for variant in VARIANTS if not is_synthesis(variant)]}


def planned_variant(variant):
    """Give one variant as plain values."""
    data, volumes = variant.settings["data"], list(segmented(variant))
    learnt = [name for name, source in data.volumes.items() if source.role == "train"] if is_trained(variant) else []
    places = {name: SimpleNamespace(**variant.ids, volume=name) for name in volumes}
    return {
        "name": variant.name,
        "chains": {stage: variant.chain(stage) for stage in [*CHAIN, "submit"]},
        "is_trained": is_trained(variant),
        "is_challenge": is_challenge(variant),
        "segmented": volumes,
        "trained_on": learnt,
        "measured": measured(variant),
        "volumes": {name: planned_volume(variant, name) for name in dict.fromkeys([*learnt, *volumes])},
        "jobs": {name: {s: jobs_of(s, place) for s in STORES} for name, place in places.items()},
        **{stage: variant.settings[stage].model_dump(mode="json") for stage in ("train", "predict", "decode")},
    }


def planned_volume(variant, name):
    """Tell how large a volume is, and from where that is known; of a crop, where it will be told."""
    source, extent = variant.settings["data"].volumes[name], extent_of(variant.ids["data"], name)
    if not extent:
        return {"volume_json": f"{RESULTS}/ingest/{variant.ids['data']}/{name}/volume.json"}
    is_linked = source.raw is not None and ".zarr" in source.raw
    return {**extent, "source": "header" if source.raw else "preset", "is_linked": is_linked}
