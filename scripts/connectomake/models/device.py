"""Choose device and memory layout for a network: what is fastest, without changing what it says."""

from __future__ import annotations

import ctypes

import torch
from torch import nn

from connectomake.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT_BYTES = 2**29  # tensors up to this size are made in memory that the process keeps
# What torch and cuDNN say; where it has no memory for any algorithm, cuDNN finds none.
WANT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "ALLOC_FAILED", "unable to find an engine")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU if there is one.

    Raises
    ------
    ConfigError
        ``cuda`` is asked for and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ConfigError("no GPU for device: cuda", hint="use device: auto, or ask the cluster for a GPU")
    return torch.device("cuda" if device != "cpu" and found else "cpu")


def choose_memory_format(network: nn.Module) -> torch.memory_format:
    """Return the layout that convolutions are fastest in: channels last, except for depthwise ones.

    Measured on a CPU with AMX, one thread: U-Net 1.3 times as fast, MedNeXt 0.9 times. Networks that see section by
    section keep theirs: they turn the volume into images first.
    """
    solid = any(isinstance(layer, nn.Conv3d) for layer in network.modules())
    return torch.channels_last_3d if solid and not has_grouped_convolutions(network) else torch.contiguous_format


def has_grouped_convolutions(network: nn.Module) -> bool:
    """Return whether a convolution of the network sees only a part of its input channels."""
    convolutions = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d)
    return any(isinstance(layer, convolutions) and layer.groups > 1 for layer in network.modules())


def is_want_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice; cuDNN and others raise a plain RuntimeError for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WANT_OF_MEMORY)


def keep_freed_memory(*, one_heap: bool = False) -> None:
    """Let tensors on a CPU be made in memory that the process has already, of the sizes that activations have.

    glibc gives each block of 32 MiB and more back to the system when it is freed, and the system clears each page
    anew when the next tensor is made. Without that, measured on two threads with windows of 64 and 96 voxels, MedNeXt-S
    predicts 1.9 to 2.4 times as fast and BasicUNet 1.25 to 1.4 times, the demo trains 1.15 times as fast, and values
    are the same; activations take up to 1.8 times the memory. Does nothing where the C library is not glibc.

    Parameters
    ----------
    one_heap
        Whether all threads take memory from one heap, so that what one gives back another can use: for processes
        whose threads are few, before they are started.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)
        if one_heap:
            mallopt(M_ARENA_MAX, 1)
