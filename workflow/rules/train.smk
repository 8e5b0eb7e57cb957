"""Train: fit a 3-D network to the training boxes of a split.

in   split.tsv and the volumes that it names
out  results/train/{data}/{split}/{train}/model.ckpt, metrics.csv; run/ beside them holds states to resume from, the
     best checkpoints and TensorBoard logs, and is no output: Snakemake would delete it before each attempt
cost the steps of the preset; a CPU suffices for small networks
One process trains in a `script:`. Several (train.devices, train.nodes) are started by torchrun, with the same script.
"""


rule train_model:
    """Train, or go on training from the last saved state."""
    input:
        split=PATHS.split_table,
        skeletons=INPUTS.validation_skeletons,
    output:
        checkpoint=PATHS.checkpoint,
        metrics=PATHS.training_metrics,
    log:
        log_of("train_model", "train", volume=False),
    benchmark:
        PATHS.benchmark_of("train_model", "train", volume=False)
    wildcard_constraints:
        train=STUDY.ids_where("train", lambda cfg: cfg.processes == 1),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
        gpu=TRAININGS.gpus,
    params:
        cfg=STUDY.settings("train"),
        augment=STUDY.settings("train", "augment"),
        run_folder=f"{folder('train', volume=False)}/run",
    message:
        "training {wildcards.train} on {wildcards.data}"
    script:
        "../../scripts/train_model.py"


rule train_on_devices:
    """Train in several processes of one node, each with a GPU of its own or a share of the cores."""
    input:
        split=PATHS.split_table,
        skeletons=INPUTS.validation_skeletons,
    output:
        checkpoint=PATHS.checkpoint,
        metrics=PATHS.training_metrics,
    log:
        log_of("train_on_devices", "train", volume=False),
    benchmark:
        PATHS.benchmark_of("train_on_devices", "train", volume=False)
    wildcard_constraints:
        train=STUDY.ids_where("train", lambda cfg: cfg.devices > 1 and cfg.nodes == 1),
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=TRAININGS.memory_mb,
        runtime=2880,
        gpu=TRAININGS.gpus,
        nodes=1,
    params:
        cfg=TRAININGS.settings_json,
        augment=TRAININGS.augment_json,
        run_folder=f"{folder('train', volume=False)}/run",
        devices=TRAININGS.devices,
        script=os.path.relpath(PROJECT / "scripts/train_model.py"),
    message:
        "training {wildcards.train} on {wildcards.data}, in {params.devices} processes"
    shell:
        ON_DEVICES


rule train_on_nodes:
    """Train on several nodes of a Slurm cluster: srun starts one torchrun on each, and they meet on the first."""
    input:
        split=PATHS.split_table,
        skeletons=INPUTS.validation_skeletons,
    output:
        checkpoint=PATHS.checkpoint,
        metrics=PATHS.training_metrics,
    log:
        log_of("train_on_nodes", "train", volume=False),
    benchmark:
        PATHS.benchmark_of("train_on_nodes", "train", volume=False)
    wildcard_constraints:
        train=STUDY.ids_where("train", lambda cfg: cfg.nodes > 1),
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=TRAININGS.memory_mb,
        runtime=2880,
        nodes=TRAININGS.nodes,
        tasks=TRAININGS.nodes,
        tasks_per_gpu=0,  # not the default, `tasks` for each GPU
        gres=TRAININGS.gres,
        mpi="srun",
    params:
        cfg=TRAININGS.settings_json,
        augment=TRAININGS.augment_json,
        run_folder=f"{folder('train', volume=False)}/run",
        devices=TRAININGS.devices,
        script=os.path.relpath(PROJECT / "scripts/train_model.py"),
        gpus=TRAININGS.gres_flag,
    message:
        "training {wildcards.train} on {wildcards.data}, on {resources.nodes} nodes"
    shell:
        ON_NODES
