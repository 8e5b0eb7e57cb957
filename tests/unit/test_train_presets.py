"""The presets of training: each is the recipe of its source, builds its network, and makes a step."""

import numpy as np
import pytest
import torch
from slow_cases import slow_but
from small_crops import CLASSES, make_cubes
from small_training import make_volume, read_rows

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.models import build_model
from connectomake.models.checkpoint import load_checkpoint
from connectomake.split.table import write_split
from connectomake.train.train_model import train_model

BANIS = ["affinity z+1", "affinity y+1", "affinity x+1", "affinity z+10", "affinity y+10", "affinity x+10"]
AFF12 = ["z+1", "y+1", "x+1", "z+2", "y+3", "x+3", "z+3", "y+9", "x+9", "z+4", "y+27", "x+27"]
UNET = {"architecture": "monai_basic_unet3d", "filters": (32, 64, 128, 256, 512, 32)}
CUSTOM = {
    "architecture": "mednext_custom",
    "filters": 32,
    "kernel_size": 7,
    "expansions": (2, 3, 4, 4, 4, 4, 4, 3, 2),
    "blocks": (3, 4, 8, 8, 8, 8, 8, 4, 3),
    "deep_supervision": True,
    "grn": True,
}


def mednext(size, kernel_size, deep_supervision=True):
    return {"architecture": "mednext", "size": size, "kernel_size": kernel_size, "deep_supervision": deep_supervision}


# name: network, channels, losses, patch, batch x accumulate, learning rate, weight decay, shape, warm-up, lowest rate,
# steps, moving average, precision
RECIPES = {
    "lucchi": (
        UNET | {"dropout": 0.1}, ["binary"], ["dice", "bce"], (128,) * 3, (2, 1),
        1e-4, 1e-4, "cosine", 5 / 100, 1e-6, 100_000, 0, "float16",
    ),
    "mednext_lucchi": (
        mednext("S", 3), ["binary"], ["dice", "bce"], (112,) * 3, (4, 1),
        1e-3, 1e-2, "cosine", 5 / 150, 1e-4, 150_000, 0, "float16",
    ),
    "mednext_custom": (
        CUSTOM, ["binary"], ["dice"], (128,) * 3, (2, 1),
        1e-3, 1e-4, "cosine", 5 / 300, 1e-4, 300_000, 0, "float16",
    ),
    "banis": (
        mednext("S", 3, False), BANIS, ["bce"], (128,) * 3, (8, 1),
        1e-3, 1e-2, "cosine", 0, 0, 50_000, 0, "float16",
    ),
    "banis_l": (
        mednext("L", 5, False), BANIS, ["bce"], (256,) * 3, (1, 8),
        1e-3, 1e-2, "cosine", 0, 0, 1_000_000, 0, "float16",
    ),
    "banis_plus": (
        mednext("L", 3, False), BANIS, ["balanced_bce"], (128,) * 3, (2, 1),
        1e-3, 1e-2, "cosine", 0, 0, 200_000, 0.999, "float16",
    ),
    "snemi": (
        mednext("S", 3), [f"affinity {name}" for name in AFF12], ["balanced_bce"], (32, 160, 160), (12, 4),
        3e-4, 1e-2, "cosine", 3 / 200, 0, 50_000, 0.999, "bfloat16",
    ),
    "cellmap_quick": (
        UNET, ["nuc", "mito"], ["bce"], (64,) * 3, (4, 4),
        1e-3, 1e-5, "cosine", 0, 1e-6, 2_500, 0, "float16",
    ),
    "mednext_cos7": (
        mednext("M", 5), list(CLASSES), ["bce"], (128,) * 3, (2, 4),
        1e-3, 1e-5, "constant", 0, 0, 125_000, 0, "float16",
    ),
    "mednext_mito": (
        mednext("L", 7), ["mito"], ["bce"], (96,) * 3, (1, 4),
        5e-4, 1e-5, "constant", 0, 0, 250_000, 0, "float16",
    ),
}  # fmt: skip
EXTRAS = {
    "banis": {"raw_mean": 0, "raw_std": 255, "targets.affinity.erosion_zyx_vx": (0, 0, 0)},
    "banis_l": {"raw_mean": 0, "raw_std": 255, "model.gradient_checkpointing": True},
    "banis_plus": {"targets.affinity.erosion_zyx_vx": (2, 2, 2), "losses.0.options": {"largest_weight": 10}},
    "snemi": {"targets.affinity.erosion_zyx_vx": (0, 1, 1)},
    "lucchi": {"seed": 42, "keep_best": 3, "schedule.warmup_start": 0.01},
    "mednext_lucchi": {"patience": 20, "schedule.warmup_start": 0.1},
    "cellmap_quick": {"keep": "best_dice", "keep_best": 3, "sampling.balance": "classes"},
    "mednext_cos7": {"keep": "best_dice", "keep_best": 3, "sampling.balance": "classes", "patience": 50},
    "mednext_mito": {"keep": "best_dice", "keep_best": 3, "sampling.balance": "voxels", "patience": 50},
}
OURS = {"cellmap_mini", "default", "demo", "gpu", "half_hour", "maps"}


