"""Generate: new volumes from a trained generator, their numbers and pictures; the end of the synth stage.

in   examples.tsv and the checkpoints of synth.smk
out  results/synth/{data}/{split}/{synth}/volumes/{class}_{n}/raw.zarr, labels.zarr    undeclared; markers beside them
     results/synth/{data}/{split}/{synth}/metrics.tsv, synthesis.png, reconstruction.png, training.png
"""


rule generate:
    """Make one share of the volumes; each has a seed of its own, so the jobs make no difference."""
    input:
        examples=PATHS.examples,
        diffusion=PATHS.synth("diffusion/model.ckpt"),
        autoencoder=PATHS.synth("autoencoder2/model.ckpt"),
    output:
        marker=PATHS.synth("volumes/{job}-of-{jobs}.json"),
    log:
        f"{folder('synth', volume=False, top='log/generate')}/{{job}}-of-{{jobs}}.log",
    benchmark:
        PATHS.benchmark_of("generate", "synth", volume=False, jobs=True)
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(720),
        gpu=SYNTHESIS.gpu_to_compute,
    params:
        cfg=SYNTHESIS.settings("generate"),
        phantom=SYNTHESIS.given_phantom,
        job=lambda wildcards: int(wildcards.job),
        jobs=lambda wildcards: int(wildcards.jobs),
        folder=PATHS.synth("volumes"),
    message:
        "generating volumes, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/generate.py"


rule generation_metrics:
    """Compare what was made with real volumes that nothing was learnt from; and reconstructions with originals."""
    input:
        examples=PATHS.examples,
        stage1=PATHS.synth("autoencoder1/model.ckpt"),
        stage2=PATHS.synth("autoencoder2/model.ckpt"),
        latents=SYNTHESIS.markers("latents", "latents"),
        volumes=SYNTHESIS.markers("generate", "volumes"),
    output:
        table=PATHS.synth("metrics.tsv"),
        numbers=PATHS.synth("metrics.json"),
        samples=PATHS.synth("samples.npz"),
    log:
        log_of("generation_metrics", "synth", volume=False),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
        gpu=SYNTHESIS.gpu_to_compute,
    params:
        cfg=SYNTHESIS.settings("metrics"),
        folder=PATHS.synth("volumes"),
        latents_folder=PATHS.synth("latents"),
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
        stage1=PATHS.synth("autoencoder1/metrics.csv"),
        stage2=PATHS.synth("autoencoder2/metrics.csv"),
        diffusion=PATHS.synth("diffusion/metrics.csv"),
    output:
        synthesis=report(
            PATHS.synth("synthesis.png"),
            caption="../report/synthesis.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "generated volumes"},
        ),
        reconstruction=report(
            PATHS.synth("reconstruction.png"),
            caption="../report/reconstruction.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "reconstructions"},
        ),
        training=report(
            PATHS.synth("training.png"),
            caption="../report/synth_training.rst",
            category="synth",
            labels={"data": "{data}", "generator": "{synth}", "figure": "training"},
        ),
        page=report(
            PATHS.synth("metrics.html"),
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
        code=code("draw.synthesis.figure", "draw.synthesis.page", "draw.synthesis.training", "files"),
    message:
        "drawing the volumes of {wildcards.synth}"
    script:
        "../../scripts/draw_synthesis.py"
