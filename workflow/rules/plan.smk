"""Plan: what the run will take, on paper: jobs, GPU and core hours, storage, memory, and how long that is.

out  results/report/plan.tsv
`snakemake plan --config plan_gpus=8 plan_cores=64`: for so many GPUs and cores. Sizes come from headers and presets, work
from the networks' arithmetic; nothing is read, trained or predicted.
"""


rule plan:
    """Say what the chosen experiments will take."""
    log:
        f"{RESULTS}/log/plan.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        table=f"{RESULTS}/report/plan.tsv",
        work=lambda wildcards: describe_work(STUDY, JOBS),
        gpus=STUDY.run.plan_gpus,
        cores=STUDY.run.plan_cores,
    message:
        "planning the run on paper"
    script:
        "../../scripts/plan_run.py"
