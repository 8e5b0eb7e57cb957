"""Decode in blocks: the same labels, for volumes that are larger than memory or for many jobs.

in   affinities.zarr
out  results/decode/.../{decode}/{volume}/labels.zarr   zarr.json is written last
     label_blocks (n jobs) -> stitch_blocks -> relabel_blocks (n jobs) -> finish_labels
Blocks that are done are told by the ledgers in the stores, not by Snakemake: a killed job goes on where it was.
"""


rule label_blocks:
    """Label one job's share of the blocks, each block by itself."""
    input:
        unpack(INPUTS.tuned),
        affinities=PATHS.affinities,
    output:
        marker=temp(f"{folder('decode')}/jobs/label-{{job}}-of-{{jobs}}.json"),
    log:
        f"{folder('decode', top='log/label_blocks')}/{{job}}-of-{{jobs}}.log",
    benchmark:
        PATHS.benchmark_of("label_blocks", "decode", jobs=True)
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=RESOURCES.decode_block_mb,
        runtime=per_attempt(120),
    params:
        labels=f"{folder('decode')}/labels.zarr",
        cfg=STUDY.settings("decode"),
        job="{job}",
        jobs="{jobs}",
        code=lambda wildcards: code_of(*STUDY.at("decode", wildcards).decode.modules),
    message:
        "labelling blocks of {wildcards.volume}, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/label_blocks.py"


rule stitch_blocks:
    """Join the components of all blocks along their faces, and number the objects."""
    input:
        unpack(INPUTS.tuned),
        markers=JOBS.markers("decode", "label-"),
        affinities=PATHS.affinities,
    output:
        stitched=temp(f"{folder('decode')}/jobs/stitched.json"),
    log:
        log_of("stitch_blocks", "decode"),
    benchmark:
        PATHS.benchmark_of("stitch_blocks", "decode")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(120),
    params:
        labels=f"{folder('decode')}/labels.zarr",
        cfg=STUDY.settings("decode"),
        code=lambda wildcards: code_of(*STUDY.at("decode", wildcards).decode.modules),
    message:
        "stitching the blocks of {wildcards.volume}"
    script:
        "../../scripts/stitch_blocks.py"


rule relabel_blocks:
    """Write the final labels of one job's share of the blocks."""
    input:
        unpack(INPUTS.tuned),
        affinities=PATHS.affinities,
        stitched=rules.stitch_blocks.output.stitched,
    output:
        marker=f"{folder('decode')}/jobs/relabel-{{job}}-of-{{jobs}}.json",
    log:
        f"{folder('decode', top='log/relabel_blocks')}/{{job}}-of-{{jobs}}.log",
    benchmark:
        PATHS.benchmark_of("relabel_blocks", "decode", jobs=True)
    conda:
        ENVIRONMENT
    resources:
        mem_mb=RESOURCES.decode_block_mb,
        runtime=per_attempt(120),
    params:
        labels=f"{folder('decode')}/labels.zarr",
        cfg=STUDY.settings("decode"),
        job="{job}",
        jobs="{jobs}",
        code=lambda wildcards: code_of(*STUDY.at("decode", wildcards).decode.modules),
    message:
        "relabelling blocks of {wildcards.volume}, job {wildcards.job} of {wildcards.jobs}"
    script:
        "../../scripts/relabel_blocks.py"


rule finish_labels:
    """Check that every block is there, and declare the labels complete."""
    input:
        unpack(INPUTS.tuned),
        markers=JOBS.markers("decode", "relabel-"),
        affinities=PATHS.affinities,
        stitched=rules.stitch_blocks.output.stitched,
    output:
        labels=PATHS.labels,
    log:
        log_of("finish_labels", "decode"),
    wildcard_constraints:
        decode=STUDY.ids_where("decode", lambda cfg: cfg.block_zyx_vx is not None),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(30),
    params:
        cfg=STUDY.settings("decode"),
        code=lambda wildcards: code_of(*STUDY.at("decode", wildcards).decode.modules),
    message:
        "the labels of {wildcards.volume} are complete"
    script:
        "../../scripts/finish_labels.py"
