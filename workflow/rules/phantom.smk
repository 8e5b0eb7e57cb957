"""Synth: volumes that are made, not imaged, with their truth.

out  results/phantom/{phantom}/seed{seed}/   raw.zarr, labels.zarr, organelles.zarr, skeletons.npz
cost about half a second per Mvoxel and core, 12 bytes of memory per voxel
"""


rule make_phantom:
    """Draw one EM-like volume: neurites grown from skeletons, organelles, membranes, noise."""
    output:
        raw=f"{RESULTS}/phantom/{{phantom}}/seed{{seed}}/raw.zarr/zarr.json",
        labels=f"{RESULTS}/phantom/{{phantom}}/seed{{seed}}/labels.zarr/zarr.json",
        organelles=f"{RESULTS}/phantom/{{phantom}}/seed{{seed}}/organelles.zarr/zarr.json",
        skeletons=f"{RESULTS}/phantom/{{phantom}}/seed{{seed}}/skeletons.npz",
    log:
        f"{RESULTS}/log/make_phantom/{{phantom}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        cfg=INPUTS.phantom,
        seed=lambda wildcards: int(wildcards.seed),
        code=code("phantom.phantom"),
    message:
        "generating phantom {wildcards.phantom}, seed {wildcards.seed}"
    script:
        "../../scripts/make_phantom.py"
