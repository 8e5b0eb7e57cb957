"""Score: what the challenge would say of a submission, class by class, on crops whose labels are known.

in   validation.zip, and the labels of its crops; submission.zip too where the challenge is generated
out  results/submit/.../{part}.score.json, .score.tsv                      the official numbers, and more
     results/submit/.../{part}.scores.png, .examples.png, .scores.html     in pictures
"""


rule score_submission:
    """Score a part as the challenge would."""
    input:
        unpack(CHALLENGE.generated),
        submission=PATHS.packed,
        manifest=CHALLENGE.part_manifest,
    output:
        out=f"{folder('submit', volume=False)}/{{part}}.score.json",
        table=f"{folder('submit', volume=False)}/{{part}}.score.tsv",
    log:
        f"{folder('submit', volume=False, top='log/score_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(480),
    params:
        truth=CHALLENGE.part_truth,
        metric=lambda wildcards: STUDY.settings("submit")(wildcards)["metric"],
        code=code("submit.score.submission", "cellmap", "tables"),
    message:
        "scoring the {wildcards.part}"
    script:
        "../../scripts/score_submission.py"


rule draw_submission:
    """Draw the score of each class, what each would add, and the best and worst crops."""
    input:
        scores=rules.score_submission.output.out,
        volumes=CHALLENGE.part_volumes,
        crops=CHALLENGE.part_decoded,
    output:
        figure=report(
            f"{folder('submit', volume=False)}/{{part}}.scores.png",
            caption="../report/class_scores.rst",
            category="submit",
            labels={"data": "{data}", "model": "{train}", "submission": "{submit}", "figure": "{part}: classes"},
        ),
        slices=report(
            f"{folder('submit', volume=False)}/{{part}}.examples.png",
            caption="../report/submission.rst",
            category="submit",
            labels={
                "data": "{data}",
                "model": "{train}",
                "submission": "{submit}",
                "figure": "{part}: best and worst",
            },
        ),
        page=report(
            f"{folder('submit', volume=False)}/{{part}}.scores.html",
            caption="../report/class_scores.rst",
            category="submit",
            labels={"data": "{data}", "model": "{train}", "submission": "{submit}", "figure": "{part}: table"},
        ),
    log:
        f"{folder('submit', volume=False, top='log/draw_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(30),
    params:
        truth=CHALLENGE.part_truth,
        code=code(
            "draw.submission.figure",
            "draw.submission.examples",
            "draw.submission.page",
            "draw.submission.sources",
            "draw.submission.views",
        ),
    message:
        "drawing the scores of the {wildcards.part}"
    script:
        "../../scripts/draw_submission.py"


rule score_officially:
    """Score a part by the challenge's own toolbox, in its own environment, and compare."""
    input:
        unpack(CHALLENGE.generated),
        submission=PATHS.packed,
        manifest=CHALLENGE.part_manifest,
        ours=rules.score_submission.output.out,
    output:
        out=f"{folder('submit', volume=False)}/{{part}}.official.json",
    log:
        f"{folder('submit', volume=False, top='log/score_officially')}/{{part}}.log",
    conda:
        "../../envs/cellmap.yaml"
    threads: 4
    resources:
        mem_mb=per_attempt(32000),
        runtime=1440,
    params:
        truth=CHALLENGE.part_truth,
    message:
        "scoring the {wildcards.part} by the challenge's toolbox"
    script:
        "../../scripts/score_officially.py"
