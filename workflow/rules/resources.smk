"""What rules ask of a machine, where that depends on settings or on a plan. No rules."""

import json
from math import ceil

# SIGUSR1 asks a training to stop, as SIGTERM does; torchrun has to pass it on.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
SNAKEMAKE_MB = 300  # a job on a cluster has two processes of Snakemake beside its own


def per_attempt(number):
    """Ask for as much again in each further attempt: megabytes, or minutes."""
    return lambda wildcards, attempt: number * attempt


def block_memory_mb(wildcards, attempt):
    """Give the memory of decoding in blocks."""
    return attempt * (SNAKEMAKE_MB + INDEX["decode", wildcards.decode].settings["decode"].block_memory_mb)


def measuring_memory_mb(wildcards, threads):
    """Estimate the memory of measuring: two blocks for each thread, as they are read and counted, and the skeletons."""
    return 2000 + threads * 40 * settings("measure")(wildcards)["block_vx"] // 10**6


def decoding_crop_mb(wildcards, input, attempt):
    """Estimate the memory of decoding a crop: the objects of one class at a time, on the crop's own voxels."""
    with open(input.volume, encoding="utf-8") as file:
        shape_zyx = json.load(file)["crop"]["shape_zyx"]
    from connectomake.submit.objects import estimate_mb  # needed where a challenge is submitted alone

    return attempt * (SNAKEMAKE_MB + estimate_mb(shape_zyx))


@cache  # of thousands of jobs
def needs_of(plan, changed):
    """Read what a prediction takes."""
    with open(plan, encoding="utf-8") as file:
        return json.load(file)["needs"]


def predicting_threads(wildcards):
    """Give the cores that a job of prediction asks for."""
    return INDEX["predict", wildcards.predict].settings["predict"].threads


def predicting_mb(wildcards, input, attempt):
    """Give the memory that the plan expects; more in each further attempt. Not known before the plan is made."""
    return attempt * (SNAKEMAKE_MB + needs_of(input.plan, os.path.getmtime(input.plan))["mem_mb"])


def predicting_minutes(wildcards, input, attempt):
    """Give the time that a job's share takes at most; more in each further attempt."""
    needs = needs_of(input.plan, os.path.getmtime(input.plan))
    return attempt * ceil(needs["start_minutes"] + needs["most_minutes"] / int(wildcards.jobs))
