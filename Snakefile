"""Connectomake: from volumes of electron microscopy to measured segmentations and checked submissions.
Where results live ({data} {split} {train} {predict} {decode} {measure} are ids: `preset`, or `preset@key=value@...`):
    results/phantom/{phantom}/seed{seed}/                             volumes drawn by rules, with their truth
    results/ingest/{data}/{volume}/volume.json                        what a volume is, and where it lies
    results/split/{data}/{split}/split.tsv                            which voxels are learnt from
    results/train/{data}/{split}/{train}/model.ckpt                   the network, with all that predicting needs
    results/predict/.../{predict}/{volume}/affinities.zarr            (C, Z, Y, X) uint8
    results/decode/.../{decode}/{volume}/labels.zarr                  (Z, Y, X) uint32
    results/measure/.../{measure}/{volume}/metrics.json, errors.tsv   the numbers, the worst errors
    results/submit/.../{predict}/{submit}/submission.zip              labels for the CellMap challenge
    results/synth/{data}/{split}/{synth}/volumes/                     volumes that a generator made after it learnt
    results/report/{experiment}/                                      table, figures, settings; report.html over all
    results/log/{rule}/..., results/benchmark/{rule}/...              the log of every job, what the long ones took
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/phantom.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/crops.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/synth.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/autoconfig.smk"
include: "workflow/rules/augment.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/decode.smk"
include: "workflow/rules/decode_blocks.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/submit.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/draw.smk"
include: "workflow/rules/errors.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/targets.smk"


rule all:
    """Everything that the chosen experiments ask for: segmentations, numbers, figures, the HTML report."""
    default_target: True
    input:
        f"{RESULTS}/report/report.html",
    localrule: True


include: "workflow/rules/start.smk"  # last: it looks at all rules
