"""A trained network in one file that describes itself: whoever predicts needs nothing else.

The file holds plain data and tensors only, so that it loads with `weights_only=True`: opening it runs no code of a
stranger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from pydantic import ValidationError
from torch import nn

from connectomake.config.settings.train_foreign import ForeignConfig
from connectomake.config.settings.train_network import FOREIGN, NetworkConfig
from connectomake.errors import ConfigError, MissingDataError, ModelError
from connectomake.files import replacing
from connectomake.geometry import Triple, TripleNm, to_triple, to_triple_nm
from connectomake.models.foreign import open_foreign
from connectomake.models.registry import build_model, list_architectures, read_settings

FORMAT = "connectomake checkpoint 1"


@dataclass(frozen=True)
class CheckpointMeta:
    """What a network is and how it wants its input, as plain data.

    Parameters
    ----------
    architecture
        ``{"name": ..., "config": settings of the model as plain data}``; of a network from elsewhere the kind of its
        program, and what `connectomake.config.settings.train_foreign.ForeignConfig` holds.
    in_channels
        Channels of the volume.
    channels
        For each output channel what `connectomake.channels.Channel` holds, as plain data.
    normalisation
        ``{"mean", "std", "each"}``: the network takes (raw - mean) / std as float32. ``each`` = ``each_volume``: those
        of the volume at hand are measured, mean and std are those of the training data and only told. Where they are
        known also ``dtype`` and ``range``, the type and the least and greatest of the grey values trained on.
    voxel_size_zyx_nm
        Of the training data, in nm.
    window_zyx
        The patch it was trained with, in voxels.
    divisor_zyx
        What each side of a window must be a multiple of.
    edge_convention
        At which end of its edge an affinity is stored.
    provenance
        How it was trained.
    costs
        What one window costs, for some windows and types, as `connectomake.predict.cost.network` keeps it: so that a
        prediction is planned without building the network.
    hash
        SHA-256 of weights and meta; set when the file is written.
    """

    architecture: dict[str, Any]
    in_channels: int
    channels: list[dict[str, Any]]
    normalisation: dict[str, Any]
    voxel_size_zyx_nm: TripleNm
    window_zyx: Triple
    divisor_zyx: Triple
    edge_convention: str = "source"
    provenance: dict[str, Any] = field(default_factory=dict)
    costs: list[dict[str, Any]] = field(default_factory=list)
    hash: str = ""

    @property
    def model(self) -> NetworkConfig:
        """The settings of the network.

        Raises
        ------
        ModelError
            They are of an architecture, or hold a setting, that is not known here.
        """
        name, config = self.architecture.get("name"), self.architecture.get("config", {})
        if name in FOREIGN:
            return self._read_foreign()
        if name not in list_architectures():
            raise ModelError(
                "the checkpoint's architecture is not known here",
                expected=" or ".join(list_architectures()),
                got=name,
                hint="use the version of Connectomake that made it, or register the architecture",
            )
        try:
            return read_settings({"architecture": name} | config)
        except ConfigError as error:
            raise ModelError(f"the settings of the checkpoint's {name} cannot be read: {error}") from error

    def _read_foreign(self) -> ForeignConfig:
        try:
            return ForeignConfig.model_validate(
                {"architecture": self.architecture["name"], **self.architecture["config"]}
            )
        except (KeyError, ValidationError) as error:
            raise ModelError(
                f"the checkpoint's {self.architecture['name']} cannot be read: {error}",
                hint="use the version of Connectomake that made it, or import the network again",
            ) from error

    @property
    def targets_of_channels(self) -> list[str]:
        """The target of each output channel."""
        return [channel.get("target", "") for channel in self.channels]


def describe_architecture(model_cfg: NetworkConfig) -> dict[str, Any]:
    """Return the settings of a network as `CheckpointMeta.architecture`."""
    return {"name": model_cfg.architecture, "config": model_cfg.model_dump(mode="json")}


def save_checkpoint(path: Path, network: nn.Module, meta: CheckpointMeta) -> str:
    """Write a network and its description, atomically.

    Parameters
    ----------
    path
        The file to make or replace.
    network
        Its weights are written, as they are.
    meta
        Its description; the hash is computed here.

    Returns
    -------
    str
        The hash.
    """
    return write_checkpoint(path, network.state_dict(), meta)


def write_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], meta: CheckpointMeta) -> str:
    """Do what `save_checkpoint` does, for weights without their network."""
    weights = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # Through JSON: tuples become lists, and anything but plain data is refused before it is in the file.
    plain = json.loads(json.dumps({**asdict(meta), "hash": ""}))
    plain["hash"] = hash_network(weights, plain)
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, "meta": plain, "weights": weights}, temporary)
    return plain["hash"]


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> tuple[nn.Module, CheckpointMeta]:
    """Read a network, ready to predict.

    Parameters
    ----------
    path
        A file of `save_checkpoint`, or one that `connectomake.models.importing` made of a network from elsewhere.
    device
        Where the network shall be.

    Returns
    -------
    tuple of Module and CheckpointMeta
        The network in evaluation mode, and its description.

    Raises
    ------
    MissingDataError
        The file does not exist.
    ModelError
        It is no checkpoint of Connectomake, is damaged, or is of an architecture that is not known here.
    """
    meta, weights = _read(Path(path))
    try:
        network = open_network(meta, weights)
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {path} are not those of its architecture {meta.architecture['name']}",
            got=str(error).splitlines()[1].strip() if "\n" in str(error) else str(error),
            hint="train again, or use the version of Connectomake that made it",
        ) from error
    return network.to(device).eval(), meta


def open_network(meta: CheckpointMeta, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Make the network of a description and weights; see `load_checkpoint`.

    Raises
    ------
    ModelError
        The description is of an architecture that is not known here, or the program is damaged.
    RuntimeError
        The weights are not those of the network.
    """
    cfg = meta.model
    if isinstance(cfg, ForeignConfig):
        return open_foreign(cfg, weights, meta.in_channels, len(meta.channels))
    network = build_model(cfg, meta.in_channels, len(meta.channels), meta.targets_of_channels)
    network.load_state_dict(weights)
    return network


