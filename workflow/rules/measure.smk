"""Measure: compare every segmentation with the skeletons and labels of its volume.

in   labels.zarr, volume.json, skeletons.npz
out  results/measure/.../{measure}/{volume}/metrics.json, skeletons.tsv
     results/report/{experiment}/metrics.tsv, metrics.json   one row per variant and volume
"""


rule measure_segmentation:
    """Measure one segmentation."""
    input:
        unpack(truth_skeletons),
        labels=rules.decode_affinities.output.labels,
        volume=f"{RESULTS}/ingest/{{data}}/{{volume}}/volume.json",
    output:
        metrics=f"{folder('measure')}/metrics.json",
        table=f"{folder('measure')}/skeletons.tsv",
    log:
        log_of("measure_segmentation", "measure"),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        cfg=settings("measure"),
        code=code("measure"),
    message:
        "measuring {wildcards.volume} with {wildcards.decode}"
    script:
        "../../scripts/measure_segmentation.py"


rule compare_variants:
    """Gather the numbers of all variants of an experiment and name the best."""
    input:
        metrics=lambda wildcards: [
            path_of("measure", "metrics.json", variant, volume)
            for variant in variants_of(wildcards.experiment)
            for volume in measured(variant)
        ],
    output:
        table=f"{RESULTS}/report/{{experiment}}/metrics.tsv",
        summary=f"{RESULTS}/report/{{experiment}}/metrics.json",
    log:
        f"{RESULTS}/log/compare_variants/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        variants=lambda wildcards: [
            variant.name for variant in variants_of(wildcards.experiment) for volume in measured(variant)
        ],
        code=code("measure.compare"),
    message:
        "comparing the variants of {wildcards.experiment}"
    script:
        "../../scripts/compare_variants.py"
