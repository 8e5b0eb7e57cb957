"""Which files a rule reads, where that depends on the data config or on the experiment. No rules."""


def source_of(wildcards):
    """Give the source of the volume that the wildcards `data` and `volume` name."""
    return INDEX["data", wildcards.data].settings["data"].volumes[wildcards.volume]


def folder_of(wildcards):
    """Give the folder that the paths of a data config start from."""
    return INDEX["data", wildcards.data].settings["data"].folder


def sources(wildcards):
    """Give what the data config that the wildcard `data` names says about the sources of its volumes."""
    data = INDEX["data", wildcards.data].settings["data"]
    return data.model_dump(mode="json", include={"volumes", "mix"})


def file_of(path, wildcards):
    """Give the file or folder of a `file::dataset`."""
    return locate(path, folder_of(wildcards)).partition("::")[0]


def phantom_folder(wildcards):
    """Give the folder of the generated volume that the wildcards `data` and `volume` name."""
    source = source_of(wildcards)
    phantom = INDEX["data", wildcards.data].phantoms[source.phantom]
    return f"{RESULTS}/phantom/{phantom.id}/seed{source.seed}"


def segmented(variant):
    """Give the volumes that are segmented: those not trained on, or all where there are no others."""
    return [] if is_synthesis(variant) else variant.settings["data"].segmented


def has_skeletons(variant, volume):
    """Tell whether a volume has skeletons to be measured against."""
    return variant.settings["data"].volumes[volume].has_skeletons


def has_truth(variant, volume):
    """Tell whether a volume can be measured at all."""
    return has_skeletons(variant, volume) or variant.settings["data"].volumes[volume].has_labels


def measured(variant):
    """Give the volumes of a variant that have truth to be measured against."""
    return [name for name in segmented(variant) if has_truth(variant, name)]


def measurements(experiment):
    """Give every variant of an experiment with every volume that it is measured on."""
    return [(variant, volume) for variant in variants_of(experiment) for volume in measured(variant)]


def measured_files(experiment, top, file):
    """Give the path of a file that each measurement of an experiment has in a folder of its own below `top`."""
    return [
        f"{RESULTS}/{top}/{variant.chain('measure')}/{volume}/{file}" for variant, volume in measurements(experiment)
    ]


def variants_of(experiment):
    """Give the variants of one experiment, in the order of its sweep."""
    return [variant for variant in VARIANTS if variant.experiment == experiment]


def phantom_settings(wildcards):
    """Give the settings of a generated volume by its id."""
    phantoms = (phantom for variant in INDEX.values() for phantom in variant.phantoms.values())
    return next(p.settings.model_dump(mode="json") for p in phantoms if p.id == wildcards.phantom)


def ingest_files(wildcards):
    """Name the files of a volume, so that a changed file is ingested again; a change behind a URL is not seen."""
    source = source_of(wildcards)
    if source.phantom is not None:
        stores = phantom_folder(wildcards)
        return {
            "raw": f"{stores}/raw.zarr/zarr.json",
            "labels": f"{stores}/labels.zarr/zarr.json",
        }
    if source.generated is not None:
        return {"generated": generated_by(wildcards)}
    named = {"raw_file": source.raw, "labels_file": source.labels}
    files = {name: file_of(path, wildcards) for name, path in named.items() if path is not None}
    return {name: file for name, file in files.items() if not is_remote(file)}


def skeleton_files(wildcards):
    """Name the volume's skeleton file, where it has one."""
    source = source_of(wildcards)
    if source.phantom is not None:
        return {"source": f"{phantom_folder(wildcards)}/skeletons.npz"}
    if source.skeletons in (None, FROM_LABELS):
        return {}
    return {"source": file_of(source.skeletons, wildcards)}


def tracing(wildcards):
    """Give the settings for skeletons traced in labels."""
    return INDEX["data", wildcards.data].settings["data"].skeletonize


def truth_skeletons(wildcards):
    """Name the skeletons of a volume that has some."""
    if not has_skeletons(INDEX["data", wildcards.data], wildcards.volume):
        return {}
    return {"skeletons": f"{RESULTS}/ingest/{wildcards.data}/{wildcards.volume}/skeletons.npz"}


def tuned_settings(wildcards):
    """Name the settings that tuning chose, where a decode preset tunes."""
    tunes = INDEX["decode", wildcards.decode].settings["decode"].tune is not None
    return {"best": rules.tune_decoding.output.best} if tunes else {}


def tuning_files(wildcards):
    """Name what a decoder is tuned on: predictions and truth of the validation volumes."""
    variant = INDEX["data", wildcards.data]
    sources = variant.settings["data"].volumes
    volumes = [name for name in measured(variant) if sources[name].role == "validate"]
    ingested = f"{RESULTS}/ingest/{wildcards.data}"
    prediction = folder("predict").format(**wildcards, volume="{volume}")
    return {
        "affinities": [f"{prediction.format(volume=name)}/affinities.zarr/zarr.json" for name in volumes],
        "volumes": [f"{ingested}/{name}/volume.json" for name in volumes],
        "skeletons": [f"{ingested}/{name}/skeletons.npz" for name in volumes if has_skeletons(variant, name)],
    }


def check_backends():
    """Stop before anything runs where funlib.evaluate is asked for, is not installed, and no environment is made."""
    asked = any(variant.settings["measure"].backend != "own" for variant in VARIANTS)
    if asked and not workflow.deployment_settings.deployment_method:
        from connectomake.measure.funlib_backend import require_funlib  # slow, and seldom asked for

        try:
            require_funlib()
        except ConnectomakeError as error:
            sys.exit(str(error))


def networks(wildcards):
    """Name the checkpoints that predict: that of the train stage, or files of the user."""
    trained = f"{folder('train', volume=False)}/model.ckpt".format(**wildcards)
    named = settings("predict")(wildcards)["checkpoints"]
    return [trained if name == TRAINED else locate(name) for name in named]
