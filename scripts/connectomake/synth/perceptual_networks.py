"""Networks that others trained and that judge how alike volumes look: VGG16 with the heads of LPIPS, and MedicalNet.

Their weights are read from files that the settings name. Nothing is downloaded, and a file cannot run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from monai.networks.nets import resnet10
from torch import nn
from torch.nn import functional

from connectomake.errors import ConfigError

VGG16 = "vgg16-397923af.pth of download.pytorch.org/models"
HEADS = "lpips/weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity"
MEDICALNET = "resnet_10_23dataset.pth of github.com/Tencent/MedicalNet"
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions among torchvision's layers


class FixedNetwork(nn.Module):
    """A module whose inner network moves with it, but is no part of its parameters, its state or its modes.

    Parameters
    ----------
    network
        Stays in evaluation mode, without gradients of its own weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._fixed = (network.eval().requires_grad_(False),)  # in a tuple, where PyTorch does not find it

    @property
    def network(self) -> nn.Module:
        """The inner network."""
        return self._fixed[0]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> FixedNetwork:
        self.network._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self


class Vgg16(nn.Module):
    """The convolutions of VGG16 (Simonyan and Zisserman 2015), and how much each of its features counts for LPIPS."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, *(size for block in BLOCKS for size in block)]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.heads = nn.ParameterList(torch.zeros(1, block[-1], 1, 1) for block in BLOCKS)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps after the last ReLU of each of five blocks, for (N, 3, Y, X) with sides of at least 16."""
        found, layers = [], iter(self.convolutions)
        for index, block in enumerate(BLOCKS):
            x = functional.max_pool2d(x, 2) if index else x
            for _ in block:
                x = functional.relu(next(layers)(x))
            found.append(x)
        return found


class MedicalNet(nn.Module):
    """The 3-D ResNet-10 of MedicalNet (Chen et al. 2019): all but its head, with features at an eighth of each side."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet10(n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False)
        for layer, dilation in ((self.body.layer3, 2), (self.body.layer4, 4)):
            _dilate(layer, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (N, 512, z, y, x) of volumes (N, 1, Z, Y, X), whose mean is to be 0 and deviation 1."""
        body = self.body
        x = body.maxpool(body.act(body.bn1(body.conv1(x))))
        return body.layer4(body.layer3(body.layer2(body.layer1(x))))


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that others trained: where it is, the setting that names it, and where it comes from."""

    path: str
    key: str
    source: str


def load_vgg16(trunk: str, heads: str) -> Vgg16:
    """Read VGG16 and the heads of LPIPS.

    Parameters
    ----------
    trunk, heads
        Files: torchvision's VGG16, and the five linear heads of LPIPS for it.

    Returns
    -------
    Vgg16
        In evaluation mode.

    Raises
    ------
    ConfigError
        A file is missing, or holds another network.
    """
    model = Vgg16()
    own = {f"features.{place}": str(index) for index, place in enumerate(PLACES)}
    file = WeightsFile(trunk, "perceptual.weights", VGG16)
    state = {_rename(name, own): value for name, value in _read(file).items() if not name.startswith("classifier.")}
    _fill(model.convolutions, state, file)
    own = {f"lin{index}.model.1": str(index) for index in range(len(BLOCKS))}
    file = WeightsFile(heads, "perceptual.heads", HEADS)
    _fill(model.heads, {_rename(name, own).removesuffix(".weight"): value for name, value in _read(file).items()}, file)
    return model.eval()


def load_medicalnet(path: str, key: str = "perceptual.weights") -> MedicalNet:
    """Read MedicalNet's ResNet-10.

    Parameters
    ----------
    path
        The file.
    key
        The setting of the synth preset that names it, for messages.

    Returns
    -------
    MedicalNet
        In evaluation mode.

    Raises
    ------
    ConfigError
        The file is missing, or holds another network.
    """
    model = MedicalNet()
    file = WeightsFile(path, key, MEDICALNET)
    content = _read(file)
    content = content.get("state_dict", content)
    counters = {name: value for name, value in model.body.state_dict().items() if name.endswith("num_batches_tracked")}
    _fill(model.body, counters | {name.removeprefix("module."): value for name, value in content.items()}, file)
    return model.eval()


def _dilate(layer: nn.Module, dilation: int) -> None:
    """Make the blocks of a layer look further instead of halving, as MedicalNet does."""
    for module in layer.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation, dilation, dilation)


def _rename(name: str, own: Mapping[str, str]) -> str:
    """Return what a weight is called here; a name that is not known stays."""
    layer, dot, part = name.rpartition(".")
    return own.get(layer, layer) + dot + part


def _read(file: WeightsFile) -> dict[str, Any]:
    """Read names and tensors; files of old versions of PyTorch too."""
    if not Path(file.path).is_file():
        raise ConfigError(f"synth: {file.key}: no file {file.path}", hint=f"it is {file.source}; nothing is downloaded")
    try:
        content = torch.load(file.path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, OSError, EOFError, KeyError, ValueError) as error:
        raise _foreign(file, type(error).__name__) from error
    if not isinstance(content, dict):
        raise _foreign(file, type(content).__name__)
    return content


def _fill(model: nn.Module, state: Mapping[str, Any], file: WeightsFile) -> None:
    """Put weights into a network; they must be all of its own, and no others."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise _foreign(file, " ".join(str(error).split())[:200]) from error


def _foreign(file: WeightsFile, got: str) -> ConfigError:
    return ConfigError(
        f"synth: {file.key}: {file.path} holds another network", expected=file.source, got=got, hint="give that file"
    )
