"""What all rules use: the settings of this call, where its files lie, and what its jobs ask for. No rules."""

import os
import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "scripts"))

from connectomake.cluster.preflight import Preflight
from connectomake.flow.challenge import Challenge
from connectomake.flow.files import Inputs
from connectomake.flow.goals import Goals
from connectomake.flow.jobs import Jobs
from connectomake.flow.paths import WILDCARDS
from connectomake.flow.planned import describe_work
from connectomake.flow.resources import JobResources, per_attempt
from connectomake.flow.reruns import code
from connectomake.flow.study import check_backends, load_study
from connectomake.flow.synthesis import Synthesis, count_gpus
from connectomake.flow.trainings import FIT, ON_DEVICES, ON_NODES, Trainings, find_torchrun
from connectomake.invocation import Invocation, one_line
from connectomake.provenance import code_of

CALL = Invocation(workflow)
with one_line():
    STUDY = load_study(config, PROJECT, check_sources=CALL.is_main)
PATHS, RESULTS, folder, log_of = STUDY.paths, STUDY.paths.results, STUDY.paths.folder, STUDY.paths.log_of
INPUTS, JOBS, RESOURCES = Inputs(STUDY), Jobs(STUDY, CALL.is_main), JobResources(STUDY)
SYNTHESIS, TRAININGS = Synthesis(STUDY), Trainings(STUDY)
CHALLENGE = Challenge(STUDY, lambda w: checkpoints.split_crops.get(data=w.data, split=w.split).output.manifest)
GOALS = Goals(STUDY, CHALLENGE, SYNTHESIS)
PREFLIGHT = Preflight(CALL, Path(RESULTS), Path(".snakemake").resolve())
ENVIRONMENT = "../../envs/connectomake.yaml"
find_torchrun()


wildcard_constraints:
    **WILDCARDS,
