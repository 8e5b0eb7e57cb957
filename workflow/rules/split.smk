"""Split: which voxels are learnt from, and which tell how well.

in   volume.json of every volume of the data config
out  results/split/{data}/{split}/split.tsv
"""


rule make_datasplit:
    """Write the table of boxes and roles."""
    input:
        unpack(CHALLENGE.datasplit),
        volumes=INPUTS.volumes,
    output:
        table=PATHS.split_table,
    log:
        log_of("make_datasplit", "split", volume=False),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        cfg=STUDY.settings("split"),
        data=INPUTS.sources,
        code=code("split.datasplit", "cellmap"),
    message:
        "splitting {wildcards.data}"
    script:
        "../../scripts/make_datasplit.py"
