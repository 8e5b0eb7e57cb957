"""Predict: run the network over every volume, block by block, in n jobs per volume.

in   volume.json, model.ckpt
out  results/predict/{data}/{split}/{train}/{predict}/{volume}/plan.json        what all jobs follow, and what they take
     results/predict/{data}/{split}/{train}/{predict}/{volume}/affinities.zarr  zarr.json is written last
     results/predict/{data}/{split}/{train}/{predict}/{volume}/check.json, check.png
Blocks that are done are told by the ledger in the store, not by Snakemake: a killed job goes on where it was.
"""


rule plan_prediction:
    """Decide what is predicted, in which blocks, and what it takes; refuse what cannot be."""
    input:
        volume=PATHS.volume,
        checkpoints=INPUTS.networks,
    output:
        plan=f"{folder('predict')}/plan.json",
    log:
        log_of("plan_prediction", "predict"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(30),
    params:
        store=f"{folder('predict')}/affinities.zarr",
        cfg=STUDY.settings("predict"),
        name=lambda wildcards: wildcards.volume,
        folder=INPUTS.folder,
        threads_per_job=RESOURCES.predict_threads,
    message:
        "planning the prediction of {wildcards.volume}"
    script:
        "../../scripts/plan_prediction.py"


rule predict_affinities:
    """Predict one job's share of the blocks."""
    input:
        plan=rules.plan_prediction.output.plan,
        volume=PATHS.volume,
        checkpoints=INPUTS.networks,
    output:
        marker=f"{folder('predict')}/jobs/{{job}}-of-{{jobs}}.json",
    log:
        f"{folder('predict', top='log/predict_affinities')}/{{job}}-of-{{jobs}}.log",
    benchmark:
        PATHS.benchmark_of("predict_affinities", "predict", jobs=True)
    conda:
        ENVIRONMENT
    threads: RESOURCES.predict_threads
    resources:
        mem_mb=RESOURCES.predict_mb,
        runtime=RESOURCES.predict_min,
        gpu=RESOURCES.predict_gpu,
    params:
        store=f"{folder('predict')}/affinities.zarr",
        cfg=STUDY.settings("predict"),
        job="{job}",
        jobs="{jobs}",
    message:
        "predicting {wildcards.volume}, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/predict_affinities.py"


rule finish_prediction:
    """Check that every block is there, make the coarse levels, and declare the store complete."""
    input:
        markers=JOBS.markers("predict"),
    output:
        done=PATHS.affinities,
    log:
        log_of("finish_prediction", "predict"),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(60),
    message:
        "prediction of {wildcards.volume} is complete"
    script:
        "../../scripts/finish_prediction.py"


rule check_prediction:
    """Look for drift, saturation, empty blocks and seams in a prediction, and draw what was found."""
    input:
        volume=PATHS.volume,
        affinities=PATHS.affinities,
    output:
        numbers=f"{folder('predict')}/check.json",
        figure=report(
            f"{folder('predict')}/check.png",
            caption="../report/check.rst",
            category="predict",
            labels={
                "volume": "{data}/{volume}",
                "model": "{train}",
                "prediction": "{predict}",
                "figure": "check",
            },
        ),
    log:
        log_of("check_prediction", "predict"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        title=lambda wildcards: wildcards.predict,
        code=code("predict.check", "draw.prediction.figure", "draw.sources"),
    message:
        "checking the prediction of {wildcards.volume}"
    script:
        "../../scripts/check_prediction.py"
