"""Ingest: check every volume once, bring it into a form that can be read in blocks, and say where it lies.

in   the files that config/data names, or a generated volume
out  results/ingest/{data}/{volume}/volume.json   converted stores beside it; fast formats are linked
     results/ingest/{data}/{volume}/skeletons.npz where a volume has skeletons
cost one reading of the data; 1 GiB of memory per thread. To trace skeletons: 0.2 to 0.6 Mvoxel/s per process
"""


rule ingest_volume:
    """Check one volume's content; convert it to sharded OME-Zarr where its format is slow."""
    input:
        unpack(INPUTS.ingest),
    output:
        volume_json=PATHS.volume,
    log:
        f"{RESULTS}/log/ingest_volume/{{data}}/{{volume}}.log",
    benchmark:
        f"{RESULTS}/benchmark/ingest_volume/{{data}}/{{volume}}.tsv"
    wildcard_constraints:
        data=STUDY.ids_where("data", lambda cfg: cfg.cellmap is None),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=lambda wildcards, threads, attempt: 1024 * (threads + 1) * attempt,
        runtime=per_attempt(240),
    params:
        source=INPUTS.plain_source,
        name=lambda wildcards: wildcards.volume,
        folder=INPUTS.folder,
        made=SYNTHESIS.folder_of_generated,
    message:
        "ingesting {wildcards.data}/{wildcards.volume}"
    script:
        "../../scripts/ingest_volume.py"


rule make_skeletons:
    """Check the skeletons of a volume's file, or trace them in its truth labels, block by block."""
    input:
        unpack(INPUTS.skeleton_source),
        volume=rules.ingest_volume.output.volume_json,
    output:
        skeletons=PATHS.traced,
    log:
        f"{RESULTS}/log/make_skeletons/{{data}}/{{volume}}.log",
    benchmark:
        f"{RESULTS}/benchmark/make_skeletons/{{data}}/{{volume}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: 2 if INPUTS.is_traced(wildcards) else 1
    resources:
        mem_mb=RESOURCES.trace_mb,
        runtime=1440,
    params:
        cfg=lambda wildcards: INPUTS.tracing(wildcards).model_dump(mode="json"),
        cache=f"{RESULTS}/ingest/{{data}}/{{volume}}/skeletons.parts",
        code=code("ingest.skeletons", "volumes.skeletons"),
    message:
        "skeletons of {wildcards.data}/{wildcards.volume}"
    script:
        "../../scripts/make_skeletons.py"
