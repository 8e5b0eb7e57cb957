"""Split: which voxels are learnt from, and which tell how well.

in   volume.json of every volume of the data config
out  results/split/{data}/{split}/split.tsv
"""


rule make_datasplit:
    """Write the table of boxes and roles."""
    input:
        unpack(crops_split),
        volumes=lambda wildcards: [
            f"{RESULTS}/ingest/{wildcards.data}/{volume}/volume.json"
            for volume in INDEX["data", wildcards.data].settings["data"].volumes
        ],
    output:
        table=f"{folder('split', volume=False)}/split.tsv",
    log:
        log_of("make_datasplit", "split", volume=False),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        cfg=settings("split"),
        data=sources,
        code=code("split", "cellmap"),
    message:
        "splitting {wildcards.data}"
    script:
        "../../scripts/make_datasplit.py"
