"""Synth: volumes that a generator makes after it has learnt from volumes of training (3D MedDiffusion).

in   split.tsv and the volumes that it names, or the files of a collection
out  results/synth/{data}/{split}/{synth}/autoencoder2/model.ckpt, diffusion/model.ckpt
cost the steps of the preset; `tiny` takes two minutes on a CPU, the paper's a week on eight GPUs
"""


rule list_examples:
    """Choose the pieces of volumes to learn from and to measure by; everything that can be wrong with them is found here."""
    input:
        unpack(SYNTHESIS.split),
    output:
        examples=PATHS.examples,
    log:
        log_of("list_examples", "synth", volume=False),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(120),
    params:
        cfg=SYNTHESIS.settings("list_examples"),
        collection=SYNTHESIS.collection,
        folder=INPUTS.folder,
    message:
        "listing what {wildcards.synth} learns from"
    script:
        "../../scripts/list_examples.py"


rule autoencoder_stage1:
    """Train the autoencoder on patches, or go on from the last saved state."""
    input:
        examples=PATHS.examples,
    output:
        checkpoint=PATHS.synth("autoencoder1/model.ckpt"),
        metrics=PATHS.synth("autoencoder1/metrics.csv"),
    log:
        log_of("autoencoder_stage1", "synth", volume=False),
    benchmark:
        PATHS.benchmark_of("autoencoder_stage1", "synth", volume=False)
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=SYNTHESIS.memory_to_fit("stage1"),
        runtime=2880,
        gpu=SYNTHESIS.gpus_to_fit("stage1"),
    params:
        cfg=TRAININGS.synth_json("stage1"),
        run_folder=PATHS.synth("autoencoder1/run"),
        start=TRAININGS.synth_start("stage1"),
        script=os.path.relpath(PROJECT / "scripts" / "autoencoder_stage1.py"),
    message:
        "training the autoencoder of {wildcards.synth}"
    shell:
        FIT


rule autoencoder_stage2:
    """Train its decoder on whole volumes; encoder and codebook stay as they are."""
    input:
        examples=PATHS.examples,
        stage1=rules.autoencoder_stage1.output.checkpoint,
    output:
        checkpoint=PATHS.synth("autoencoder2/model.ckpt"),
        metrics=PATHS.synth("autoencoder2/metrics.csv"),
    log:
        log_of("autoencoder_stage2", "synth", volume=False),
    benchmark:
        PATHS.benchmark_of("autoencoder_stage2", "synth", volume=False)
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=SYNTHESIS.memory_to_fit("stage2"),
        runtime=2880,
        gpu=SYNTHESIS.gpus_to_fit("stage2"),
    params:
        cfg=TRAININGS.synth_json("stage2"),
        run_folder=PATHS.synth("autoencoder2/run"),
        start=TRAININGS.synth_start("stage2"),
        script=os.path.relpath(PROJECT / "scripts" / "autoencoder_stage2.py"),
    message:
        "training the decoder of {wildcards.synth} on whole volumes"
    shell:
        f"{FIT} --stage1 {{input.stage1:q}}"


rule encode_latents:
    """Encode one share of the examples."""
    input:
        examples=PATHS.examples,
        autoencoder=rules.autoencoder_stage2.output.checkpoint,
    output:
        marker=PATHS.synth("latents/{job}-of-{jobs}.json"),
    log:
        f"{folder('synth', volume=False, top='log/encode_latents')}/{{job}}-of-{{jobs}}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
        gpu=SYNTHESIS.gpu_to_compute,
    params:
        cfg=SYNTHESIS.settings("encode_latents"),
        device=SYNTHESIS.device,
        job=lambda wildcards: int(wildcards.job),
        jobs=lambda wildcards: int(wildcards.jobs),
        folder=PATHS.synth("latents"),
    message:
        "encoding examples, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/encode_latents.py"


rule train_diffusion:
    """Train the denoiser on latents, or go on from the last saved state."""
    input:
        examples=PATHS.examples,
        autoencoder=rules.autoencoder_stage2.output.checkpoint,
        latents=SYNTHESIS.markers("latents", "latents"),
    output:
        checkpoint=PATHS.synth("diffusion/model.ckpt"),
        metrics=PATHS.synth("diffusion/metrics.csv"),
    log:
        log_of("train_diffusion", "synth", volume=False),
    benchmark:
        PATHS.benchmark_of("train_diffusion", "synth", volume=False)
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=SYNTHESIS.memory_to_fit("diffusion"),
        runtime=2880,
        gpu=SYNTHESIS.gpus_to_fit("diffusion"),
    params:
        cfg=TRAININGS.synth_json("diffusion"),
        run_folder=PATHS.synth("diffusion/run"),
        latents=PATHS.synth("latents"),
        start=TRAININGS.synth_start("diffusion"),
        script=os.path.relpath(PROJECT / "scripts" / "train_diffusion.py"),
    message:
        "training the diffusion model of {wildcards.synth}"
    shell:
        f"{FIT} --autoencoder {{input.autoencoder:q}} --latents {{params.latents:q}}"
