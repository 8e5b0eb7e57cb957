"""What the targets, the report and a training ask for, of each experiment. No rules."""

EXPERIMENT_FIGURES = ("metrics.tsv", "metrics.html", "metrics.png", "errors.html", "overview.png")


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
    figures = [f"{RESULTS}/report/{v.experiment}/{name}" for v in shown if measured(v) for name in EXPERIMENT_FIGURES]
    figures += [f"{RESULTS}/report/{variant.experiment}/settings.yaml" for variant in shown]
    figures += [path for variant in shown for path in curves(variant)]
    figures += [path for variant in shown for path in augmentations(variant)]
    figures += [path_of("predict", "check.png", v, volume) for v in shown for volume in segmented(v)]
    figures += [f"{RESULTS}/decode/{v.chain('decode')}/tune.png" for v in shown if v.settings["decode"].tune]
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
    """Give the numbers of every experiment: the table of metrics, and the scores of a challenge."""
    tables = [f"{RESULTS}/report/{v.experiment}/metrics.tsv" for v in VARIANTS if measured(v)]
    scores = [
        f"{RESULTS}/submit/{v.chain('submit')}/{part}.score.json"
        for v in VARIANTS
        if is_challenge(v)
        for part in scored_parts(v)
    ]
    return list(dict.fromkeys(tables + scores))


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
