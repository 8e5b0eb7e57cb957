"""Predict: run the network over every volume, block by block, in n jobs per volume.

in   volume.json, model.ckpt
out  results/predict/{data}/{split}/{train}/{predict}/{volume}/affinities.zarr   zarr.json is written last
Blocks that are done are told by the ledger in the store, not by Snakemake: a killed job goes on where it was.
"""


rule predict_affinities:
    """Predict one job's share of the blocks."""
    input:
        volume=f"{RESULTS}/ingest/{{data}}/{{volume}}/volume.json",
        checkpoint=rules.train_model.output.checkpoint,
    output:
        marker=f"{folder('predict')}/jobs/{{job}}-of-{{jobs}}.json",
    log:
        f"{folder('predict', top='log/predict_affinities')}/{{job}}-of-{{jobs}}.log",
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=240,
        gpu=lambda wildcards: int(settings("predict")(wildcards)["device"] != "cpu"),
    params:
        store=f"{folder('predict')}/affinities.zarr",
        cfg=settings("predict"),
        job=lambda wildcards: int(wildcards.job),
        jobs=lambda wildcards: int(wildcards.jobs),
    message:
        "predicting {wildcards.volume}, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/predict_affinities.py"


rule finish_prediction:
    """Check that every block is there, and declare the store complete."""
    input:
        markers=markers_of("predict"),
    output:
        done=f"{folder('predict')}/affinities.zarr/zarr.json",
    log:
        log_of("finish_prediction", "predict"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "prediction of {wildcards.volume} is complete"
    script:
        "../../scripts/finish_prediction.py"
