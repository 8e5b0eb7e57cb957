"""What the targets, the report and a training ask for, of each experiment. No rules."""

from snakemake.settings.types import Quietness

from connectomake.config.listing import list_variants

TABLES = ("metrics.tsv", "metrics.html", "metrics.png")
MEASURED_FIGURES = ("errors.html", "overview.png")


def curves(variant):
    """Give the path of the training curves of a variant's network; none where it is not trained here."""
    return [f"{RESULTS}/report/curves/{variant.chain('train')}/curves.png"] * is_trained(variant)


def augmentations(variant):
    """Give the path of the picture of a variant's augmentations; none where it has none."""
    path = f"{RESULTS}/report/augmentations/{variant.chain('train')}/augmentations.png"
    return [path] if is_trained(variant) and variant.settings["augment"].names else []


def report_of(*experiments):
    """Give everything that the page shows of some experiments."""
    shown = [variant for variant in VARIANTS if variant.experiment in experiments]
    figures = [f"{RESULTS}/report/{v.experiment}/{name}" for v in shown if numbers_of(v) for name in TABLES]
    figures += [f"{RESULTS}/report/{v.experiment}/{name}" for v in shown if measured(v) for name in MEASURED_FIGURES]
    figures += [f"{RESULTS}/report/{variant.experiment}/settings.yaml" for variant in shown]
    figures += [path for variant in shown for path in curves(variant)]
    figures += [path for variant in shown for path in augmentations(variant)]
    figures += [path_of("predict", "check.png", v, volume) for v in shown for volume in segmented(v)]
    figures += [f"{RESULTS}/decode/{v.chain('decode')}/tune.png" for v in shown if v.settings["decode"].tune]
    figures += [path for v in shown if is_synthesis(v) for path in synthesis_of(v)]
    figures += [
        f"{RESULTS}/report/slices/{v.chain('decode')}/{volume}/slices.png"
        for v in shown
        if not is_challenge(v)
        for volume in segmented(v)
    ]
    figures += [
        f"{RESULTS}/report/errors/{v.chain('measure')}/{volume}/errors.png" for v in shown for volume in measured(v)
    ]
    figures += [path for v in shown if is_challenge(v) for path in [class_voxels(v), *submitted_files(v)]]
    return list(dict.fromkeys(figures))


def numbers_of(variant):
    """Give the files with the numbers of a variant: those of each volume, or the scores of a challenge."""
    if is_challenge(variant):
        own = f"{RESULTS}/submit/{variant.chain('submit')}"
        return [f"{own}/{part}.score.json" for part in scored_parts(variant)]
    return [path_of("measure", "metrics.json", variant, volume) for volume in measured(variant)]


def numbers(experiment):
    """Give every variant of an experiment with each of the files that hold its numbers."""
    return [(variant, path) for variant in variants_of(experiment) for path in numbers_of(variant)]


def class_voxels(variant):
    """Give the path of the picture of how a variant's crops are split."""
    return f"{RESULTS}/split/{variant.chain('split')}/class_voxels.png"


def overview_files(wildcards):
    """Choose what the overview shows: the last measured volume of the experiment's first variant."""
    variant = variants_of(wildcards.experiment)[0]
    volume = measured(variant)[-1]
    return {
        "volume": f"{RESULTS}/ingest/{variant.ids['data']}/{volume}/volume.json",
        "affinities": path_of("predict", "affinities.zarr/zarr.json", variant, volume),
        "labels": path_of("decode", "labels.zarr/zarr.json", variant, volume),
        "metrics": path_of("measure", "metrics.json", variant, volume),
    }


def all_labels():
    """Give the segmentation of every volume of every variant; of a challenge, the labels of every crop to submit."""
    return [
        (
            path_of("submit", "crop.json", v, volume)
            if is_challenge(v)
            else path_of("decode", "labels.zarr/zarr.json", v, volume)
        )
        for v in VARIANTS
        for volume in segmented(v)
    ]


def all_numbers():
    """Give the table of numbers of every experiment: metrics, or the scores of a challenge."""
    return list(dict.fromkeys(f"{RESULTS}/report/{v.experiment}/metrics.tsv" for v in VARIANTS if numbers_of(v)))


def stage_files(stage, variant):
    """Name what is there once a variant has been through a stage; nothing where it does not go through it."""
    ours, ingested = not is_challenge(variant), f"{RESULTS}/ingest/{variant.ids['data']}"
    stores = {"predict": "affinities.zarr/zarr.json", "decode": "labels.zarr/zarr.json"}
    if stage in stores and (ours or stage == "predict"):
        return [path_of(stage, stores[stage], variant, volume) for volume in segmented(variant)]
    if stage == "data":
        return [f"{ingested}/{volume}/volume.json" for volume in variant.settings["data"].volumes]
    if stage == "synth":
        return synthesis_of(variant) if is_synthesis(variant) else []
    if stage == "train":
        return [f"{RESULTS}/train/{variant.chain('train')}/model.ckpt"] * is_trained(variant)
    if stage == "measure" and ours:
        return numbers_of(variant)
    return submitted_files(variant) if stage == "submit" and not ours else []


def say_what_runs():
    """Say in a dry run which variants there are, what they share, and what is new; stderr leaves the list of jobs whole."""

    def is_there(stage, variant):
        files = stage_files(stage, variant)
        return all(map(os.path.exists, files)) if files else None

    output = workflow.output_settings
    if workflow.is_main_process and output.dryrun and Quietness.ALL not in (output.quiet or ()):
        print(*list_variants(VARIANTS, is_there), sep="\n", file=sys.stderr)


def demo_page(wildcards):
    """Give the page of the demo; it is the experiment `phantom` that makes it."""
    if "phantom" not in EXPERIMENTS:
        raise ValueError("snakemake demo runs the experiment phantom: leave out --config experiments=...")
    return f"{RESULTS}/report/report.html"


def first_trained_by(preset):
    """Give the first variant that trains with a preset, or with what was measured for it."""
    return next(v for v in VARIANTS if v.presets["train"].removesuffix("_auto") == preset)


def gpus_of(train):
    """Give how many GPUs a training asks for."""
    return train.devices * (train.device != "cpu")


def validation_skeletons(wildcards):
    """Name the skeletons that a training measures itself by, where it segments the volumes that it validates on."""
    asked = INDEX["train", wildcards.train].settings["train"].validate_segmentation
    if asked is None or asked.criterion != "nerl":
        return []
    variant = INDEX["data", wildcards.data]
    roles = {name: source.role for name, source in variant.settings["data"].volumes.items()}
    role = "validate" if "validate" in roles.values() else "train"  # of which the split cuts a part
    names = [name for name in roles if roles[name] == role and has_skeletons(variant, name)]
    return [f"{RESULTS}/ingest/{wildcards.data}/{name}/skeletons.npz" for name in names]
