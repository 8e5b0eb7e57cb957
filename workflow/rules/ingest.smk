"""Ingest: check every volume once, bring it into a form that can be read in blocks, and say where it lies.

in   the files that config/data names, or a generated volume
out  results/ingest/{data}/{volume}/volume.json   converted stores beside it; fast formats are linked
     results/ingest/{data}/{volume}/skeletons.npz where a volume has skeletons
cost one reading of the data; 1 GiB of memory per thread
"""


rule ingest_volume:
    """Check one volume's content; convert it to sharded OME-Zarr where its format is slow."""
    input:
        unpack(ingest_files),
    output:
        volume_json=f"{RESULTS}/ingest/{{data}}/{{volume}}/volume.json",
    log:
        f"{RESULTS}/log/ingest_volume/{{data}}/{{volume}}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=lambda wildcards, threads: 1024 * (threads + 1),
        runtime=240,
    params:
        source=lambda wildcards: source_of(wildcards).model_dump(mode="json"),
        name=lambda wildcards: wildcards.volume,
        folder=folder_of,
    message:
        "ingesting {wildcards.data}/{wildcards.volume}"
    script:
        "../../scripts/ingest_volume.py"


rule make_skeletons:
    """Convert the skeletons of a volume, or trace them in its truth labels."""
    input:
        unpack(skeleton_files),
        volume=rules.ingest_volume.output.volume_json,
    output:
        skeletons=f"{RESULTS}/ingest/{{data}}/{{volume}}/skeletons.npz",
    log:
        f"{RESULTS}/log/make_skeletons/{{data}}/{{volume}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=240,
    params:
        code=code("measure.skeletonize", "volumes.skeletons"),
    message:
        "skeletons of {wildcards.data}/{wildcards.volume}"
    script:
        "../../scripts/make_skeletons.py"
