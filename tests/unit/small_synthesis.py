"""Samples and numbers of a generator, small and drawn at random, as `generation_metrics` leaves them."""

import json

import numpy as np

CLASSES = ("thick", "thin")
COURSES = {
    "stage1": ("loss", "l1", "perceptual", "commitment", "adversarial", "features", "discriminator", "perplexity"),
    "stage2": ("loss", "l1", "perceptual", "adversarial", "features", "discriminator", "perplexity"),
    "diffusion": ("loss",),
}
SCORES = ("l1", "psnr_db", "ssim", "seam_ratio", "perplexity", "used_codes")


def make_slices(rng, count, shape, coarse):
    from scipy.ndimage import gaussian_filter

    noise = np.stack([gaussian_filter(rng.standard_normal(shape), coarse, mode="wrap") for _ in range(count)])
    return np.clip(noise / noise.std() * 50 + 128, 0, 255).astype(np.uint8)


def make_samples(labels=True, shapes=((32, 32, 32),), counts=(4, 4), voxel_size=(4, 4, 4)):
    """Return what samples.npz holds."""
    rng, groups, arrays = np.random.default_rng(0), [], {}
    for name in CLASSES:
        for z, y, x in shapes:
            g = len(groups)
            groups.append({"class": name, "shape_zyx_vx": [z, y, x], "voxel_size_zyx_nm": list(voxel_size)})
            for kind, count in zip(("real", "made"), counts, strict=True):
                for axis, shape in (("z", (y, x)), ("y", (z, x))):
                    if count:
                        arrays[f"{g}/{kind}/{axis}"] = make_slices(rng, count, shape, 3 if name == "thick" else 1.5)
                    if labels and count:
                        blocks = np.add.outer(np.arange(shape[0]) // 9 * 7, np.arange(shape[1]) // 11)
                        arrays[f"{g}/{kind}_labels/{axis}"] = np.stack([blocks * (blocks % 3 > 0)] * count)
    known = []
    for r, name in enumerate(CLASSES):
        z, y, x = shapes[0]
        for axis, shape in (("z", (y, x)), ("y", (z, x))):
            real = make_slices(rng, 1, shape, 2)[0] / 127.5 - 1
            seams = 0.3 * (np.add.outer(np.arange(shape[0]) % 16 < 1, np.arange(shape[1]) % 16 < 1) > 0)
            for stage, size in (("real", 0.0), ("stage1", 0.2), ("stage2", 0.1)):
                made = real + size * rng.standard_normal(shape) + size * seams
                arrays[f"{r}/reconstruction/{stage}/{axis}"] = np.clip(made, -1, 1).astype(np.float32)
        scores = {
            s: {"psnr_db": 19.1 + 3 * k, "ssim": 0.6, "seam_ratio": 1.3} for k, s in enumerate(("stage1", "stage2"))
        }
        size = {"voxel_size_zyx_nm": list(voxel_size), "patch_zyx_vx": [16, 16, 16]}
        known.append({"class": name, "key": f"{name}_hold_00000", "scores": scores} | size)
    return arrays | {"about": {"groups": groups, "reconstructions": known}}


def make_rows(shapes=("32x32x32",)):
    """Return the rows of metrics.json."""
    common = {"reference": None, "n_reference": 0, "features": "voxels", "n": 8}
    rows = [
        common | {"class": c, "shape_zyx_vx": s, "metric": f"{stage}_{metric}", "value": 1.234567, "better": "higher"}
        for c, s in (("*", "*"), *((c, s) for c in CLASSES for s in shapes))
        for stage in ("stage1", "stage2")
        for metric in ("psnr_db", "ssim", "seam_ratio")
    ]
    rows += [common | {"class": "*", "shape_zyx_vx": "*", "metric": "used_codes", "value": 0.51, "better": "higher"}]
    real = common | {"reference": 4.5, "n_reference": 4, "features": "FD-AE, 32 features", "better": "lower", "n": 4}
    rows += [
        real | {"class": c, "shape_zyx_vx": s, "metric": metric, "value": value}
        for c in CLASSES
        for s in shapes
        for metric, value in (("frechet_distance", 5.25), ("rbf_mmd", -0.0123), ("ms_ssim", None), ("mean", 0.1))
    ]
    return rows


def write_samples(path, samples):
    arrays = {name: value for name, value in samples.items() if name != "about"}
    np.savez_compressed(path, about=np.array(json.dumps(samples["about"])), **arrays)


def write_course(path, training, steps=150):
    """Write metrics.csv of a training, with a validation every 25 steps."""
    rng, losses = np.random.default_rng(1), COURSES[training]
    scores = [f"validate_{name}" for name in (SCORES if training != "diffusion" else ("loss",))]
    lines = [",".join(["step", "seconds", "steps_per_s", "learning_rate", *(f"train_{n}" for n in losses), *scores])]
    for step in range(0, steps + 1, 5):
        values = [2 * np.exp(-step / 60) * rng.uniform(0.8, 1.2) / (k + 1) + 0.05 for k in range(len(losses))]
        ends = [f"{1 + step / 100 + k:.3f}" if step % 25 == 0 else "" for k in range(len(scores))]
        lines.append(",".join([str(step), str(step * 0.1), "10", "0.001", *(f"{v:.4f}" for v in values), *ends]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
