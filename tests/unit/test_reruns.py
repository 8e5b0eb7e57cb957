"""Which jobs run again when a line of the library is edited: those whose result it may change, and no others.

Snakemake runs a job again when its parameter `code` changes. The rules are read as they are written, so that the table
below says what a user will see.
"""

import ast
import fnmatch
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectomake import provenance
from connectomake.config.engine.variant import Variant
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.measure import MeasureConfig

ROOT = Path(__file__).parents[2]
BLOCKS = {"block_zyx_vx": (64, 64, 64), "block_halo_vx": 8}
DECODINGS = {
    "cc": DecodeConfig(),
    "waterz": DecodeConfig(decoder="waterz", tune={"method": "optuna", "search": {"waterz.threshold": [0.1, 0.5]}}),
    "either": DecodeConfig(
        tune={"method": "optuna", "search": {"decoder": {"choices": ["affinity_cc", "mutex_watershed"]}}}
    ),
    "cc_blocks": DecodeConfig(block_zyx_vx=(64, 64, 64)),
    "flow_blocks": DecodeConfig(decoder="flow", **BLOCKS),
}
MEASURED_BY = MeasureConfig(voxel_metrics=("voi", "foreground"))
AT_ONCE = ("tune_decoding", "decode_affinities")
IN_BLOCKS = ("label_blocks", "stitch_blocks", "relabel_blocks", "finish_labels")


def variant_of(stage, wildcards):
    """Return what rules ask of a variant."""
    decode = DECODINGS[wildcards.get("decode", "cc")]
    return Variant("", "", {}, {}, {"decode": decode, "measure": MEASURED_BY}, {}, {})


def expression_at(lines):
    """Return the value of the keyword argument that begins in the first of these lines."""
    for end in range(1, len(lines) + 1):
        try:
            call = ast.parse("f(" + "\n".join(lines[:end]) + ")", mode="eval").body
        except SyntaxError:
            continue
        return compile(ast.Expression(call.keywords[0].value), "rules", "eval")
    raise AssertionError(lines[0])


def read_rules():
    """Return what each rule has as `code`, a function of wildcards, and its script."""
    study = SimpleNamespace(at=variant_of)
    names = {"code_of": lambda *modules: modules, "code": lambda *modules: lambda wildcards: modules, "STUDY": study}
    codes, scripts, rule = {}, {}, ""
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if begins := re.match(r"(?:rule|checkpoint) (\w+):|use rule \w+ as (\w+)", line):
                rule = begins[1] or begins[2]
            elif line.strip().startswith("code="):
                codes[rule] = eval(expression_at(lines[number:]), names)
            elif named := re.search(r"scripts/(\w+)\.py\"", line):
                scripts[rule] = named[1]
    return codes, scripts


def jobs_of(rule, code):
    """Return the jobs of a rule, one for each decoding where it depends on that, and the modules of their code."""
    if rule in IN_BLOCKS:
        names = [name for name, cfg in DECODINGS.items() if cfg.block_zyx_vx]
    elif rule in AT_ONCE:
        names = [name for name, cfg in DECODINGS.items() if not cfg.block_zyx_vx]
    else:
        return {rule: code({})}
    return {f"{rule} {name}": code({"decode": name}) for name in names}


