"""How many jobs a volume is divided among, and what they write when they are done. No rules."""

from collections import Counter

from connectomake.config.generated import generated_shape
from connectomake.config.jobs import AUTO, count_jobs

STORES = {"predict": "affinities.zarr", "decode": "labels.zarr"}
KEPT = {"predict": "", "decode": "relabel-"}  # how markers that stay begin


@cache  # asked for in every variant, and headers of files are read for it
def extent_of(data, volume):
    """Tell how large a volume is or will be, from its file's header or its preset; {} = a challenge's crop."""
    variant = INDEX["data", data]
    source = variant.settings["data"].volumes[volume]
    if source.crop is not None:
        return {}
    if source.phantom is not None:
        made = variant.phantoms[source.phantom].settings
        start, stop = source.box_zyx_vx or ((0, 0, 0), made.shape_zyx)
        sides = [min(b, n) - a for a, b, n in zip(start, stop, made.shape_zyx, strict=True)]
        return {"shape_zyx": sides, "voxel_size_zyx_nm": list(made.voxel_size_zyx_nm), "dtype": "uint8", "channels": 1}
    if source.generated is not None:  # as what it was learnt from, in a shape of its own
        learnt = variant.generator.settings["data"].volumes
        example = next(name for name, volume in learnt.items() if volume.role == "train")
        shape_zyx = list(generated_shape(variant.generator, source.generated))
        return extent_of(variant.generator.ids["data"], example) | {"shape_zyx": shape_zyx}
    from connectomake.volumes.checks import open_pair  # slow, and needed for files alone

    images, _ = open_pair(source, variant.settings["data"].folder)
    return {
        "shape_zyx": list(images.shape_zyx),
        "voxel_size_zyx_nm": list(images.voxel_size_zyx_nm),
        "dtype": images.dtype.name,
        "channels": images.channels,
    }


def jobs_of(stage, wildcards):
    """Give the number of jobs that the settings of a stage ask for, of one volume."""
    cfg = INDEX[stage, getattr(wildcards, stage)].settings[stage]
    if cfg.jobs != AUTO:
        return cfg.jobs
    region = INDEX["predict", wildcards.predict].settings["predict"].regions.get(wildcards.volume)
    extent = extent_of(wildcards.data, wildcards.volume)
    return count_jobs(cfg, extent.get("shape_zyx"), extent.get("voxel_size_zyx_nm"), region)


def markers_of(stage, kind=""):
    """Name what the n jobs of a stage over one volume write when they are done.

    What is complete stays so when n is changed: n is then that of the jobs that made it.
    """

    def of(wildcards):
        own, jobs, made = folder(stage).format(**wildcards), jobs_of(stage, wildcards), set()
        if not workflow.is_main_process:  # the job is started by itself: what it was planned for is there
            made = complete_sets(f"{own}/jobs", kind)
        elif os.path.exists(f"{own}/{STORES[stage]}/zarr.json"):
            made = complete_sets(f"{own}/jobs", KEPT[stage])
        if made and jobs not in made:
            jobs = max(made)
        return [f"{own}/jobs/{kind}{job}-of-{jobs}.json" for job in range(jobs)]

    return of


def complete_sets(markers, kind):
    """Give every n of which a folder holds the markers of all n jobs."""
    names = os.listdir(markers) if os.path.isdir(markers) else []
    found = Counter(m[1] for m in (re.fullmatch(rf"{kind}\d+-of-(\d+)\.json", name) for name in names) if m)
    return {int(jobs) for jobs, count in found.items() if count == int(jobs)}
