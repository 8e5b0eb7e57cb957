"""Patches per second of one core, against the reference recipe. Run with: pytest tests/benchmarks/bench_patches.py

Both make patches of 128^3 of the same volume in memory, with BANIS's augmentation and its six channels of affinities.
The recipe is that of BANIS, without its relabelling of the patch: numpy in float32, one pass for each step, and MONAI's
RandAffined. The goal is at least three times its rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.targets.registry import Targets
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.volumes import LabelledBox

ROOT = Path(__file__).parents[2]
SIDE, CONTEXT = 128, 10
PATCHES, ROUNDS = 24, 3
VOXEL_NM = (9.0, 9.0, 9.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One core each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """Grey values (1, Z, Y, X) uint8 and labels uint16 of some hundred objects around random seeds, with background."""
    shape = (224, 224, 224)
    rng = np.random.default_rng(0)
    seeds = np.zeros([n // 4 for n in shape], np.int32)
    seeds[tuple(rng.integers(0, seeds.shape[0], (3, 400)))] = np.arange(1, 401)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    labels = np.where(distance < 12, seeds[tuple(nearest)], 0).astype(np.uint16)
    labels = labels.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    raw = rng.integers(0, 256, shape).astype(np.uint8)
    return raw[None], labels


def load(stage: str, name: str) -> Any:
    """Read a preset."""
    return Presets(ROOT).get(stage, name, "the benchmark").settings


def time_patches(benchmark: BenchmarkFixture, make: Any) -> None:
    """Time the making of patches, after one that compiles what has to be compiled."""
    for number in range(4):
        make(number)
    benchmark.pedantic(lambda: [make(number) for number in range(PATCHES)], rounds=ROUNDS)
    benchmark.extra_info["patches_per_s"] = round(PATCHES / benchmark.stats.stats.min, 2)


@pytest.mark.parametrize("augment", ["banis", "none", "heavy"])
def test_training_patches(benchmark: BenchmarkFixture, volume: tuple[np.ndarray, np.ndarray], augment: str) -> None:
    """Everything from the volume in memory to a sample."""
    raw, labels = volume
    cfg: TrainConfig = load("train", "banis")
    settings: AugmentConfig = load("augment", augment)
    box = LabelledBox("volume", raw, labels, 1, labels.shape, VOXEL_NM, 1.0)
    patches = TrainingPatches([box], cfg, settings, Targets(cfg.targets, VOXEL_NM), Normalisation(0.0, 255.0))
    time_patches(benchmark, patches.__getitem__)


@pytest.mark.parametrize("augment", [True, False])
def test_reference_recipe(benchmark: BenchmarkFixture, volume: tuple[np.ndarray, np.ndarray], augment: bool) -> None:
    """The same with numpy and MONAI."""
    raw, labels = volume
    affine = make_affine() if augment else None

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        start = [int(rng.integers(0, n - SIDE - CONTEXT + 1)) for n in labels.shape]
        place = tuple(slice(s, s + SIDE + CONTEXT) for s in start)
        image, truth = raw[(slice(None), *place)].astype(np.float32) / np.float32(255), labels[place].astype(np.int64)
        if affine is not None:
            image, truth = spoil(*turn(image, truth[None], rng), rng)
            affine.set_random_state(number)
            made = affine({"image": image, "labels": truth.astype(np.float32)})
            image, truth = made["image"].numpy(), made["labels"].numpy().astype(np.int64)[0]
        inner = slice(0, SIDE)
        return np.ascontiguousarray(image[:, inner, inner, inner]), compare(truth)[:, inner, inner, inner]

    time_patches(benchmark, make)


def make_affine() -> Any:
    """MONAI's random affine with BANIS's ranges."""
    from monai.transforms import RandAffined

    return RandAffined(
        keys=["image", "labels"], prob=0.5, rotate_range=(np.pi,) * 3, scale_range=(0.2,) * 3,
        shear_range=(0.5,) * 6, mode=("bilinear", "nearest"), padding_mode="reflection",
    )  # fmt: skip


def turn(image: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Permute axes, turn by quarters in three planes, mirror."""
    order = (0, *(1 + rng.permutation(3)))
    image, truth = image.transpose(order), truth.transpose(order)
    for plane in ((1, 2), (1, 3), (2, 3)):
        quarters = int(rng.integers(4))
        image, truth = np.rot90(image, quarters, plane), np.rot90(truth, quarters, plane)
    for axis in (1, 2, 3):
        if rng.random() < 0.5:
            image, truth = np.flip(image, axis), np.flip(truth, axis)
    return np.ascontiguousarray(image), np.ascontiguousarray(truth)


def spoil(image: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Drop and shift sections, change the intensity, add noise."""
    if rng.random() < 0.5:
        view = np.moveaxis(image, 1 + int(rng.integers(3)), 0)
        view[rng.random(len(view)) < 0.05] = 0
    if rng.random() < 0.5:
        view = np.moveaxis(image, 1 + int(rng.integers(3)), 0)
        for section in np.flatnonzero(rng.random(len(view)) < 0.05):
            view[section] = np.roll(view[section], rng.integers(-10, 11, 2), (-2, -1))
    if rng.random() < 0.5:
        image = image * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-0.1, 0.1))
    if rng.random() < 0.5:
        image = image + np.float32(rng.random() * 0.5) * rng.standard_normal(image.shape, np.float32)
    return image, truth


def compare(truth: np.ndarray) -> np.ndarray:
    """Return the affinities (6, Z, Y, X) int8, -1 where they are not known."""
    affinities = np.full((6, *truth.shape), -1, np.int8)
    for channel in range(6):
        axis, step = channel % 3, 1 if channel < 3 else CONTEXT
        near = tuple(slice(0, -step) if a == axis else slice(None) for a in range(3))
        far = tuple(slice(step, None) if a == axis else slice(None) for a in range(3))
        a, b = truth[near], truth[far]
        same = ((a == b) & (a != 0)).astype(np.int8)
        same[(a == -1) | (b == -1)] = -1
        affinities[(channel, *near)] = same
    return affinities
