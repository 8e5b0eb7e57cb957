"""What the rules of synth read, are told and ask for; and where generated volumes lie. No rules."""

import json

from connectomake.config.generated import list_classes

SYNTH = folder("synth", volume=False)
FIT = (
    "mkdir -p {params.run_folder:q} && printf %s {params.cfg:q} > {params.run_folder:q}/settings.yaml && "
    "{params.start} {params.script:q} --config {params.run_folder:q}/settings.yaml --examples {input.examples:q} "
    "--checkpoint {output.checkpoint:q} --metrics {output.metrics:q} --run-folder {params.run_folder:q} "
    "--threads {threads} --log {log:q} --record {output.checkpoint:q}"
)

# What each stage of synth is told: another sampler must not make it train again.
LOOKS = ("examples", "labels", "autoencoder")
TOLD = {
    "list_examples": LOOKS,
    "stage1": (*LOOKS, "discriminator", "perceptual", "weights", "stage1"),
    "stage2": (*LOOKS, "discriminator", "perceptual", "weights", "stage2"),
    "encode_latents": (*LOOKS, "denoiser", "latents"),
    "diffusion": (*LOOKS, "latents", "denoiser", "diffusion"),
    "generate": (*LOOKS, "latents", "denoiser", "diffusion", "generate"),
    "metrics": (*LOOKS, "stage2", "generate", "diffusion", "metrics"),
}
NOT_TOLD = {"latents": {"jobs"}, "generate": {"jobs"}}
LATER = {"labels": {"decoder", "min_size_vx", "given", "phantom", "warp_nm"}}  # read where volumes are made


def synth_settings(part):
    """Give the settings that a part of synth reads."""

    def of(wildcards):
        told = INDEX["synth", wildcards.synth].settings["synth"]
        if "generate" in TOLD[part]:
            return told.model_dump(mode="json", include=set(TOLD[part]), exclude=NOT_TOLD)
        values = told.model_dump(mode="json", include=set(TOLD[part]), exclude=NOT_TOLD | LATER)
        return values | {"generate": {"sampler": "ddpm"}}  # which goes with any number of steps

    return of


def part_of(part, wildcards):
    """Give the settings of a part of synth, such as one of its trainings."""
    return getattr(INDEX["synth", wildcards.synth].settings["synth"], part)


def gpus_to_fit(part):
    """Ask for the GPUs of one of the trainings of synth."""
    return lambda wildcards: part_of(part, wildcards).devices * (part_of(part, wildcards).device != "cpu")


def memory_to_fit(part):
    """Ask for the memory of one of the trainings of synth."""
    return lambda wildcards, attempt: 16000 * attempt * part_of(part, wildcards).devices


def starter(part):
    """Give what starts one of the trainings of synth: Python, or torchrun where several processes train together."""

    def of(wildcards):
        devices = part_of(part, wildcards).devices
        together = f"torchrun --nproc-per-node {devices} --signals-to-handle {SIGNALS}"
        return f"{together} --standalone --" if devices > 1 else "python"

    return of


def gpu_to_compute(wildcards):
    """Ask for a GPU where the parts of synth that do not train compute on one."""
    return int(part_of("generate", wildcards).device != "cpu")


def example_files(wildcards):
    """Name what examples are cut from: the split, and none where a collection brings files of its own."""
    if INDEX["data", wildcards.data].settings["data"].collection is not None:
        return {}
    return {"split": rules.make_datasplit.output.table}


def collection_of(wildcards):
    """Give the collection of a data config as plain values; None where there is none."""
    collection = INDEX["data", wildcards.data].settings["data"].collection
    return None if collection is None else collection.model_dump(mode="json")


def synth_markers(part, folder_name):
    """Name what the n jobs of a part of synth write when they are done."""

    def of(wildcards):
        jobs = part_of(part, wildcards).jobs
        return [f"{SYNTH}/{folder_name}/{job}-of-{jobs}.json".format(**wildcards) for job in range(jobs)]

    return of


def given_phantom(wildcards):
    """Give the settings of the phantoms whose labels images are made for; None where there are none."""
    variant = INDEX["synth", wildcards.synth]
    labels = variant.settings["synth"].labels
    if (labels.kind, labels.given) != ("conditional", "phantom"):
        return None
    return variant.phantoms[labels.phantom].settings.model_dump(mode="json")


def generated_folder(wildcards):
    """Give the folder of the stores of the generated volume that the wildcards `data` and `volume` name."""
    generator = INDEX["data", wildcards.data].generator
    name = source_of(wildcards).generated
    return f"{RESULTS}/synth/{generator.chain('synth')}/volumes/{name}"


def made_folder(wildcards):
    """Give the folder of the stores of a volume that the workflow makes; None for all others."""
    source = source_of(wildcards)
    return generated_folder(wildcards) if source.generated is not None else None


def generated_by(wildcards):
    """Name what says that the volumes of a data config's generator are made."""
    generator = INDEX["data", wildcards.data].generator
    own, jobs = f"{RESULTS}/synth/{generator.chain('synth')}", generator.settings["synth"].generate.jobs
    return [f"{own}/volumes/{job}-of-{jobs}.json" for job in range(jobs)]


def synthesis_of(variant):
    """Give what a variant that makes volumes ends in: their numbers and pictures."""
    own = f"{RESULTS}/synth/{variant.chain('synth')}"
    return [
        f"{own}/{name}"
        for name in ("metrics.tsv", "metrics.html", "synthesis.png", "reconstruction.png", "training.png")
    ]


def is_synthesis(variant):
    """Tell whether a variant makes volumes, and segments none."""
    return "synth" in variant.settings
