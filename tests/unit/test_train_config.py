"""Settings of split, train and augment: impossible ones are refused with the value that would do."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from connectomake.config.registries import TARGETS
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_architectures import ARCHITECTURES, BasicUnetConfig, MedNextConfig
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.models import list_architectures

CONFIG = Path(__file__).parents[2] / "config"


def refuse(match, **values):
    with pytest.raises(ValidationError, match=match):
        TrainConfig.model_validate(values)


def test_patch_that_cannot_be_halved_is_refused_with_the_nearest():
    refuse(r"nearest are \[48, 64, 64\] and \[64, 64, 64\]", patch_zyx_vx=[50, 64, 64])
    refuse(r"nearest are \[32, 64, 64\] and \[64, 64, 64\]", patch_zyx_vx=[48, 64, 64], model={"stem_factor": 2})
    refuse(r"nearest are \[16, 16, 32\] and \[16, 16, 32\]", patch_zyx_vx=[5, 16, 32])
    refuse("one voxel at the coarsest level", patch_zyx_vx=[16, 16, 16])
    assert TrainConfig(patch_zyx_vx=(16, 16, 32)).model.divisor_zyx == (16, 16, 16)


def test_model_is_read_by_its_architecture():
    assert TrainConfig.model_validate({"model": {"stem_factor": 2}}).model == BasicUnetConfig(stem_factor=2)
    assert isinstance(
        TrainConfig.model_validate({"model": {"architecture": "mednext", "size": "B"}}).model, MedNextConfig
    )
    refuse("did you mean 'mednext'", model={"architecture": "mednxt"})
    refuse("kernel_size", model={"architecture": "monai_basic_unet3d", "kernel_size": 5})
    refuse("filters", model={"architecture": "mednext", "filters": [1, 2, 3]})


def test_settings_and_registries_name_the_same():
    assert sorted(ARCHITECTURES) == list_architectures()
    assert list(TargetsConfig.model_fields) == list(TARGETS)


def test_targets_and_losses_are_checked():
    refuse("joins a voxel to itself", targets={"affinity": {"offsets_zyx_vx": [[0, 0, 0]]}})
    refuse("may be given once", targets={"affinity": {"offsets_zyx_vx": [[0, 0, 1], [0, 0, 1]]}})
    refuse("at least 1 item", targets={"affinity": {"offsets_zyx_vx": []}})
    refuse("at least 1 item", losses=[])
    refuse("did you mean 'focal'", losses=[{"loss": "focl"}])
    refuse("keep: best needs a validation", keep="best", max_steps=100)
    refuse("fewer than the 5 validations", patience=5, max_steps=1000, validate_every_steps=200)


def test_none_preset_is_no_augmentation():
    values = yaml.safe_load((CONFIG / "augment/none.yaml").read_text())
    assert AugmentConfig.model_validate(values) == AugmentConfig()
    assert not any(isinstance(value, dict) for value in AugmentConfig().model_dump().values())
