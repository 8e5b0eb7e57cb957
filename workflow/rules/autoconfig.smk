"""Auto-configuration: fit the train presets of the chosen experiments to this machine, by measuring.

in   the presets, and the splits that they are used with: the loader is measured on the real volumes
out  config/train/{preset}_auto.yaml, git-ignored; an experiment takes it by `train: {preset}_auto`. No output that
     Snakemake knows of: it is measured each time that it is asked for, and a file written by hand is never replaced
cost about two minutes for each preset, on the machine where the job runs: on a cluster, on a node that trains
"""


rule autoconfigure_training:
    """Measure batch, patch, precision, and workers for one preset."""
    input:
        split=lambda wildcards: f"{RESULTS}/split/{TRAININGS.first_with(wildcards.preset).chain('split')}/split.tsv",
    output:
        done=temp(f"{RESULTS}/autoconfig/{{preset}}.done"),
    log:
        f"{RESULTS}/log/autoconfigure_training/{{preset}}.log",
    wildcard_constraints:
        preset="[^/]+",
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(30),
        gpu=lambda wildcards: count_gpus(TRAININGS.first_with(wildcards.preset).train),
    params:
        preset=lambda wildcards: wildcards.preset,
        augment=lambda wildcards: TRAININGS.first_with(wildcards.preset).presets["augment"],
        project=str(PROJECT),
    message:
        "fitting config/train/{wildcards.preset}.yaml to this machine"
    script:
        "../../scripts/autoconfigure_training.py"


rule autoconfig:
    """Presets for this machine, of every train preset that the chosen experiments use."""
    input:
        expand(
            rules.autoconfigure_training.output.done,
            preset=TRAININGS.presets(),
        ),
    localrule: True
