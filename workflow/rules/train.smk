"""Train: fit a 3-D network to the training boxes of a split.

in   split.tsv and the volumes that it names
out  results/train/{data}/{split}/{train}/model.ckpt, metrics.csv; run/ beside them holds states to resume from and
     TensorBoard logs, and is no output: Snakemake would delete it before each attempt
cost the steps of the preset; a CPU suffices for small networks
"""


rule train_model:
    """Train, or go on training from the last saved state."""
    input:
        split=rules.make_datasplit.output.table,
    output:
        checkpoint=f"{folder('train', volume=False)}/model.ckpt",
        metrics=f"{folder('train', volume=False)}/metrics.csv",
    log:
        log_of("train_model", "train", volume=False),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
        gpu=lambda wildcards: int(settings("train")(wildcards)["device"] != "cpu"),
    params:
        cfg=settings("train"),
        augment=settings("train", "augment"),
        run_folder=f"{folder('train', volume=False)}/run",
    message:
        "training {wildcards.train} on {wildcards.data}"
    script:
        "../../scripts/train_model.py"
