"""The page of augmentations: one patch before and after each of them, in planes in which it changes."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.draw.augmentation import draw_augmentations, most_changed, paint
from connectomake.files import write_json
from connectomake.geometry import Box
from connectomake.split.table import SplitRow, write_split
from connectomake.targets.registry import Targets
from connectomake.train.examples import Example, make_examples
from connectomake.train.normalisation import find_normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.volumes import LabelledBox
from connectomake.volumes.store import write_store

ROOT = Path(__file__).parents[2]
VOXEL_NM = (30.0, 10.0, 10.0)
SHAPE = (20, 40, 44)
TRAIN = {"patch_zyx_vx": [16, 32, 32]}


def volume() -> tuple[np.ndarray, np.ndarray]:
    """Return grey values (Z, Y, X) uint8 and labels uint16: blocks, with dark borders in one direction."""
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 4 * 5 * 5 + 1).reshape(4, 5, 5), np.ones((5, 8, 9), int))[:, :, : SHAPE[2]]
    raw = np.clip(120 + labels + rng.normal(0, 15, SHAPE) - 80 * (np.indices(SHAPE)[1] % 8 == 0), 0, 255)
    return raw.astype(np.uint8), labels.astype(np.uint16)


def examples_of(augment: AugmentConfig, seed: int = 0) -> list[Example]:
    raw, labels = volume()
    box = LabelledBox("blocks", raw[None], labels, 1, SHAPE, VOXEL_NM, 1.0)
    cfg = TrainConfig.model_validate({**TRAIN, "seed": seed})
    targets = Targets(cfg.targets, VOXEL_NM)
    return make_examples(TrainingPatches([box], cfg, augment, targets, find_normalisation([box], cfg)))


def preset(name: str) -> AugmentConfig:
    return Presets(ROOT).get("augment", name, "the test").settings


@pytest.mark.parametrize("name", ["heavy", "instance", "banis"])
def test_every_augmentation_of_a_preset_has_its_example(name: str) -> None:
    examples = examples_of(preset(name))
    assert [example.name for example in examples] == preset(name).names
    for example in examples:
        assert example.settings == getattr(preset(name), example.name).model_dump()
        assert example.raw.shape == example.labels.shape == example.changed_raw.shape == (16, 32, 32)
        assert example.changed_labels.shape == (16, 32, 32)
        assert (example.changed_raw != example.raw).any()
        np.testing.assert_array_equal(example.raw, examples[0].raw)
        np.testing.assert_array_equal(example.labels, examples[0].labels)


def test_examples_depend_on_the_seed_alone() -> None:
    first, again, other = (examples_of(preset("realistic"), seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.changed_raw, b.changed_raw)
    assert any((a.raw != b.raw).any() for a, b in zip(first, other, strict=True))


def example() -> Example:
    """Return an example in which nothing has changed."""
    raw, labels = volume()
    return Example(
        "noise",
        {"probability": 0.5},
        raw / np.float32(1),
        labels.astype(int),
        raw / np.float32(1),
        labels.astype(int),
        VOXEL_NM,
    )


def test_the_plane_that_changes_most_is_shown() -> None:
    same = example()
    assert most_changed(same, 0) == SHAPE[0] // 2
    spoilt = same.raw.copy()
    spoilt[3] = 0
    assert most_changed(replace(same, changed_raw=spoilt), 0) == 3
    assert most_changed(replace(same, changed_raw=spoilt), 1) == SHAPE[1] // 2
    unknown = same.labels.copy()
    unknown[9], spoilt[9] = -1, 0
    assert most_changed(replace(same, changed_raw=spoilt, changed_labels=unknown), 0) == 3


def test_unknown_labels_are_striped_and_known_ones_coloured() -> None:
    same = example()
    unknown = same.labels.copy()
    unknown[SHAPE[0] // 2, :, 20:] = -1
    pictures = paint(replace(same, changed_labels=unknown), (0, 255))
    assert [at for _, at in pictures] == ["z 10", "z 10", "y 20", "y 20"]
    before, after = (picture.astype(int) for picture, _ in pictures[:2])
    np.testing.assert_array_equal(before[:, :19], after[:, :19])
    assert (np.ptp(before, axis=2) > 20).mean() > 0.5
    assert (np.ptp(after[:, 20:], axis=2) <= 1).all()
    gray = same.raw[10][:, 20:]
    lighter = after[:, 20:, 0] > gray + 20
    assert 0.3 < lighter[gray < 200].mean() < 0.7


def test_planes_have_their_true_proportions() -> None:
    figure = draw_augmentations([example(), example()], "blocks")
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 8
    for k, box in enumerate(boxes):
        expected = (40 * 10) / (44 * 10) if k % 4 < 2 else (20 * 30) / (44 * 10)
        assert box.height / box.width == pytest.approx(expected, rel=1e-3)
    texts = [text.get_text() for text in figure.texts]
    assert {"blocks", "xy before", "xz after", "noise", "probability 0.5"} <= set(texts)


def test_the_stage_script_draws_from_a_split(tmp_path: Path) -> None:
    raw, labels = volume()
    where = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": (0.0, 0.0, 0.0)}
    write_store(tmp_path / "raw.zarr", raw, **where)
    write_store(tmp_path / "truth.zarr", labels, **where)
    box = [[0, 0, 0], list(SHAPE)]
    entries = {
        name: {"source": f"{name}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": dtype}
        for name, dtype in (("raw", "uint8"), ("truth", "uint16"))
    }
    description = {"name": "blocks", "role": "train", "weight": 1.0, "shape_zyx": list(SHAPE), "settings": {}}
    write_json(tmp_path / "volume.json", description | where | {"raw": entries["raw"], "labels": entries["truth"]})
    write_split(tmp_path / "split.tsv", [SplitRow("blocks", "train", tmp_path / "volume.json", Box.of_shape(SHAPE))])
    spec = importlib.util.spec_from_file_location("draw_augmentations", ROOT / "scripts/draw_augmentations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cfg = TrainConfig.model_validate(TRAIN)
    module.main(split=tmp_path / "split.tsv", figure=tmp_path / "a.png", cfg=cfg, augment=preset("light"), title="t")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
