"""Train: fit a 3-D network to the training boxes of a split.

in   split.tsv and the volumes that it names
out  results/train/{data}/{split}/{train}/model.ckpt, metrics.csv; run/ beside them holds states to resume from, the
     best checkpoints and TensorBoard logs, and is no output: Snakemake would delete it before each attempt
cost the steps of the preset; a CPU suffices for small networks
One process trains in a `script:`. Several (train.devices, train.nodes) are started by torchrun, with the same script.
"""

import json

chosen = settings("train")
# `torchrun` is that of the Python at hand; where conda makes an environment, its own comes before.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))
SCRIPT = os.path.relpath(PROJECT / "scripts" / "train_model.py")
# YAML that the script reads: a process that torchrun starts knows nothing of Snakemake.
WRITE_SETTINGS = (
    "mkdir -p {params.run_folder:q} && "
    "printf %s {params.cfg:q} > {params.run_folder:q}/train.yaml && "
    "printf %s {params.augment:q} > {params.run_folder:q}/augment.yaml && "
)
TORCHRUN = f"torchrun --nproc-per-node {{params.devices}} --signals-to-handle {SIGNALS}"
SRUN = (
    "{resources.mpi} --nodes {resources.nodes} --ntasks {resources.tasks} --kill-on-bad-exit=1 "
    "--cpus-per-task {threads} {params.gpus}"
)
MEET = (
    "--nnodes {resources.tasks} --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID "
    "--rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
)
TRAIN_MODEL = (
    "-- {params.script:q} --split {input.split:q} --config {params.run_folder:q}/train.yaml "
    "--augment {params.run_folder:q}/augment.yaml --checkpoint {output.checkpoint:q} --metrics {output.metrics:q} "
    "--run-folder {params.run_folder:q} --threads {threads} --log {log:q} --record {output.checkpoint:q}"
)


rule train_model:
    """Train, or go on training from the last saved state."""
    input:
        split=rules.make_datasplit.output.table,
        skeletons=validation_skeletons,
    output:
        checkpoint=f"{folder('train', volume=False)}/model.ckpt",
        metrics=f"{folder('train', volume=False)}/metrics.csv",
    log:
        log_of("train_model", "train", volume=False),
    wildcard_constraints:
        train=ids_where("train", lambda cfg: cfg.processes == 1),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
        gpu=lambda wildcards: int(chosen(wildcards)["device"] != "cpu"),
    params:
        cfg=settings("train"),
        augment=settings("train", "augment"),
        run_folder=f"{folder('train', volume=False)}/run",
    message:
        "training {wildcards.train} on {wildcards.data}"
    script:
        "../../scripts/train_model.py"


rule train_on_devices:
    """Train in several processes of one node, each with a GPU of its own or a share of the cores."""
    input:
        split=rules.make_datasplit.output.table,
        skeletons=validation_skeletons,
    output:
        checkpoint=f"{folder('train', volume=False)}/model.ckpt",
        metrics=f"{folder('train', volume=False)}/metrics.csv",
    log:
        log_of("train_on_devices", "train", volume=False),
    wildcard_constraints:
        train=ids_where("train", lambda cfg: cfg.devices > 1 and cfg.nodes == 1),
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt * chosen(wildcards)["devices"],
        runtime=2880,
        gpu=lambda wildcards: chosen(wildcards)["devices"] * (chosen(wildcards)["device"] != "cpu"),
        nodes=1,
    params:
        cfg=lambda wildcards: json.dumps(chosen(wildcards)),
        augment=lambda wildcards: json.dumps(settings("train", "augment")(wildcards)),
        run_folder=f"{folder('train', volume=False)}/run",
        devices=lambda wildcards: chosen(wildcards)["devices"],
        script=SCRIPT,
    message:
        "training {wildcards.train} on {wildcards.data}, in {params.devices} processes"
    shell:
        f"{WRITE_SETTINGS} {TORCHRUN} --standalone {TRAIN_MODEL}"


rule train_on_nodes:
    """Train on several nodes of a Slurm cluster: srun starts one torchrun on each, and they meet on the first."""
    input:
        split=rules.make_datasplit.output.table,
        skeletons=validation_skeletons,
    output:
        checkpoint=f"{folder('train', volume=False)}/model.ckpt",
        metrics=f"{folder('train', volume=False)}/metrics.csv",
    log:
        log_of("train_on_nodes", "train", volume=False),
    wildcard_constraints:
        train=ids_where("train", lambda cfg: cfg.nodes > 1),
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt * chosen(wildcards)["devices"],
        runtime=2880,
        nodes=lambda wildcards: chosen(wildcards)["nodes"],
        tasks=lambda wildcards: chosen(wildcards)["nodes"],
        tasks_per_gpu=0,  # not the default, `tasks` for each GPU
        gres=lambda wildcards: f"gpu:{chosen(wildcards)['devices']}" * (chosen(wildcards)["device"] != "cpu"),
        mpi="srun",
    params:
        cfg=lambda wildcards: json.dumps(chosen(wildcards)),
        augment=lambda wildcards: json.dumps(settings("train", "augment")(wildcards)),
        run_folder=f"{folder('train', volume=False)}/run",
        devices=lambda wildcards: chosen(wildcards)["devices"],
        script=SCRIPT,
        gpus=lambda wildcards: f"--gres gpu:{chosen(wildcards)['devices']}" * (chosen(wildcards)["device"] != "cpu"),
    message:
        "training {wildcards.train} on {wildcards.data}, on {resources.nodes} nodes"
    shell:
        f"{WRITE_SETTINGS} {SRUN} {TORCHRUN} {MEET} {TRAIN_MODEL}"
