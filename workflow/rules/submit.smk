"""Submit: from predictions of crops to a checked zip for the CellMap challenge.

in   affinities.zarr of every crop: one channel for each class
out  results/submit/{data}/{split}/{train}/{predict}/{submit}/{dataset.cropN}/crop.json    its arrays lie beside it
     results/submit/.../submission.zip, submission.check.json
     results/submit/.../validation.zip                            the same for the crops that are kept back
"""


rule decode_crop:
    """Turn what the network says of each class into labels on the crop's own voxels."""
    input:
        affinities=PATHS.affinities,
        volume=PATHS.volume,
    output:
        crop=PATHS.crop_json,
    log:
        log_of("decode_crop", "submit"),
    benchmark:
        PATHS.benchmark_of("decode_crop", "submit")
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=RESOURCES.decode_crop_mb,
        runtime=per_attempt(240),
    params:
        cfg=STUDY.settings("submit"),
        code=code("submit.decode_crop"),
    message:
        "decoding the classes of {wildcards.volume}"
    script:
        "../../scripts/decode_crop.py"


rule pack_submission:
    """Put every class of every crop of the manifest into one zip; what was not predicted is empty."""
    input:
        crops=CHALLENGE.part_decoded,
        manifest=CHALLENGE.part_manifest,
    output:
        packed=PATHS.packed,
    log:
        f"{folder('submit', volume=False, top='log/pack_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(240),
    params:
        largest_gb=lambda wildcards: STUDY.settings("submit")(wildcards)["largest_gb"],
        code=code("submit.pack", "cellmap"),
    message:
        "packing the {wildcards.part} with {wildcards.submit}"
    script:
        "../../scripts/pack_submission.py"


rule check_submission:
    """Find everything for which the challenge refuses a submission, or scores zero."""
    input:
        submission=PATHS.packed,
        manifest=CHALLENGE.part_manifest,
    output:
        findings=f"{folder('submit', volume=False)}/{{part}}.check.json",
    log:
        f"{folder('submit', volume=False, top='log/check_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(240),
    params:
        largest_gb=lambda wildcards: STUDY.settings("submit")(wildcards)["largest_gb"],
        code=code("submit.check", "cellmap"),
    message:
        "checking the {wildcards.part}"
    script:
        "../../scripts/check_submission.py"
