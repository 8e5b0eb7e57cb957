"""Submit: from predictions of crops to a checked zip for the CellMap challenge.

in   affinities.zarr of every crop: one channel for each class
out  results/submit/{data}/{split}/{train}/{predict}/{submit}/{dataset.cropN}/crop.json    its arrays lie beside it
     results/submit/.../submission.zip, submission.check.json
     results/submit/.../validation.zip                            the same for the crops that are kept back
"""

SUBMIT = folder("submit", volume=False)


rule decode_crop:
    """Turn what the network says of each class into labels on the crop's own voxels."""
    input:
        affinities=rules.finish_prediction.output.done,
        volume=f"{RESULTS}/ingest/{{data}}/{{volume}}/volume.json",
    output:
        crop=f"{folder('submit')}/crop.json",
    log:
        log_of("decode_crop", "submit"),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=decoding_crop_mb,
        runtime=per_attempt(240),
    params:
        cfg=settings("submit"),
        code=code("submit"),
    message:
        "decoding the classes of {wildcards.volume}"
    script:
        "../../scripts/decode_crop.py"


rule pack_submission:
    """Put every class of every crop of the manifest into one zip; what was not predicted is empty."""
    input:
        crops=decoded_crops,
        manifest=part_manifest,
    output:
        packed=f"{SUBMIT}/{{part}}.zip",
    log:
        f"{folder('submit', volume=False, top='log/pack_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(240),
    params:
        largest_gb=lambda wildcards: settings("submit")(wildcards)["largest_gb"],
        code=code("submit.pack", "cellmap"),
    message:
        "packing the {wildcards.part} with {wildcards.submit}"
    script:
        "../../scripts/pack_submission.py"


rule check_submission:
    """Find everything for which the challenge refuses a submission, or scores zero."""
    input:
        submission=rules.pack_submission.output.packed,
        manifest=part_manifest,
    output:
        findings=f"{SUBMIT}/{{part}}.check.json",
    log:
        f"{folder('submit', volume=False, top='log/check_submission')}/{{part}}.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(240),
    params:
        largest_gb=lambda wildcards: settings("submit")(wildcards)["largest_gb"],
        code=code("submit.check", "cellmap"),
    message:
        "checking the {wildcards.part}"
    script:
        "../../scripts/check_submission.py"
