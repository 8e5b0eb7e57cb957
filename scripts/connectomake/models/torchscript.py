"""TorchScript as the network of a checkpoint.

PyTorch 2.13 calls TorchScript deprecated in favour of torch.export, and a later version may not open it: whoever opens
one is told so, in one line. It is read all the same, since it is what most published networks come as. Such a program
runs in PyTorch's own interpreter, which knows no Python: it cannot do more than the operators that PyTorch has. Of
these, a few read or write files, and others belong to extensions: a program that names one is refused.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn

from connectomake.config.settings.train_foreign import ForeignConfig
from connectomake.errors import ModelError
from connectomake.models.foreign import Found, pack_bytes, unpack_bytes

log = logging.getLogger(__name__)

FORBIDDEN = re.compile(
    r"\b(?:torch|ops\s*\.\s*aten)\s*\.\s*(?:save|from_file)\b|\bops\s*\.\s*(?!aten\b|prim\b|quantized\b)\w+\s*\.\s*\w+"
)


def read(path: Path, prefix: str = "") -> Found:
    """Read what `torch.jit.save` wrote; it tells nothing but itself."""
    return Found("torchscript", {"program": pack_bytes(path.read_bytes())})


def open_program(cfg: ForeignConfig, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Make the program that a checkpoint holds.

    Raises
    ------
    ModelError
        It is no TorchScript, or names an operator that is not allowed.
    """
    content = unpack_bytes(weights, "program")
    check_operators(content)
    _warn_deprecated()
    return Script(_load(content, "cpu"))


def check_operators(content: bytes) -> None:
    """Reject a program that reads or writes files, or needs an extension of PyTorch.

    Parameters
    ----------
    content
        The file, as bytes.

    Raises
    ------
    ModelError
        Names the operator.
    """
    with ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            found = FORBIDDEN.search(archive.read(name).decode("utf-8", "replace")) if name.endswith(".py") else None
            if found:
                raise ModelError(
                    f"the TorchScript program names an operator that is not allowed: {found.group()}",
                    expected="operators of PyTorch itself that work on tensors",
                    hint="export the network without it",
                )


class Script(nn.Module):
    """A TorchScript program that can be moved to another device, also where its weights were frozen into it.

    Parameters
    ----------
    program
        What `torch.jit.load` gives.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        self._device = torch.device("cpu")

    def forward(self, volume: torch.Tensor) -> Any:
        """Run the program."""
        return self.program(volume)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Script:
        # Frozen weights are constants, which only loading can put elsewhere, and ``to("meta")`` knows no TorchScript.
        device = fn(torch.empty(0, device=self._device)).device
        if device == self._device:
            return super()._apply(fn, recurse)
        content = self.program.save_to_buffer()  # type: ignore[operator]
        self.program, self._device = _load(content, device), device
        return self


@cache  # a job may open several networks, and one several times
def _warn_deprecated() -> None:
    log.warning(
        "a network is TorchScript, which PyTorch %s calls deprecated; a later version may not open it: save it with "
        "torch.export.save and import it again",
        torch.__version__.partition("+")[0],
    )


def _load(content: bytes, device: str | torch.device) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        try:
            return torch.jit.load(io.BytesIO(content), map_location=device).eval()
        except NotImplementedError as error:
            raise ModelError(f"this TorchScript program cannot be put on {device}", got=_first_line(error)) from error
        except RuntimeError as error:
            raise ModelError("the TorchScript program cannot be read", got=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
