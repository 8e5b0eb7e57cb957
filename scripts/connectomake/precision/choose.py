"""Choose what a network computes in: what is fastest, where that is proven to be right."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn

from connectomake.errors import ConfigError
from connectomake.models.device import DTYPES, has_grouped_convolutions
from connectomake.precision.cpu import Cpu, describe_cpu
from connectomake.precision.operations import Operation, list_prediction_operations, list_training_operations
from connectomake.precision.proof import find_fault

log = logging.getLogger(__name__)


def choose_for_training(
    precision: str, device: torch.device, network: nn.Module, shape: Sequence[int], seen: Collection[int] = (1,)
) -> torch.dtype:
    """Return the type that convolutions compute in while a network learns.

    ``auto`` is bfloat16 on a GPU (float16 before Ampere), and on a CPU with AMX whose gradients were proven right;
    elsewhere float32, and the log says why.

    Parameters
    ----------
    precision
        ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    device, network
        What will run, and where.
    shape
        Of a batch that is learnt from, (N, C, Z, Y, X).
    seen
        How many patches are seen at once without being learnt from.

    Raises
    ------
    ConfigError
        The CPU computes wrongly in the type that is asked for, or is asked for float16, which it cannot learn in.
    """
    if precision == "float16" and device.type == "cpu":
        raise ConfigError("train.precision float16 needs a GPU", hint="use auto, bfloat16 or float32")
    return _choose("train", precision, device, network, lambda: list_training_operations(network, shape, seen))


def choose_for_prediction(
    precision: str, device: torch.device, network: nn.Module, shape: Sequence[int]
) -> torch.dtype:
    """Return the type that convolutions compute in while a network predicts.

    As `choose_for_training`; on a CPU, instructions for bfloat16 suffice instead of AMX, since outputs are proven.

    Parameters
    ----------
    precision, device, network
        As there; the network is in eval mode, and gets the memory layout that it has in prediction.
    shape
        Of a window, (N, C, Z, Y, X).

    Raises
    ------
    ConfigError
        The CPU computes wrongly in the type that is asked for.
    """
    return _choose("predict", precision, device, network, lambda: list_prediction_operations(network, shape))


def choose_proven(
    key: str,
    precision: str,
    device: torch.device,
    list_operations: Callable[[], list[Operation]],
    hint: str = "set it to float32",
) -> torch.dtype:
    """Return the type of that name: on a GPU as it is, on a CPU where operations were proven right in it.

    Parameters
    ----------
    key
        The setting that names it, for the message.
    precision
        ``float32``, ``bfloat16`` or ``float16``.
    device
        Where it will run.
    list_operations
        Lists what will be computed.
    hint
        What to do where the CPU computes wrongly.

    Raises
    ------
    ConfigError
        The CPU computes wrongly in it.
    """
    dtype = DTYPES[precision]
    if dtype == torch.float32 or device.type != "cpu":
        return dtype
    cpu = describe_cpu()
    fault = _find_fault(cpu, dtype, list_operations)
    if fault:
        raise ConfigError(
            f"{key}: {precision} gives wrong numbers on this CPU ({cpu})",
            got=fault,
            hint=hint,
        )
    return dtype


def guess_dtype(precision: str, device: torch.device, load: Callable[[], nn.Module]) -> torch.dtype:
    """Return the type that prediction will most likely compute in, to plan with: nothing is proven for it.

    Parameters
    ----------
    precision, device
        As of `choose_for_prediction`.
    load
        Returns the network; asked only where it matters.
    """
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return choose_on_gpu()
    cpu = describe_cpu()
    return torch.bfloat16 if cpu.has_bfloat16 and not explain_float32("predict", cpu, load()) else torch.float32


def choose_on_gpu() -> torch.dtype:
    """Return bfloat16, or float16 on GPUs that only imitate it; where no GPU is here to be asked, bfloat16."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def explain_float32(stage: str, cpu: Cpu, network: nn.Module) -> str:
    """Return why ``auto`` is float32 on a CPU before anything is proven; "" where bfloat16 may be faster.

    Measured: with AMX bfloat16 is three times as fast as float32 in a U-Net, with avx512_bf16 twice as fast to predict;
    depthwise convolutions (MedNeXt) take 1.1 to 1.5 times as long in it.
    """
    if not cpu.has_bfloat16:
        return f"there are no instructions for bfloat16 ({cpu})"
    if stage == "train" and not cpu.has_amx:
        return f"training in bfloat16 is trusted with AMX alone, which this CPU has not ({cpu})"
    if has_grouped_convolutions(network):
        return "the network has depthwise convolutions, which bfloat16 makes slower"
    return ""


def _find_fault(cpu: Cpu, dtype: torch.dtype, list_operations: Callable[[], list[Operation]]) -> str:
    """Return what is wrong with a network's operations, or that they cannot be told; "" where all are proven right."""
    try:
        operations = list_operations()
    except Exception as error:  # whatever a stranger's network raises
        return f"the network cannot be checked ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    if not operations:
        return "no convolution, matrix product or attention of the network was seen, so nothing is proven"
    return find_fault(cpu, dtype, operations)


def _choose(
    stage: str, precision: str, device: torch.device, network: nn.Module, list_operations: Callable[[], list[Operation]]
) -> torch.dtype:
    if precision != "auto":
        hint = "set it to auto, which takes what was proven right, or to float32"
        return choose_proven(f"{stage}.precision", precision, device, list_operations, hint)
    if device.type == "cuda":
        return choose_on_gpu()
    cpu = describe_cpu()
    reason = explain_float32(stage, cpu, network)
    if not reason:
        fault = _find_fault(cpu, torch.bfloat16, list_operations)
        if not fault:
            return torch.bfloat16
        reason = f"bfloat16 failed its check on this CPU ({cpu}): {fault}"
    log.info("computing in float32: %s", reason)
    return torch.float32
