"""Settings of split, train and augment: impossible ones are refused with the value that would do."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from connectomake.config.architectures import BasicUnetConfig, MedNextConfig, NetworkConfig
from connectomake.config.augment import AugmentConfig
from connectomake.config.targets import TargetsConfig
from connectomake.config.train import TrainConfig
from connectomake.models import list_architectures
from connectomake.targets.registry import TARGETS
from connectomake.train.schedule import learning_rate, update_average

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
    refuse("known: monai_basic_unet3d, mednext", model={"architecture": "unet"})
    refuse("kernel_size", model={"architecture": "monai_basic_unet3d", "kernel_size": 5})
    refuse("filters", model={"architecture": "mednext", "filters": [1, 2, 3]})


def test_settings_and_registries_name_the_same():
    assert (
        sorted(cls.model_fields["architecture"].default for cls in NetworkConfig.__subclasses__())
        == list_architectures()
    )
    assert list(TargetsConfig.model_fields) == list(TARGETS)


def test_targets_and_losses_are_checked():
    refuse("joins a voxel to itself", targets={"affinity": {"offsets_zyx_vx": [[0, 0, 0]]}})
    refuse("may be given once", targets={"affinity": {"offsets_zyx_vx": [[0, 0, 1], [0, 0, 1]]}})
    refuse("at least 1 item", targets={"affinity": {"offsets_zyx_vx": []}})
    refuse("at least 1 item", losses=[])
    refuse("balanced_bce", losses=[{"loss": "focal"}])
    refuse("keep: best needs a validation", keep="best", max_steps=100)
    refuse("fewer than the 5 validations", patience=5, max_steps=1000, validate_every_steps=200)


def test_none_preset_is_no_augmentation():
    values = yaml.safe_load((CONFIG / "augment/none.yaml").read_text())
    assert AugmentConfig.model_validate(values) == AugmentConfig()
    assert not any(AugmentConfig().model_dump().values())


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(i / 100, 0.5, 0.1) for i in range(101)]
    assert max(rates) == rates[10] == 0.5
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert learning_rate(1.5, 0.5, 0.1) == pytest.approx(0, abs=1e-12)
    assert learning_rate(0.0, 0.5, 0.0) == 0.5


def test_average_follows_the_weights():
    average, network = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    torch.nn.init.constant_(average.weight, 0.0)
    expected = 0.0
    for step in range(1, 200):
        network.weight.data.fill_(float(step))
        network.num_batches_tracked.fill_(step)
        update_average(average, network, step, 0.9)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
        assert average.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.num_batches_tracked == 199
