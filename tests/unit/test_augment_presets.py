"""The presets hold the numbers of their sources, and each of them runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from augment_patches import make_patch
from pydantic import ValidationError

from connectomake.augment.registry import augment
from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig

ROOT = Path(__file__).parents[2]

MISSING = {"share": 0.05, "axis": "z", "fill": "delete"}
MISALIGNED = {"slip": 0.5, "axis": "z"}
BLURRED = {"share": 0.05, "axis": "z"}
BRIGHTNESS, CONTRAST = {"probability": 0.5, "shift": 0.1}, {"probability": 0.5, "scale": 0.1}
# PyTorch Connectomics at 1b0083d1, tutorials/presets/aug_*.yaml, and BANIS at 7e4834c, data.py.
SOURCES = {
    "light": {
        "missing_sections": {"probability": 0.3, "count": (1, 1), **MISSING},
        "misalignment": {"probability": 0.3, "distance_vx": 8, "rotate": 0, **MISALIGNED},
    },
    "realistic": {
        "missing_sections": {"probability": 0.5, "count": (2, 2), **MISSING},
        "misalignment": {"probability": 0.5, "distance_vx": 10, "rotate": 0, **MISALIGNED},
        "motion_blur": {"probability": 0.5, "count": (2, 2), "length_vx": 11, **BLURRED},
        "brightness": BRIGHTNESS,
        "contrast": CONTRAST,
        "noise": {"probability": 0.5, "strength": 0.1},
    },
    "heavy": {
        "missing_sections": {"probability": 0.7, "count": (3, 3), **MISSING},
        "misalignment": {"probability": 0.7, "distance_vx": 20, "rotate": 0.5, **MISALIGNED},
        "missing_parts": {"probability": 0.5, "count": (1, 1), "size": (0.1, 0.3), "fill": "black", **BLURRED},
        "motion_blur": {"probability": 0.5, "count": (1, 3), "length_vx": 11, **BLURRED},
        "cut_blur": {"probability": 0.5, "size": 0.25, "factor": (2, 8), "axes": "yx"},
        "cut_noise": {"probability": 0.3, "size": 0.25, "strength": 0.2},
        "brightness": BRIGHTNESS,
        "contrast": CONTRAST,
        "noise": {"probability": 0.5, "strength": 0.1},
    },
    "superres": {
        "cut_blur": {"probability": 0.8, "size": 0.5, "factor": (2, 8), "axes": "yx"},
        "misalignment": {"probability": 0.3, "distance_vx": 10, "rotate": 0, **MISALIGNED},
        "motion_blur": {"probability": 0.4, "count": (1, 2), "length_vx": 7, **BLURRED},
        "brightness": BRIGHTNESS,
        "noise": {"probability": 0.3, "strength": 0.05},
    },
    "instance": {
        "copy_paste": {
            "probability": 0.6,
            "largest_object": 0.7,
            "angles_deg": tuple(range(30, 331, 30)),
            "border_vx": 3,
        },
        "misalignment": {"probability": 0.5, "distance_vx": 16, "rotate": 0.5, **MISALIGNED},
        "missing_sections": {"probability": 0.3, "count": (1, 1), **MISSING},
        "mixup": {"probability": 0.3, "weight": (0.7, 0.9)},
        "brightness": BRIGHTNESS,
        "contrast": CONTRAST,
        "noise": {"probability": 0.5, "strength": 0.1},
    },
    "banis": {
        "rotate": {"probability": 1},
        "flip": {"probability": 0.5, "axes": "zyx"},
        "missing_sections": {"probability": 0.5, "share": 0.05, "count": None, "axis": "any", "fill": "black"},
        "shift_sections": {
            "probability": 0.5,
            "share": 0.05,
            "count": None,
            "axis": "any",
            "distance_vx": 10,
            "labels": "stay",
        },
        "intensity": {"probability": 0.5, "scale": 0.1, "shift": 0.1},
        "noise": {"probability": 0.5, "strength": 0.5},
        "affine": {"probability": 0.5, "rotate_deg": (180, 180, 180), "scale": 0.2, "shear": 0.5},
    },
}


def load(name: str) -> AugmentConfig:
    return Presets(ROOT).get("augment", name, "the test").settings


@pytest.mark.parametrize("name", SOURCES)
def test_presets_hold_the_numbers_of_their_sources(name: str) -> None:
    settings = load(name).model_dump()
    assert settings.pop("grey_unit") == "range"
    settings.pop("read_beyond")
    assert {key: value for key, value in settings.items() if value is not None} == SOURCES[name]


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "config/augment").glob("*.yaml")))
def test_presets_run_and_keep_their_arrays_types(name: str) -> None:
    cfg = load(name)
    for seed in range(5):
        patch = make_patch()
        augment(patch, cfg, np.random.default_rng(seed))
        assert patch.raw.dtype == np.float32
        assert patch.raw.shape == make_patch().raw.shape
        assert patch.labels.shape == make_patch().labels.shape
        assert np.isfinite(patch.raw).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("missing_sections", {"count": [3, 2]}),
        ("missing_sections", {"count": [0, 2]}),
        ("mixup", {"weight": [0.9, 0.7]}),
        ("missing_parts", {"size": [0.1, 1.5]}),
        ("noise", {"probability": 1.5}),
        ("affine", {"scale": 1}),
        ("copy_paste", {"angles_deg": []}),
    ],
)
def test_settings_that_make_no_sense_are_refused(key: str, value: dict) -> None:
    with pytest.raises(ValidationError, match=key):
        AugmentConfig.model_validate({key: value})
