"""Augment: what the random changes of training patches do, on a patch of the training data.

in   split.tsv and the volumes that it names
out  results/report/augmentations/{data}/{split}/{train}/augmentations.png
"""


rule draw_augmentations:
    """Draw a patch before and after each augmentation."""
    input:
        split=PATHS.split_table,
    output:
        figure=report(
            f"{folder('train', volume=False, top='report/augmentations')}/augmentations.png",
            caption="../report/augmentations.rst",
            category="train",
            labels={"data": "{data}", "model": "{train}", "figure": "augmentations"},
        ),
    log:
        log_of("draw_augmentations", "train", volume=False),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(10),
    params:
        cfg=STUDY.settings("train"),
        augment=STUDY.settings("train", "augment"),
        title=lambda wildcards: f"{wildcards.data}, {wildcards.train}",
        code=code("draw.augmentation", "augment", "targets", "train.examples"),
    message:
        "drawing the augmentations of {wildcards.train}"
    script:
        "../../scripts/draw_augmentations.py"
