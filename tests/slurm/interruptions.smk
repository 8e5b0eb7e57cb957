"""Jobs that are stopped half way, each in another way. What each did is written beside its output, which Snakemake removes."""


rule all:
    input:
        expand("{name}.txt", name=["hungry", "late", "cancelled", "requeued"]),
    localrule: True


rule exceed_memory:
    """Need more than the first attempt has."""
    output:
        "hungry.txt",
    log:
        "hungry.log",
    resources:
        mem_mb=lambda wildcards, attempt: 700 * attempt,
        runtime=10,
    shell:
        "echo {resources.mem_mb} >> hungry.history; "
        "python -c 'import time; held = bytes(range(256)) * 2_500_000; time.sleep(4)' && touch {output}"


rule exceed_time:
    """Work until the time is over; then find the work done."""
    output:
        "late.txt",
    log:
        "late.log",
    resources:
        mem_mb=700,
        runtime=1,
    shell:
        "trap 'echo told >> late.history; exit 1' TERM; "
        "[ ! -e late.history ] || {{ touch {output}; exit 0; }}; "
        "echo begun >> late.history; while true; do sleep 0.2; done"


rule wait_for_end:
    """Wait to be stopped; when begun again, find the work done."""
    output:
        "{name}.txt",
    log:
        "{name}.log",
    wildcard_constraints:
        name="cancelled|requeued",
    resources:
        mem_mb=700,
        runtime=10,
    shell:
        "[ ! -e {wildcards.name}.history ] || {{ echo $SLURM_JOB_ID >> {wildcards.name}.history; touch {output}; exit 0; }}; "
        "echo $SLURM_JOB_ID >> {wildcards.name}.history; sleep 300"
