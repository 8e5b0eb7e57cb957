"""Decode: from affinities to instances.

in   affinities.zarr
out  results/decode/.../{decode}/{volume}/labels.zarr
cost seconds per Gvoxel edge, the whole volume in memory
"""


rule decode_affinities:
    """Join voxels along strong affinities into objects."""
    input:
        affinities=rules.finish_prediction.output.done,
    output:
        labels=f"{folder('decode')}/labels.zarr/zarr.json",
    log:
        log_of("decode_affinities", "decode"),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=120,
    params:
        cfg=settings("decode"),
        code=code("decode"),
    message:
        "decoding {wildcards.volume} with {wildcards.decode}"
    script:
        "../../scripts/decode_affinities.py"
