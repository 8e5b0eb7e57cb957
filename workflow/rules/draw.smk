"""Draw: one picture of every training, segmentation and experiment, for the report.

in   what the other stages wrote
out  results/report/curves/.../curves.png    the course of each training
     results/report/slices/.../slices.png    planes of each segmentation
     results/report/{experiment}/            metrics.png, metrics.html, overview.png
"""


rule draw_curves:
    """Draw the losses of one training."""
    input:
        metrics=PATHS.training_metrics,
    output:
        figure=report(
            f"{RESULTS}/report/curves/{{data}}/{{split}}/{{train}}/curves.png",
            caption="../report/curves.rst",
            category="train",
            labels={"data": "{data}", "model": "{train}", "figure": "training curves"},
        ),
    log:
        f"{RESULTS}/log/draw_curves/{{data}}/{{split}}/{{train}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        title=lambda wildcards: f"{wildcards.data}, {wildcards.train}",
        code=code("draw.experiment.curves"),
    message:
        "drawing the training of {wildcards.train}"
    script:
        "../../scripts/draw_curves.py"


rule draw_slices:
    """Draw raw data, affinities, labels and truth of one volume side by side."""
    input:
        unpack(INPUTS.skeletons),
        volume=PATHS.volume,
        affinities=PATHS.affinities,
        labels=PATHS.labels,
    output:
        figure=report(
            f"{folder('decode', top='report/slices')}/slices.png",
            caption="../report/slices.rst",
            category="decode",
            labels={
                "volume": "{data}/{volume}",
                "model": "{train}",
                "decoding": "{decode}",
                "figure": "slices",
            },
        ),
    log:
        log_of("draw_slices", "decode"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(30),
    params:
        title=lambda wildcards: wildcards.decode,
        code=code("draw.volume.slices", "draw.sources"),
    message:
        "drawing slices of {wildcards.volume}"
    script:
        "../../scripts/draw_slices.py"


rule draw_metrics:
    """Draw the numbers of one experiment, and write them as a table."""
    input:
        table=PATHS.report("{experiment}", "metrics.tsv"),
        comparison=PATHS.report("{experiment}", "comparison.tsv"),
    output:
        figure=report(
            PATHS.report("{experiment}", "metrics.png"),
            caption="../report/metrics.rst",
            category="measure",
            labels={"experiment": "{experiment}", "figure": "all variants"},
        ),
        page=report(
            PATHS.report("{experiment}", "metrics.html"),
            caption="../report/table.rst",
            category="measure",
            labels={"experiment": "{experiment}", "figure": "table of all numbers"},
        ),
    log:
        f"{RESULTS}/log/draw_metrics/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        title=lambda wildcards: wildcards.experiment,
        code=code("draw.experiment.figure", "draw.experiment.page"),
    message:
        "drawing the numbers of {wildcards.experiment}"
    script:
        "../../scripts/draw_metrics.py"


rule draw_overview:
    """Draw the one picture that shows an experiment."""
    input:
        unpack(GOALS.overview),
    output:
        figure=report(
            PATHS.report("{experiment}", "overview.png"),
            caption="../report/overview.rst",
            category="overview",
            labels={"experiment": "{experiment}", "figure": "overview"},
        ),
    log:
        f"{RESULTS}/log/draw_overview/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(30),
    params:
        title=lambda wildcards: wildcards.experiment,
        code=code("draw.volume.overview", "draw.sources"),
    message:
        "drawing the overview of {wildcards.experiment}"
    script:
        "../../scripts/draw_overview.py"
