"""Report: every setting, and one HTML page over all results; and what the results take on the disk.

in   the figures and tables of the run
out  results/report/{experiment}/settings.yaml
     results/report/report.html                the page; it needs nothing beside it
"""


rule write_settings:
    """Write down every setting of every variant, as resolved."""
    output:
        settings=PATHS.report("{experiment}", "settings.yaml"),
    log:
        f"{RESULTS}/log/write_settings/{{experiment}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(5),
    params:
        variants=lambda wildcards: {v.name: v.resolved() for v in STUDY.variants_of(wildcards.experiment)},
    message:
        "writing the settings of {wildcards.experiment}"
    script:
        "../../scripts/write_settings.py"


rule figures:
    """Everything that the page shows, without the page."""
    input:
        GOALS.figures(),


rule report:
    """Put text, figures, tables, runtimes and code into one HTML file, by Snakemake's own reporter."""
    input:
        GOALS.figures(),
    output:
        page=f"{RESULTS}/report/report.html",
    log:
        f"{RESULTS}/log/report.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(30),
    params:
        config=dict(config),
        snakefile=workflow.main_snakefile,
    message:
        "writing {output.page}"
    script:
        "../../scripts/write_report.py"


rule rulegraph:
    """Draw which rules the chosen experiments go through, as Mermaid text that GitHub and editors show as a picture."""
    log:
        f"{RESULTS}/log/rulegraph.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        page=f"{RESULTS}/report/rules.md",
        config=dict(config),
        snakefile=workflow.main_snakefile,
    message:
        "drawing the rules into {params.page}"
    script:
        "../../scripts/draw_rules.py"


rule purge:
    """Show what each stage takes on the disk; with `--config purge=STAGE` remove it."""
    log:
        f"{RESULTS}/log/purge.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=RESULTS,
        stages=STUDY.run.purge,
    message:
        "looking at what {RESULTS} holds"
    script:
        "../../scripts/purge_results.py"