CODES, RULE_SCRIPTS = read_rules()
JOBS = {job: modules for rule, code in CODES.items() for job, modules in jobs_of(rule, code).items()}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package in place of it, and what the code of every job is before any edit."""
    folder = tmp_path_factory.mktemp("copy") / "connectomake"
    shutil.copytree(provenance.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "PACKAGE", folder)
        forget()
        yield folder
    forget()


def forget():
    for cached in (provenance._facts, provenance.code_of):
        cached.cache_clear()


def codes():
    provenance.code_of.cache_clear()
    provenance._facts().looked_at.clear()
    return {job: provenance.code_of(*modules) for job, modules in JOBS.items()}


@pytest.fixture(scope="module")
def unedited(package):
    return codes()


EVERYTHING_DECODED = "tune_* decode_affinities:* label_* stitch_* relabel_* finish_labels:*"
CC_AT_ONCE = "decode_affinities:cc decode_affinities:either tune_*:cc tune_*:either"
IN_BLOCKS_ONLY = "label_* stitch_* relabel_* finish_labels:*"
CC_IN_BLOCKS = " ".join(f"{rule}:cc_blocks" for rule in IN_BLOCKS)
FLOW_IN_BLOCKS = " ".join(f"{rule}:flow_blocks" for rule in IN_BLOCKS)
MEASURED = "measure_segmentation generation_metrics"
DRAWN = "draw_slices draw_overview draw_errors check_prediction draw_submission"

# A module -> the jobs that run again: `rule:decoding` where it depends on the decoding, * for any, - for all but these.
TABLE = {
    # what says something, chooses settings, or decides what runs and where
    "autoconfig/autoconfigure.py": "",
    "cluster/profile.py": "",
    "config/settings/data.py": "",
    "config/settings/decode.py": "",
    "errors.py": "",
    "flow/files.py": "",
    "gpus.py": "",
    "invocation.py": "",
    "kernels.py": "",
    "lock.py": "",
    "log.py": "",
    "planning/stages.py": "",
    "provenance.py": "",
    "purge.py": "",
    "stage.py": "",
    # training and prediction write their code down, and do not run again
    "losses/overlap.py": "",
    "losses/total.py": "",
    "models/mednext.py": "",
    "precision/proof.py": "",
    "predict/windows/sliding.py": "",
    "synth/fit.py": "",
    "train/train_model.py": "",
    "augment/grey.py": "draw_augmentations",
    "augment/sections.py": "draw_augmentations",
    "targets/flow.py": "draw_augmentations",
    "train/patches.py": "draw_augmentations",
    # one decoder, and what it alone takes
    "decode/decoders/affinity_cc.py": f"*:cc *:either {CC_IN_BLOCKS}",
    "decode/decoders/waterz.py": "*:waterz",
    "decode/decoders/mutex_watershed.py": "*:either",
    "decode/decoders/flow.py": FLOW_IN_BLOCKS,
    "decode/decoders/seeded_watershed.py": "",
    "decode/decoders/semantic.py": "",
    "decode/agglomeration.py": "*:waterz",
    "decode/mutex_edges.py": "*:either",
    "decode/flow_basins.py": FLOW_IN_BLOCKS,
    "decode/seeded_flood.py": "",
    "decode/semantic_classes.py": "",
    "config/settings/decode_decoders.py": "",
    # ... and block by block all decoders, for the step that labels blocks may label components exactly
    "decode/components/components.py": f"{CC_AT_ONCE} {IN_BLOCKS_ONLY}",
    # what tunes
    "tune/sweep/sweep.py": "tune_*",
    "tune/sweep/kernels.py": "tune_*",
    "tune/sweep/planes.py": "tune_*",
    "tune/sweep/tree.py": "tune_*",
    "tune/scores.py": "tune_*",
    "draw/experiment/tuning.py": "tune_*",
    # what all decoders share
    "decode/__init__.py": "",
    "decode/registry.py": EVERYTHING_DECODED,
    "decode/whole.py": EVERYTHING_DECODED,
    "decode/blocks/stitch.py": IN_BLOCKS_ONLY,
    "pipeline.py": IN_BLOCKS_ONLY,
    # the other stages
    "phantom/neurites.py": "make_phantom make_challenge",
    "phantom/challenge/truth.py": "make_challenge",
    "ingest/crops/em_level.py": "ingest_crop",
    "split/crops.py": "split_crops",
    "split/datasplit.py": "make_datasplit",
    "cellmap/datasplit.py": "split_crops make_datasplit score_submission pack_submission check_submission",
    "ingest/skeletons/prune.py": "make_skeletons",
    "measure/dense_metrics.py": "measure_segmentation tune_*",
    "measure/variation_of_information.py": "measure_segmentation tune_*",
    "measure/overlap.py": "measure_segmentation tune_*",
    "measure/matching.py": "",
    "measure/worst_errors.py": "measure_segmentation",
    "measure/compare.py": "compare_variants",
    "predict/check/seams.py": "check_prediction",
    "synth/metrics/diversity.py": "generation_metrics",
    "submit/flood.py": "decode_crop",
    "submit/check/layout.py": "check_submission",
    "submit/score/surfaces.py": "score_submission",
    "view/links.py": "link_neuroglancer",
    "view/server.py": "",
    "draw/experiment/curves.py": "draw_curves draw_synthesis",
    "draw/planes.py": DRAWN,
    "draw/synthesis/page.py": "draw_synthesis",
    "draw/templates/synthesis.html.j2": "draw_synthesis",
    # which part of a volume
    "regions/wanted.py": "check_prediction draw_errors draw_overview draw_slices measure_segmentation tune_*",
    "regions/choose.py": "",
    "fitting/states.py": "",
    # the floor that they stand on
    "files.py": "*",
    "registry.py": "",
    "channels.py": f"decode_crop draw_augmentations link_* measure_segmentation {DRAWN} {EVERYTHING_DECODED}",
    "ledger.py": f"ingest_crop link_* make_skeletons measure_segmentation {DRAWN} {EVERYTHING_DECODED} decode_crop",
    "geometry.py": "* -draw_class_voxels -draw_curves -draw_metrics -draw_synthesis -compare_variants",
    "sources.py": f"draw_augmentations ingest_crop split_crops make_* link_* {MEASURED} {DRAWN} {EVERYTHING_DECODED} "
    "decode_crop",
    "tables.py": "* -decode_affinities:* -label_* -stitch_* -relabel_* -finish_labels:* -make_phantom",
    "union_find.py": f"*:cc *:either tune_*:waterz {IN_BLOCKS_ONLY} score_submission decode_crop",
    "volumes/formats/nifti.py": "* -check_submission -compare_variants -draw_class_voxels -draw_curves -draw_metrics "
    "-draw_synthesis -gather_errors -pack_submission -score_submission",
    "volumes/skeletons.py": f"make_* link_* tune_* measure_segmentation {DRAWN} -make_datasplit -draw_submission",
}


@pytest.mark.parametrize(("module", "patterns"), TABLE.items(), ids=TABLE)
def test_an_edit_runs_again_what_depends_on_it(package, unedited, module, patterns):
    file = package / module
    text = file.read_text()
    file.write_text(text + "\nEDITED = 1\n")
    edited = codes()
    file.write_text(text)
    wanted: set[str] = set()
    for pattern in patterns.split():
        named = set(fnmatch.filter(JOBS, pattern.removeprefix("-").replace(":", " ")))
        assert named, f"{pattern} names no job"
        wanted = wanted - named if pattern.startswith("-") else wanted | named
    assert {job for job in JOBS if edited[job] != unedited[job]} == wanted


def test_every_part_of_the_package_has_a_line():
    parts = {file.relative_to(provenance.PACKAGE).with_suffix("").parts[0] for file in provenance.PACKAGE.rglob("*.py")}
    assert parts - {"__init__"} == {Path(module).with_suffix("").parts[0] for module in TABLE}


@pytest.mark.parametrize("name", [name for name, cfg in DECODINGS.items() if cfg.block_zyx_vx])
def test_the_steps_of_decoding_in_blocks_agree_on_their_code(name):
    """It is part of the name of the folder that they hand their work on in."""
    assert len({JOBS[f"{rule} {name}"] for rule in IN_BLOCKS}) == 1


@pytest.mark.parametrize("rule", CODES)
def test_the_code_of_a_rule_is_what_its_script_uses(rule):
    tree = ast.parse((ROOT / f"scripts/{RULE_SCRIPTS[rule]}.py").read_text())
    used = {name for node in ast.walk(tree) for name in provenance._imported(node)}
    needed = provenance._reached(sorted({provenance._facts().find(name) for name in used} - {""}))
    # Some things are loaded by name; the settings of crops are made with the package cellmap.
    named_only = {"decode", "pipeline", "union_find"} if rule in (*IN_BLOCKS, *AT_ONCE) else {"cellmap"}
    named_only |= {"measure"} if rule in ("measure_segmentation", "tune_decoding") else set()
    named_only |= {"augment", "targets"} if rule == "draw_augmentations" else set()
    for job in (job for job in JOBS if job.split()[0] == rule):
        counted = provenance._reached(JOBS[job])
        assert needed - counted == set(), job
        beyond = {name.split(".")[0] for name in counted - needed if not name.endswith("__init__")}
        assert beyond <= named_only, job
