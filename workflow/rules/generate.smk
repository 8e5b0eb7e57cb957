"""Generate: new volumes from a trained generator, their numbers and pictures; the end of the synth stage."""


rule generate:
    """Make one share of the volumes; each has a seed of its own, so the jobs make no difference."""
    input:
        examples=rules.list_examples.output.examples,
        diffusion=rules.train_diffusion.output.checkpoint,
        autoencoder=rules.autoencoder_stage2.output.checkpoint,
    output:
        marker=f"{SYNTH}/volumes/{{job}}-of-{{jobs}}.json",
    log:
        f"{folder('synth', volume=False, top='log/generate')}/{{job}}-of-{{jobs}}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(720),
        gpu=gpu_to_compute,
    params:
        cfg=synth_settings("generate"),
        phantom=given_phantom,
        job=lambda wildcards: int(wildcards.job),
        jobs=lambda wildcards: int(wildcards.jobs),
        folder=f"{SYNTH}/volumes",
    message:
        "generating volumes, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/generate.py"


rule generation_metrics:
    """Compare what was made with real volumes that nothing was learnt from; and reconstructions with originals."""
    input:
        examples=rules.list_examples.output.examples,
        stage1=rules.autoencoder_stage1.output.checkpoint,
        stage2=rules.autoencoder_stage2.output.checkpoint,
        latents=synth_markers("latents", "latents"),
        volumes=synth_markers("generate", "volumes"),
    output:
        table=f"{SYNTH}/metrics.tsv",
        numbers=f"{SYNTH}/metrics.json",
        samples=f"{SYNTH}/samples.npz",
    log:
        log_of("generation_metrics", "synth", volume=False),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
        gpu=gpu_to_compute,
    params:
        cfg=synth_settings("metrics"),
        folder=f"{SYNTH}/volumes",
        latents_folder=f"{SYNTH}/latents",
        code=code("synth.metrics"),
    message:
        "measuring the volumes of {wildcards.synth}"
    script:
        "../../scripts/generation_metrics.py"


rule draw_synthesis:
    """Draw real volumes beside generated ones, reconstructions of both stages, and the curves of the trainings."""
    input:
        samples=rules.generation_metrics.output.samples,
        numbers=rules.generation_metrics.output.numbers,
        stage1=rules.autoencoder_stage1.output.metrics,
        stage2=rules.autoencoder_stage2.output.metrics,
        diffusion=rules.train_diffusion.output.metrics,
    output:
        synthesis=report(
            f"{SYNTH}/synthesis.png",
            caption="../report/synthesis.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "generated volumes"},
        ),
        reconstruction=report(
            f"{SYNTH}/reconstruction.png",
            caption="../report/reconstruction.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "reconstructions"},
        ),
        training=report(
            f"{SYNTH}/training.png",
            caption="../report/synth_training.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "training"},
        ),
        page=report(
            f"{SYNTH}/metrics.html",
            caption="../report/synth_metrics.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "numbers"},
        ),
    log:
        log_of("draw_synthesis", "synth", volume=False),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(20),
    params:
        code=code("draw"),
    message:
        "drawing the volumes of {wildcards.synth}"
    script:
        "../../scripts/draw_synthesis.py"
