"""Settings and paths for all rules: what runs, where it lies, what it asks of a machine. No science, no rules."""

import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "scripts"))

from connectomake.config.data import FROM_LABELS
from connectomake.config.variants import index_variants, load_run, read_run
from connectomake.errors import ConnectomakeError
from connectomake.provenance import code_of
from connectomake.volumes.checks import check_source, locate

CHAIN = ("data", "split", "train", "predict", "decode", "measure")
WILDCARDS = (*CHAIN, "synth", "volume", "experiment")
ENVIRONMENT = "../../envs/connectomake.yaml"


def load_config(settings):
    """Compose and check all settings, and the headers of all files; an error is one line, and nothing runs."""
    try:
        run, variants = read_run(settings), load_run(settings, PROJECT)
        if workflow.is_main_process:
            for variant in variants:
                check_volumes(variant)
        return run, variants
    except ConnectomakeError as error:
        sys.exit(str(error))


def check_volumes(variant):
    """Look at the headers of the files that a variant reads."""
    data = variant.settings["data"]
    for name, source in data.volumes.items():
        key = f"config/data/{variant.presets['data']}.yaml: volumes.{name}"
        check_source(source, data.folder, key, missing=data.missing)


def settings(stage, part=None):
    """Give a stage's settings as plain values, to the rule that has the stage's id as a wildcard."""

    def of(wildcards):
        chosen = INDEX[stage, getattr(wildcards, stage)].settings[part or stage]
        return chosen.model_dump(mode="json")

    return of


def code(*modules):
    """Give the hash of a stage's code: results that are cheap to remake are remade when it changes."""
    return lambda wildcards: code_of(*modules)


def source_of(wildcards):
    """Give the source of the volume that the wildcards `data` and `volume` name."""
    return INDEX["data", wildcards.data].settings["data"].volumes[wildcards.volume]


def folder_of(wildcards):
    """Give the folder that the paths of a data config start from."""
    return INDEX["data", wildcards.data].settings["data"].folder


def file_of(path, wildcards):
    """Give the file or folder of a `file::dataset`."""
    return locate(path, folder_of(wildcards)).partition("::")[0]


def phantom_folder(wildcards):
    """Give the folder of the generated volume that the wildcards `data` and `volume` name."""
    source = source_of(wildcards)
    phantom = INDEX["data", wildcards.data].phantoms[source.phantom]
    return f"{RESULTS}/synth/{phantom.id}/seed{source.seed}"


def segmented(variant):
    """Give the volumes that are segmented: those not trained on, or all where there are no others."""
    volumes = variant.settings["data"].volumes
    return [name for name, source in volumes.items() if source.role != "train"] or list(volumes)


def has_skeletons(variant, volume):
    """Tell whether a volume has skeletons to be measured against."""
    source = variant.settings["data"].volumes[volume]
    return source.phantom is not None or source.skeletons is not None


def has_truth(variant, volume):
    """Tell whether a volume can be measured at all."""
    return has_skeletons(variant, volume) or variant.settings["data"].volumes[volume].labels is not None


def folder(stage, volume=True):
    """Give the pattern of a stage's folder: the ids up to the stage, and the volume."""
    ids = "/".join(f"{{{name}}}" for name in CHAIN[: CHAIN.index(stage) + 1])
    return f"{RESULTS}/{stage}/{ids}" + ("/{volume}" if volume else "")


def log_of(rule, pattern):
    """Give the path of a rule's log: the same wildcards as its output, in a folder of the rule's own."""
    return f"{RESULTS}/log/{rule}/{pattern.removeprefix(RESULTS + '/').partition('/')[2]}.log"


def path_of(stage, file, variant, volume):
    """Give the path of a file that a stage writes for one volume of a variant."""
    return f"{RESULTS}/{stage}/{variant.chain(stage)}/{volume}/{file}"


def measured(variant):
    """Give the volumes of a variant that have truth to be measured against."""
    return [name for name in segmented(variant) if has_truth(variant, name)]


RUN, VARIANTS = load_config(config)
RESULTS = RUN.results.rstrip("/")
INDEX = index_variants(VARIANTS)
EXPERIMENTS = list(dict.fromkeys(variant.experiment for variant in VARIANTS))
