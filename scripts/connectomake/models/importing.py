"""Make a checkpoint of a network from elsewhere: its files and a description in, one self-describing file out."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from pydantic import ValidationError
from torch import nn

from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.yaml_files import read_yaml
from connectomake.config.settings.train_foreign import ForeignConfig, NetworkDescription
from connectomake.config.settings.train_network import NetworkConfig
from connectomake.config.settings.train_optimizer import InitialWeights
from connectomake.errors import ConfigError, ConnectomakeError, MissingDataError, ModelError
from connectomake.geometry import Triple, to_triple, to_triple_nm
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, open_network, write_checkpoint
from connectomake.models.foreign import Found, read_foreign
from connectomake.models.initial_weights import load_initial_weights
from connectomake.models.registry import build_model

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the largest logit: by how much two runs on one window may differ


def import_network(network: Path, description: Path, checkpoint: Path) -> str:
    """Write a checkpoint of a network that was made elsewhere, after two runs on one window of random data.

    Parameters
    ----------
    network
        TorchScript (torch.jit.save), an exported program (torch.export.save), the folder of a MONAI bundle, or a file
        of weights of one of Connectomake's own architectures, which the description names.
    description
        YAML of `connectomake.config.settings.train_foreign.NetworkDescription`.
    checkpoint
        The file to make or replace; `load_checkpoint` opens it.

    Returns
    -------
    str
        The hash of the checkpoint.

    Raises
    ------
    MissingDataError
        A file is missing.
    ConfigError
        The description has an unknown key or a wrong value, contradicts the files, or leaves out what they do not tell.
    ModelError
        The network holds what is not allowed, or fails on its window.
    """
    told = read_description(description)
    kind = find_kind(network)
    _check_keys(kind, network, told, description)
    found = read_foreign(kind, network, told.prefix) if told.model is None else _read_own(network, told, told.model)
    weights, meta = found.weights, _describe(told.model or _combine(found, told, description), found, told, description)
    try:
        module = open_network(meta, weights).eval()
    except RuntimeError as error:
        raise ModelError(f"the weights in {network} are not those of its network_def", got=error) from error
    seconds, shape = try_network(module, meta)
    digest = write_checkpoint(checkpoint, weights, meta)
    log.info(
        "%s: %s, %s parameters; a window of %s voxels (z, y, x) gives %s in %.2f s on this CPU",
        checkpoint,
        meta.architecture["name"],
        f"{sum(p.numel() for p in module.parameters()):,}",
        meta.window_zyx,
        shape,
        seconds,
    )
    return digest


def read_description(path: Path) -> NetworkDescription:
    """Read the description of a network.

    Raises
    ------
    ConfigError
        It cannot be read, or holds an unknown key (names the nearest one) or a wrong value.
    """
    values = read_yaml(path, str(path))
    try:
        return NetworkDescription.model_validate(values)
    except ValidationError as error:
        raise explain(error, NetworkDescription, [Layer(str(path), values, path)]) from None


def find_kind(path: Path) -> str:
    """Return what the files of a network are: one of `config.settings.train_network.FOREIGN`, or ``weights``.

    Raises
    ------
    MissingDataError
        There is nothing.
    """
    if path.is_dir():
        return "monai_bundle"
    if not path.is_file():
        raise MissingDataError(f"no network {path}", hint="give the file, or the folder of a MONAI bundle")
    names: set[str] = set()
    if is_zipfile(path):
        with ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()} | set(archive.namelist())
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "exported_program"
    return "weights"


def try_network(network: nn.Module, meta: CheckpointMeta) -> tuple[float, tuple[int, ...]]:
    """Run a network twice on one window of random data.

    Parameters
    ----------
    network
        On the CPU.
    meta
        Its description.

    Returns
    -------
    tuple of float and tuple
        Seconds of the second run, and the shape of the output.

    Raises
    ------
    ModelError
        It fails, gives another shape than described or values that are not finite, or other ones the second time.
    """
    volume = torch.randn(1, meta.in_channels, *meta.window_zyx, generator=torch.Generator().manual_seed(0))
    where = f"on a window of {tuple(meta.window_zyx)} voxels (z, y, x) with {meta.in_channels} channels"
    try:
        with torch.inference_mode():
            first = network(volume)
            started = time.perf_counter()
            second = network(volume)
            seconds = time.perf_counter() - started
    except ConnectomakeError:
        raise
    except Exception as error:  # whatever a stranger's program may raise
        said = str(error).strip().splitlines()
        hint = "are in_channels, window_zyx_vx and dimensions right?"
        raise ModelError(
            f"the network fails {where}", got=said[-1] if said else type(error).__name__, hint=hint
        ) from error
    if not first.isfinite().all():
        raise ModelError(f"the network gives values that are not finite {where}", got="NaN or infinite")
    if (first - second).abs().max() > TOLERANCE * first.abs().max():
        raise ModelError(
            f"the network gives other values each time {where}",
            hint="was it saved in training mode, with dropout? Save it after .eval()",
        )
    return seconds, tuple(first.shape)


def _check_keys(kind: str, network: Path, told: NetworkDescription, source: Path) -> None:
    """Reject a description that is of another kind of network."""
    if kind == "weights" and told.model is None:
        raise ConfigError(
            f"{source}: model is missing: {network} holds no program, only weights at most",
            hint="tell their architecture, or save the network as TorchScript or as an exported program",
        )
    unused = ["model"] if told.model and kind != "weights" else []
    unused += ["prefix"] if told.prefix and kind in ("torchscript", "exported_program") else []
    if unused:
        raise ConfigError(f"{source}: {unused[0]} has no meaning: {network} is a {kind}", hint="leave it out")


def _read_own(network: Path, told: NetworkDescription, cfg: NetworkConfig) -> Found:
    """Read weights of one of Connectomake's own architectures, by whatever names it knows."""
    channels = told.all_channels
    module = build_model(cfg, told.in_channels or 1, len(channels), [channel.target for channel in channels])
    load_initial_weights(module, InitialWeights(path=str(network), prefix=told.prefix))
    return Found("weights", module.state_dict())