@pytest.fixture(scope="module")
def presets(project):
    return Presets(project)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Return two volumes that hold a patch of every network."""
    folder = tmp_path_factory.mktemp("data")
    rows = [make_volume(folder / role, role, role, 0, (40, 48, 72)) for role in ("train", "validate")]
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Return crops that hold every class; one is thinner than any patch."""
    folder = tmp_path_factory.mktemp("crops")
    classes = (*CLASSES, "pm", "cyto")
    rows = [
        make_cubes(folder / "a", "jrc_a.crop1", "train", classes=classes),
        make_cubes(folder / "b", "jrc_b.crop2", "train", 1, (9, 48, 72), classes),
        make_cubes(folder / "c", "jrc_c.crop3", "validate", 2, classes=classes),
    ]
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


def load(presets, name):
    return presets.get("train", name, "the test").settings


def test_every_preset_has_a_recipe_here(project):
    files = {file.stem for file in (project / "config/train").glob("*.yaml") if not file.stem.endswith("_auto")}
    assert files == RECIPES.keys() | OURS


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_is_the_recipe_of_its_source(presets, name):
    network, channels, losses, patch, batches, rate, decay, shape, warmup, lowest, steps, ema, precision = RECIPES[name]
    cfg = load(presets, name)
    assert {key: getattr(cfg.model, key) for key in network} == network
    assert [channel.name for channel in cfg.targets.channels] == channels
    assert [(term.loss, term.weight) for term in cfg.losses] == [(loss, 1) for loss in losses]
    assert (cfg.patch_zyx_vx, (cfg.batch, cfg.accumulate)) == (patch, batches)
    assert (cfg.optimizer.name, cfg.optimizer.learning_rate, cfg.optimizer.weight_decay) == ("adamw", rate, decay)
    assert (cfg.optimizer.betas, cfg.optimizer.epsilon) == ((0.9, 0.999), 1e-8)
    assert (cfg.schedule.shape, cfg.schedule.warmup) == (shape, pytest.approx(warmup, abs=1e-4))
    assert cfg.schedule.floor * rate == pytest.approx(lowest)
    assert (cfg.max_steps, cfg.ema_decay, cfg.gradient_clip, cfg.precision) == (steps, ema, 1, precision)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, extras in EXTRAS.items() for key in extras])
def test_what_only_one_recipe_says(presets, name, key):
    value = load(presets, name)
    for part in key.split("."):
        value = value[int(part)] if part.isdecimal() else getattr(value, part)
    assert value == EXTRAS[name][key]


@pytest.mark.parametrize("name", slow_but(["banis", "maps"], sorted({*RECIPES, *OURS}), "builds a large network"))
def test_a_preset_builds_and_makes_a_step(presets, split, crops, tmp_path, name):
    """One step, with one patch as small as the network takes, of as few filters as there may be, on one core."""
    cfg = load(presets, name)
    classes = cfg.targets.classes
    split = crops if classes is not None and classes.named else split
    small = cfg.model_dump() | {
        "patch_zyx_vx": cfg.model.smallest_patch_zyx,
        **{"batch": 1, "accumulate": 1, "workers": 0, "memory_gb": 1, "validate_patches": 1},
        **{"device": "cpu", "precision": "float32", "fast_dev_run": True},
    }
    filters = cfg.model.filters if "unet" in cfg.model.architecture else None
    small["model"]["filters"] = 4 if filters is None else (4,) * len(filters)
    outputs = tmp_path / "model.ckpt", tmp_path / "metrics.csv"
    assert train_model(split, *outputs, tmp_path / "run", TrainConfig.model_validate(small), AugmentConfig())
    rows = read_rows(outputs[1])
    assert {row["step"] for row in rows} == {"1"}
    named = [f"validate_dice/{name}" for name in classes.named] if classes is not None else []
    for column in ("train_loss", "validate_loss", *named):
        found = [float(row[column]) for row in rows if row[column]]
        assert found, column
        assert np.isfinite(found).all(), column
    network, meta = load_checkpoint(outputs[0])
    assert [channel["name"] for channel in meta.channels] == [channel.name for channel in cfg.targets.channels]
    assert all(torch.isfinite(value).all() for value in network.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"), [("banis", 5_551_046), ("banis_l", 62_993_030), ("mednext_mito", 65_693_541)]
)
def test_a_network_has_the_parameters_of_the_original(presets, name, parameters):
    """As counted in the original: 5,550,915, 62,992,899 and 65,692,611 for two channels, one of them a dummy.

    Each channel more takes 33; deep supervision takes 964 for each.
    """
    cfg = load(presets, name)
    with torch.device("meta"):
        network = build_model(cfg.model, 1, len(cfg.targets.channels))
    assert sum(value.numel() for value in network.parameters()) == parameters
