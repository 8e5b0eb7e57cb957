"""Measure: compare every segmentation with the skeletons and labels of its volume, and the variants of an experiment.

in   labels.zarr, volume.json, skeletons.npz
out  results/measure/.../{measure}/{volume}/metrics.json, skeletons.tsv, errors.tsv
     results/report/{experiment}/metrics.tsv       one row per variant and volume; of a challenge, its scores
     results/report/{experiment}/comparison.tsv    one row per setting, number and role: mean and spread over volumes and seeds
     results/report/{experiment}/metrics.json      both, and the best setting by each leading number, on validation volumes
"""


rule measure_segmentation:
    """Measure one segmentation."""
    input:
        unpack(INPUTS.skeletons),
        labels=PATHS.labels,
        volume=PATHS.volume,
    output:
        metrics=PATHS.metrics,
        table=f"{folder('measure')}/skeletons.tsv",
        errors=PATHS.worst_errors,
    log:
        log_of("measure_segmentation", "measure"),
    benchmark:
        PATHS.benchmark_of("measure_segmentation", "measure")
    wildcard_constraints:
        measure=STUDY.ids_where("measure", lambda cfg: cfg.backend == "own"),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=RESOURCES.measure_mb,
        runtime=per_attempt(60),
    params:
        cfg=STUDY.settings("measure"),
        code=lambda wildcards: code_of(*STUDY.at("measure", wildcards).measure.modules),
    message:
        "measuring {wildcards.volume} with {wildcards.decode}"
    script:
        "../../scripts/measure_segmentation.py"


use rule measure_segmentation as measure_by_funlib with:
    log:
        log_of("measure_by_funlib", "measure"),
    wildcard_constraints:
        measure=STUDY.ids_where("measure", lambda cfg: cfg.backend != "own"),
    conda:
        "../../envs/funlib.yaml"


rule compare_variants:
    """Gather the numbers of all variants of an experiment and name the best."""
    input:
        metrics=GOALS.number_files,
    output:
        table=PATHS.report("{experiment}", "metrics.tsv"),
        comparison=PATHS.report("{experiment}", "comparison.tsv"),
        summary=PATHS.report("{experiment}", "metrics.json"),
    log:
        f"{RESULTS}/log/compare_variants/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        variants=GOALS.number_variants,
        code=code("measure.compare"),
    message:
        "comparing the variants of {wildcards.experiment}"
    script:
        "../../scripts/compare_variants.py"
