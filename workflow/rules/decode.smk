"""Decode: from affinities to instances.

in   affinities.zarr
out  results/decode/.../{decode}/{volume}/labels.zarr
     results/decode/.../{decode}/best.yaml, tune.tsv, tune.png   where the preset says tune
cost seconds for a cube of 1 Gvoxel, the whole volume in memory; with decode.block_zyx_vx see decode_blocks.smk
"""


rule tune_decoding:
    """Choose settings of the decoder by the validation volumes."""
    input:
        unpack(INPUTS.tuning),
    output:
        best=PATHS.best_decoding,
        table=f"{folder('decode', volume=False)}/tune.tsv",
        figure=report(
            f"{folder('decode', volume=False)}/tune.png",
            caption="../report/tune.rst",
            category="decode",
            labels={"volume": "{data}", "model": "{train}", "decoding": "{decode}", "figure": "all thresholds"},
        ),
    log:
        log_of("tune_decoding", "decode", volume=False),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
    params:
        cfg=STUDY.settings("decode"),
        measure=STUDY.settings("decode", "measure"),
        study=f"{folder('decode', volume=False)}/run/study.journal",
        code=lambda wildcards: code_of("tune", *STUDY.at("decode", wildcards).tuning_modules),
    message:
        "tuning {wildcards.decode} on the validation volumes of {wildcards.data}"
    script:
        "../../scripts/tune_decoding.py"


rule decode_affinities:
    """Decode a volume at once."""
    input:
        unpack(INPUTS.tuned),
        affinities=PATHS.affinities,
    output:
        labels=PATHS.labels,
    log:
        log_of("decode_affinities", "decode"),
    benchmark:
        PATHS.benchmark_of("decode_affinities", "decode")
    wildcard_constraints:
        decode=STUDY.ids_where("decode", lambda cfg: cfg.block_zyx_vx is None),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(120),
    params:
        cfg=STUDY.settings("decode"),
        code=lambda wildcards: code_of(*STUDY.at("decode", wildcards).decode.modules),
    message:
        "decoding {wildcards.volume} with {wildcards.decode}"
    script:
        "../../scripts/decode_affinities.py"