def _combine(found: Found, told: NetworkDescription, source: Path) -> ForeignConfig:
    """Put together what files and description tell of a program."""
    _compare(source, "dimensions", found.dimensions, told.dimensions)
    z, y, x = (math.lcm(a, b) for a, b in zip(found.divisor_zyx, told.divisor_zyx_vx, strict=True))
    return ForeignConfig(
        architecture=found.architecture,
        dimensions=told.dimensions or found.dimensions or 3,
        divisor_zyx_vx=(z, y, x),
        sides_zyx_vx=told.window_zyx_vx if told.fixed_window else found.sides_zyx,
        batch=found.batch,
        output=told.output,
        network_def=found.network_def,
    )


def _describe(cfg: NetworkConfig, found: Found, told: NetworkDescription, source: Path) -> CheckpointMeta:
    """Write down all that prediction needs to know."""
    channels = [channel.as_dict() for channel in told.all_channels]
    _compare(source, "in_channels", found.in_channels, told.in_channels)
    _compare(source, "the number of channels", found.out_channels, len(channels))
    return CheckpointMeta(
        architecture=describe_architecture(cfg),
        in_channels=told.in_channels or found.in_channels or 1,
        channels=channels,
        normalisation=told.normalisation.as_dict(),
        voxel_size_zyx_nm=to_triple_nm(told.voxel_size_zyx_nm),
        window_zyx=_choose_window(cfg, found, told, source),
        divisor_zyx=to_triple(cfg.divisor_zyx),
        edge_convention=told.edge_convention,
        provenance={"imported": told.model_dump(mode="json", exclude_defaults=True)},
    )


def _choose_window(cfg: NetworkConfig, found: Found, told: NetworkDescription, source: Path) -> Triple:
    """Return the window that the description tells, or else the files."""
    window = told.window_zyx_vx or found.window_zyx
    if window is None:
        raise ConfigError(f"{source}: window_zyx_vx is missing: the files of the network do not tell it")
    try:
        cfg.check_patch(window)
    except ValueError as error:
        raise ConfigError(f"{source}: window_zyx_vx: {error}") from None
    return to_triple(window)


def _compare(source: Path, key: str, found: Any, told: Any) -> None:
    """Reject a description that contradicts the network's files."""
    if found is not None and told is not None and found != told:
        raise ConfigError(f"{source}: {key} contradicts the network", expected=found, got=told)
