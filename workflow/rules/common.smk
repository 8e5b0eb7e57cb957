"""Settings and paths for all rules: what runs, where it lies, what it asks of a machine. No science, no rules."""

import os
import re
import sys
from functools import cache
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "scripts"))

from connectomake.config.checks import check_patch_fits, is_trained
from connectomake.config.data import FROM_LABELS
from connectomake.config.expand import CHAIN, FORKS, stages_to
from connectomake.config.predict import TRAINED
from connectomake.config.variants import index_variants, load_run, load_synthesis, read_run
from connectomake.errors import ConnectomakeError
from connectomake.lock import free_dead_lock, sign_in
from connectomake.provenance import code_of
from connectomake.sources import is_remote, locate

WILDCARDS = dict.fromkeys([*CHAIN, *FORKS, "phantom", "volume", "experiment"], "[^/]+") | dict.fromkeys(
    ["seed", "job", "jobs"], r"\d+"
)
WILDCARDS["part"] = "submission|validation"
ENVIRONMENT = "../../envs/connectomake.yaml"
STATE = Path(".snakemake").resolve()


def load_config(settings):
    """Compose and check all settings, and the headers of all files; an error is one line, and nothing runs."""
    try:
        run, variants = read_run(settings), load_run(settings, PROJECT)
        made = load_synthesis(settings, PROJECT, variants)
        if workflow.is_main_process:
            for variant in variants:
                check_volumes(variant)
        return run, variants, made
    except ConnectomakeError as error:
        sys.exit(str(error))


def check_volumes(variant):
    """Look at the headers of the files that a variant reads; those of a generated challenge are not there yet."""
    data = variant.settings["data"]
    if data.cellmap is not None and data.cellmap.generate:
        return
    from connectomake.volumes.checks import check_source  # loads numpy, which no job needs to start

    for name, source in data.volumes.items():
        key = f"config/data/{variant.presets['data']}.yaml: volumes.{name}"
        shape_zyx = check_source(source, data.folder, key, missing=data.missing)
        if shape_zyx is not None:
            check_patch_fits(variant, name, shape_zyx)


def settings(stage, part=None):
    """Give a stage's settings as plain values, to the rule that has the stage's id as a wildcard."""
    return lambda wildcards: plain_settings(stage, getattr(wildcards, stage), part or stage)


@cache  # of thousands of jobs
def plain_settings(stage, stage_id, part):
    """Give settings without how many jobs and cores there are: other numbers must not make again what is made."""
    chosen = INDEX[stage, stage_id].settings[part]
    return chosen.model_dump(mode="json", exclude={"jobs", "mvoxel_per_job", "threads"})


def code(*modules):
    """Give the hash of a stage's code: results that are cheap to remake are remade when it changes."""
    return lambda wildcards: code_of(*modules)


def folder(stage, volume=True, top=None):
    """Give the pattern of a stage's folder: the ids up to the stage, and the volume; `top` is not the stage's own."""
    names = stages_to(stage) + ("volume",) * volume
    return os.path.join(RESULTS, top or stage, *(f"{{{name}}}" for name in names))


def log_of(rule, stage, volume=True):
    """Give the path of a rule's log: the same wildcards as the stage's folder, in a folder of the rule's own."""
    return f"{folder(stage, volume, top=os.path.join('log', rule))}.log"


def ids_where(stage, condition):
    """Give the pattern of a stage's ids whose settings meet a condition; one that nothing matches where none do."""
    ids = sorted(i for (name, i), variant in INDEX.items() if name == stage and condition(variant.settings[stage]))
    return "|".join(map(re.escape, ids)) or "(?!)"


def path_of(stage, file, variant, volume):
    """Give the path of a file that a stage writes for one volume of a variant."""
    return f"{RESULTS}/{stage}/{variant.chain(stage)}/{volume}/{file}"


RUN, VARIANTS, SYNTHESES = load_config(config)
RESULTS = RUN.results.rstrip("/")
INDEX = index_variants([*VARIANTS, *SYNTHESES, *(v.generator for v in VARIANTS if v.generator)])
EXPERIMENTS = list(dict.fromkeys(variant.experiment for variant in VARIANTS))


wildcard_constraints:
    **WILDCARDS,


if workflow.is_main_process:
    free_dead_lock(STATE)
    sign_in(STATE)


onstart:
    prepare_cluster()
