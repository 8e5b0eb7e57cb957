"""Errors: the worst splits, mergers and missing parts, to be looked at: pictures, views in Neuroglancer, one table.

in   errors.tsv of the measure stage
out  results/report/view/.../{volume}/links.tsv, state.json   a link to each error; `python scripts/serve_volumes.py` serves them
     results/report/errors/.../{volume}/errors.png            slices at the worst ones
     results/report/{experiment}/errors.tsv, errors.html      those of all variants, with links
"""


rule link_neuroglancer:
    """Make a view of one segmentation, and one of each of its worst errors."""
    input:
        unpack(INPUTS.skeletons),
        volume=PATHS.volume,
        affinities=PATHS.affinities,
        labels=PATHS.labels,
        errors=PATHS.worst_errors,
    output:
        state=f"{folder('measure', top='report/view')}/state.json",
        links=f"{folder('measure', top='report/view')}/links.tsv",
    log:
        log_of("link_neuroglancer", "measure"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        results=lambda wildcards: RESULTS,
        code=code("view.links"),
    message:
        "linking views of {wildcards.volume}"
    script:
        "../../scripts/link_neuroglancer.py"


rule draw_errors:
    """Draw the places of the worst errors of one segmentation."""
    input:
        unpack(INPUTS.skeletons),
        volume=PATHS.volume,
        affinities=PATHS.affinities,
        labels=PATHS.labels,
        errors=PATHS.worst_errors,
    output:
        figure=report(
            f"{folder('measure', top='report/errors')}/errors.png",
            caption="../report/errors.rst",
            category="errors",
            labels={
                "volume": "{data}/{volume}",
                "model": "{train}",
                "decoding": "{decode}",
                "figure": "worst errors",
            },
        ),
    log:
        log_of("draw_errors", "measure"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(30),
    params:
        title=lambda wildcards: wildcards.decode,
        code=code("draw.errors.figure", "draw.sources"),
    message:
        "drawing the worst errors of {wildcards.volume}"
    script:
        "../../scripts/draw_errors.py"


rule gather_errors:
    """Gather the worst errors of all variants of an experiment into one table with links."""
    input:
        errors=lambda wildcards: GOALS.measured_files("measure", "errors.tsv", wildcards),
        links=lambda wildcards: GOALS.measured_files("report/view", "links.tsv", wildcards),
    output:
        table=PATHS.report("{experiment}", "errors.tsv"),
        page=report(
            PATHS.report("{experiment}", "errors.html"),
            caption="../report/error_table.rst",
            category="errors",
            labels={"experiment": "{experiment}", "figure": "table of the worst errors"},
        ),
    log:
        f"{RESULTS}/log/gather_errors/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        variants=GOALS.measured_variants,
        volumes=GOALS.measured_volumes,
        title=lambda wildcards: wildcards.experiment,
        command=f"python scripts/serve_volumes.py --results {RESULTS}",
        code=code("measure.gather_errors", "tables", "draw.errors.page"),
    message:
        "gathering the worst errors of {wildcards.experiment}"
    script:
        "../../scripts/gather_errors.py"
