"""Tiny networks learn: every target, every loss, the average of weights and the mix each lower what they should."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from slow_cases import slow_but
from small_training import make_volume_of

from connectomake.config.registries import LOSSES
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.phantom.phantom import make_phantom
from connectomake.split.table import SplitRow, write_split
from connectomake.train.train_model import train_model

SHAPE = (32, 64, 64)
TRAINS = "trains for seconds"
MAPS = {"affinity": None, "binary": {}, "contour": {}, "distance": {}}
OF_MAPS = [
    {"loss": "bce", "target": "binary"},
    {"loss": "bce", "target": "contour"},
    {"loss": "mse", "target": "distance"},
]


@pytest.fixture(scope="module", autouse=True)
def _quietly() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[SplitRow]]:
    """Volumes to train and validate on: phantoms, the same with grey values turned round, balls, balls as a class."""
    folder = tmp_path_factory.mktemp("volumes")
    made: dict[str, list[SplitRow]] = {"neurites": [], "inverted": [], "balls": [], "class": []}
    neurites = {"radius_nm": 40, "radius_range_nm": [30, 70], "roughness_nm": 10}
    cfg = PhantomConfig.model_validate({"shape_zyx": SHAPE, "neurites": neurites})
    for seed, role in enumerate(("train", "validate")):
        phantom, balls = make_phantom(cfg, seed, 1), make_balls(seed)
        raw = (100 + 80 * (balls > 0) + np.random.default_rng(seed).normal(0, 10, SHAPE)).astype(np.uint8)
        volumes = {
            "neurites": (phantom.raw, phantom.labels),
            "inverted": (255 - phantom.raw, phantom.labels),
            "balls": (raw, balls),
            "class": (raw, (balls > 0).astype(np.uint8)),
        }
        for kind, arrays in volumes.items():
            made[kind].append(make_volume_of(folder / kind / role, f"{kind}_{role}", role, *arrays))
    return made


def make_balls(seed: int) -> np.ndarray:
    """Label balls with a radius of six voxels that do not touch."""
    rng, labels, places = np.random.default_rng(seed), np.zeros(SHAPE, np.uint32), np.indices(SHAPE)
    for number, corner in enumerate(np.ndindex(2, 4, 4), 1):
        centre = 16 * np.array(corner) + rng.integers(6, 11, 3)
        labels[((places - centre[:, None, None, None]) ** 2).sum(0) < 6**2] = number
    return labels


def learn(folder: Path, rows: list[SplitRow], **changes: object) -> list[dict[str, float]]:
    """Train for a few seconds, and give the numbers of each validation."""
    values = {
        "model": {"filters": [8, 16, 16, 16, 16, 8], "stem_factor": 2},
        "patch_zyx_vx": [32, 32, 64],
        "max_steps": 24,
        "validate_every_steps": 8,
        "validate_patches": 2,
        "optimizer": {"learning_rate": 0.01},
        "ema_decay": 0,
        "precision": "float32",
        "device": "cpu",
    }
    cfg = TrainConfig.model_validate(values | changes)
    folder.mkdir(exist_ok=True)
    write_split(folder / "split.tsv", rows)
    outputs = folder / "model.ckpt", folder / "metrics.csv", folder / "run"
    assert train_model(folder / "split.tsv", *outputs, cfg, AugmentConfig())
    with outputs[1].open() as file:
        told = [row for row in csv.DictReader(file) if row["validate_loss"]]
    return [{name: float(v) for name, v in row.items() if name.startswith("validate") and v} for row in told]


TARGETS = {
    "affinity": ({"offsets_zyx_vx": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "balanced_bce"),
    "binary": ({"erosion_zyx_vx": [2, 2, 2]}, "bce"),
    "contour": ({}, "balanced_bce"),
    "distance": ({}, "mse"),
    "distance signed": ({"kind": "signed"}, "mae"),
    "distance semantic": ({"kind": "semantic"}, "smooth_l1"),
    "distance skeleton": ({"kind": "skeleton"}, "mse"),
    "flow": ({}, "mse"),
    "descriptors": ({"parts": ["offset", "size"], "sigma_nm": 20}, "mse"),
    "classes": ({"labels": {"ball": [1]}}, "dice_ce"),
    "classes exclusive": ({"labels": {"ball": [1]}, "exclusive": True}, "cross_entropy"),
}
ON = {
    "binary_regularisation": {"target": "binary"},
    "non_overlap": {"prediction": "0:2"},  # of binary and contour
}
VOLUMES = {"flow": "balls", "descriptors": "balls", "classes": "class"}


@pytest.mark.parametrize("name", slow_but(["affinity", "classes"], TARGETS, TRAINS))
def test_every_target_is_learnt(name, rows, tmp_path):
    (settings, loss), target = TARGETS[name], name.split()[0]
    volumes = rows[VOLUMES.get(target, "neurites" if name != "distance semantic" else "balls")]
    targets = {"affinity": None} | {target: settings}
    found = learn(tmp_path, volumes, targets=targets, losses=[{"loss": loss}])
    assert found[-1]["validate_loss"] < 0.97 * found[0]["validate_loss"]
    if "validate_error" in found[-1]:
        assert found[-1]["validate_error"] < found[0]["validate_error"]
    else:
        assert found[-1]["validate_accuracy"] > max(0.55, found[0]["validate_accuracy"])


OF_ONE = sorted(name for name, loss in LOSSES.items() if loss.compares)
REGULARISERS = sorted(LOSSES.keys() - OF_ONE)


@pytest.mark.parametrize("loss", slow_but(["dice"], OF_ONE, TRAINS))
def test_every_loss_is_lowered(loss, rows, tmp_path):
    exclusive = loss == "cross_entropy"
    targets = {"affinity": None, "classes": {"labels": {"ball": [1]}, "exclusive": exclusive}}
    found = learn(tmp_path, rows["class"], targets=targets, losses=[{"loss": loss}])
    assert found[-1]["validate_loss"] < 0.97 * found[0]["validate_loss"]


@pytest.fixture(scope="module")
def unregularised(rows, tmp_path_factory):
    terms = OF_MAPS + [{"loss": name, "weight": 1e-9, **ON.get(name, {})} for name in REGULARISERS]
    found = learn(tmp_path_factory.mktemp("plain"), rows["neurites"], targets=MAPS, losses=terms)[-1]
    return {name: value for name, value in found.items() if name.startswith("validate_loss ")}


@pytest.mark.parametrize("loss", slow_but([], REGULARISERS, TRAINS))
def test_every_regulariser_lowers_its_own_part(loss, rows, unregularised, tmp_path):
    terms = [*OF_MAPS, {"loss": loss, "weight": 1.0, **ON.get(loss, {})}]
    found = learn(tmp_path, rows["neurites"], targets=MAPS, losses=terms)[-1]
    (part,) = (name for name in found if name.startswith(f"validate_loss {loss}"))
    assert found[part] < unregularised[part]


@pytest.mark.slow("trains twice")
def test_the_moving_average_validates_better_than_the_weights_of_a_step(rows, tmp_path):
    same = {
        "optimizer": {"learning_rate": 0.1},
        "schedule": {"shape": "constant"},
        "batch": 1,
        "max_steps": 72,
        "validate_every_steps": 6,
    }
    plain, averaged = (learn(tmp_path / str(d), rows["neurites"], ema_decay=d, **same) for d in (0, 0.9))
    late = [np.mean([row["validate_loss"] for row in found[-6:]]) for found in (plain, averaged)]
    assert late[1] < late[0]


@pytest.mark.slow("trains thrice")
def test_a_source_is_learnt_the_better_the_more_of_it_is_mixed_in(rows, tmp_path):
    train, validate = rows["neurites"]
    found = []
    for share in (0.0, 0.1, 1.0):
        real = SplitRow(*_fields(train), source="real", share=share)
        synthetic = SplitRow(*_fields(rows["inverted"][0]), source="synthetic", share=1 - share)
        fixed = {"raw_mean": 128, "raw_std": 40}
        found.append(learn(tmp_path / str(share), [real, synthetic, validate], **fixed)[-1]["validate_loss"])
    assert found[2] < found[1] < found[0]


def _fields(row: SplitRow) -> tuple[object, ...]:
    return row.volume, row.role, row.volume_json, row.box, row.weight