def load_meta(path: Path) -> CheckpointMeta:
    """Read the description of a network alone; raises what `load_checkpoint` does."""
    return _read(Path(path))[0]


def hash_network(weights: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> str:
    """Return the SHA-256 of weights (names, types, shapes, values) and description."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, value in weights.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_tensors(path: Path) -> Any:
    """Read plain data and tensors that `torch.save` wrote, to the CPU; runs no code that the file may hold.

    Raises
    ------
    ModelError
        The file is something else, or damaged.
    """
    try:
        if not is_zipfile(path):  # also one that was cut off: the table of contents stands at the end
            raise _no_checkpoint(path, f"a file of {path.stat().st_size:,} bytes")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, OSError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise _no_checkpoint(path, type(error).__name__) from error


def _read(path: Path) -> tuple[CheckpointMeta, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise MissingDataError(f"no checkpoint {path}", hint="train a model first")
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = (
            content.get("format", sorted(map(str, content))[:6])
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise _no_checkpoint(path, found)
    plain = content["meta"]
    for key in ("window_zyx", "divisor_zyx"):
        plain[key] = to_triple(plain[key])
    plain["voxel_size_zyx_nm"] = to_triple_nm(plain["voxel_size_zyx_nm"])
    return CheckpointMeta(**plain), content["weights"]


def _no_checkpoint(path: Path, got: object) -> ModelError:
    return ModelError(
        f"{path} is no checkpoint of Connectomake, or is damaged",
        expected=f"a file of the train stage ({FORMAT})",
        got=got,
        hint="give the model.ckpt of a training",
    )
