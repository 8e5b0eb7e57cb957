"""Networks that were made elsewhere, behind the one interface that prediction knows.

Three kinds of programs can be the network of a checkpoint: TorchScript, exported programs (torch.export) and MONAI
bundles. Each has a module with two functions: ``read(path, prefix) -> Found`` takes what was made elsewhere,
``open_program(cfg, weights) -> Module`` makes the network of what a checkpoint holds of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from connectomake.config.settings.train_foreign import ForeignConfig, Sides
from connectomake.errors import ModelError
from connectomake.geometry import Triple
from connectomake.models.network import check_input

_MODULES = {
    "exported_program": "connectomake.models.exported_program",
    "monai_bundle": "connectomake.models.monai_bundle",
    "torchscript": "connectomake.models.torchscript",
}


@dataclass(frozen=True)
class Found:
    """What the files of a network tell.

    Parameters
    ----------
    architecture
        Its kind.
    weights
        Name -> tensor: what its checkpoint shall hold.
    in_channels, out_channels
        None where nobody tells.
    dimensions
        2 or 3; likewise.
    window_zyx
        The window that it was trained with, in voxels; likewise.
    divisor_zyx
        What sides must be multiples of.
    sides_zyx, batch
        What its program fixes.
    network_def
        Of a MONAI bundle.
    """

    architecture: str
    weights: dict[str, torch.Tensor]
    in_channels: int | None = None
    out_channels: int | None = None
    dimensions: int | None = None
    window_zyx: Triple | None = None
    divisor_zyx: Triple = (1, 1, 1)
    sides_zyx: Sides = (None, None, None)
    batch: int | None = None
    network_def: dict[str, Any] | None = None


class ForeignNetwork(nn.Module):
    """A program between what all networks share: sections for images, one output tensor, checks of both ends.

    Parameters
    ----------
    program
        From (N, C, Z, Y, X), or images (N, C, Y, X), to logits of the same sides: a tensor, or several in a list or
        dict.
    cfg
        What is known of it.
    in_channels, out_channels
        Of the volume, and of its output.
    """

    def __init__(self, program: nn.Module, cfg: ForeignConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.program, self.cfg, self.in_channels, self.out_channels = program, cfg, in_channels, out_channels

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X).

        A program that was made for a certain batch is given as many windows at once, the last one repeatedly where
        there are fewer.

        Raises
        ------
        ModelError
            The program does not take such an input, or gives something else than the channels at the input's sides.
        """
        check_input(volume, self.in_channels, self.cfg)
        given = volume if self.cfg.dimensions == 3 else volume.transpose(1, 2).flatten(0, 1)
        parts = [take_output(self.program(part), self.cfg.output) for part in self._divide(given)]
        logits = (parts[0] if len(parts) == 1 else torch.cat(parts))[: len(given)]
        expected = (len(given), self.out_channels, *given.shape[2:])
        if logits.shape != expected:
            raise ModelError(
                f"this {self.cfg.architecture} does not give what its description says",
                expected=f"an output of shape {expected}",
                got=tuple(logits.shape),
                hint="see channels, output and window_zyx_vx of the description that it was imported with",
            )
        return logits if self.cfg.dimensions == 3 else logits.unflatten(0, (len(volume), -1)).transpose(1, 2)

    def _divide(self, given: torch.Tensor) -> Sequence[torch.Tensor]:
        """Cut a batch into batches of the size that the program was made for."""
        batch = self.cfg.batch
        if batch is None or len(given) == batch:
            return [given]
        missing = -len(given) % batch
        return torch.cat([given, given[-1:].expand(missing, *given.shape[1:])]).split(batch)


def take_output(result: Any, which: int | str | None = None) -> torch.Tensor:
    """Take one tensor of what a network gives.

    Parameters
    ----------
    result
        A tensor, or a sequence or mapping of such.
    which
        The number or key of one; None = the first.

    Raises
    ------
    ModelError
        There is no such output, or it is no tensor.
    """
    if isinstance(result, Mapping):
        known = list(result)
    else:
        known = list(range(len(result))) if isinstance(result, list | tuple) else []
    if not known:
        if isinstance(result, torch.Tensor) and which in (None, 0):
            return result
        raise ModelError(f"the network has no output {which!r}", got=type(result).__name__, hint="leave `output` out")
    chosen = known[0] if which is None else which
    if chosen not in known:
        raise ModelError(f"the network has no output {chosen!r}", expected=" or ".join(map(repr, known)))
    return take_output(result[chosen])


def read_foreign(kind: str, path: Any, prefix: str = "") -> Found:
    """Read a network made elsewhere; see the modules of the kinds for what they raise."""
    return import_module(_MODULES[kind]).read(path, prefix)


def open_foreign(
    cfg: ForeignConfig, weights: Mapping[str, torch.Tensor], in_channels: int, out_channels: int
) -> ForeignNetwork:
    """Make a network of what a checkpoint holds.

    Raises
    ------
    ModelError
        The program is damaged, or does what is not allowed.
    """
    program = import_module(_MODULES[cfg.architecture]).open_program(cfg, weights)
    return ForeignNetwork(program, cfg, in_channels, out_channels)


def pack_bytes(content: bytes) -> torch.Tensor:
    """Put bytes into a tensor of uint8, which a checkpoint can hold."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def unpack_bytes(weights: Mapping[str, torch.Tensor], name: str) -> bytes:
    """Undo `pack_bytes`.

    Raises
    ------
    ModelError
        There is no such entry.
    """
    if name not in weights or weights[name].dtype != torch.uint8:
        raise ModelError("the checkpoint of a network from elsewhere lacks its program", expected=name)
    return weights[name].numpy().tobytes()
