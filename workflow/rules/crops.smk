"""Crops of the CellMap challenge: from its tree to volumes, and which of them are learnt from.

in   the tree that config/data names, or one that is generated
out  results/phantom/challenge/{data}/                        a generated tree, its manifest and hidden truth
     results/ingest/{data}/{dataset.cropN}/volume.json      one volume for each crop, on the voxels that the network sees
     results/split/{data}/{split}/datasplit.csv             the crops to learn from, as the challenge's toolbox writes it
"""


rule make_challenge:
    """Generate datasets with annotated crops, crops to submit, a manifest, and the truth that is kept back."""
    output:
        done=f"{RESULTS}/phantom/challenge/{{data}}/challenge.json",
        manifest=f"{RESULTS}/phantom/challenge/{{data}}/test_crop_manifest.csv",
    log:
        f"{RESULTS}/log/make_challenge/{{data}}.log",
    wildcard_constraints:
        data=STUDY.ids_where("data", lambda cfg: cfg.cellmap is not None and cfg.cellmap.generate),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        cfg=CHALLENGE.plain_settings,
        phantoms=CHALLENGE.phantoms,
        code=code("phantom.challenge.make"),
    message:
        "generating the challenge of {wildcards.data}"
    script:
        "../../scripts/make_challenge.py"


rule ingest_crop:
    """Lay a crop and the labels of its classes on the voxels that the network sees."""
    input:
        unpack(CHALLENGE.crop),
    output:
        volume_json=PATHS.volume,
    log:
        f"{RESULTS}/log/ingest_crop/{{data}}/{{volume}}.log",
    wildcard_constraints:
        data=STUDY.ids_where("data", lambda cfg: cfg.cellmap is not None),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(120),
    params:
        source=INPUTS.plain_source,
        cfg=CHALLENGE.plain_settings,
        name=lambda wildcards: wildcards.volume,
        folder=CHALLENGE.generated_tree,
        manifest=CHALLENGE.manifest,
        class_table=CHALLENGE.class_table,
        code=code("ingest.crops.ingest"),
    message:
        "reading {wildcards.volume}"
    script:
        "../../scripts/ingest_crop.py"


checkpoint split_crops:
    """Choose the crops to validate on, so that every class has its share; or read the user's own choice."""
    input:
        volumes=CHALLENGE.annotated_crops,
    output:
        datasplit=PATHS.datasplit,
        table=f"{folder('split', volume=False)}/class_voxels.tsv",
        manifest=f"{folder('split', volume=False)}/validation_manifest.csv",
    log:
        log_of("split_crops", "split", volume=False),
    wildcard_constraints:
        data=STUDY.ids_where("data", lambda cfg: cfg.cellmap is not None),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        cfg=STUDY.settings("split"),
        code=code("split.crops", "cellmap"),
    message:
        "splitting the crops of {wildcards.data}"
    script:
        "../../scripts/split_crops.py"


rule draw_class_voxels:
    """Draw how many voxels of each class there are to learn from, and to validate on."""
    input:
        table=rules.split_crops.output.table,
    output:
        figure=report(
            f"{folder('split', volume=False)}/class_voxels.png",
            caption="../report/class_voxels.rst",
            category="split",
            labels={"data": "{data}", "split": "{split}", "figure": "voxels of each class"},
        ),
    log:
        log_of("draw_class_voxels", "split", volume=False),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        code=code("draw.class_voxels"),
    message:
        "drawing the classes of {wildcards.data}"
    script:
        "../../scripts/draw_class_voxels.py"
