"""Latents on disk: one store for each example and turn, and how they are brought to the numbers that diffusion learns.

A store ``KEY.zarr`` holds ``z``, (C, z, y, x) float32 as the encoder gave them (neither quantised nor normalised) and,
where images are made for labels, ``map``, the distance map at voxel resolution as bytes. Its attributes say from which
autoencoder, example and turn it is; it appears whole, by rename.

Normalisation is decided when latents are read for training, not when they are encoded: ``std`` needs all of them, and a
job of `encode_latents` sees only its share. `train_diffusion` calls `measure_normalisation`, keeps `as_plain` in its
checkpoint, and `generate` takes it from there by `Normalisation.from_plain`. So stores are the same for any number of
jobs and for both kinds. With ``codebook`` the encoder's z may lie outside [-1, 1], where samples that are clipped never
come (as in 3D MedDiffusion, Wang et al. 2025); the share is logged and kept in the attributes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from connectomake.errors import DataError, MissingDataError
from connectomake.files import explain_write_failure, read_json
from connectomake.geometry import Triple, to_triple
from connectomake.synth.examples import Example

MAP_STEPS = 127  # from 0 to 1 in the distance map as bytes: -1 is 0, the border 127, 1 is 254, all exactly


@dataclass(frozen=True)
class Normalisation:
    """How latents become what diffusion learns: ``(z - offset) / scale``, channel by channel.

    Parameters
    ----------
    kind
        codebook: the smallest and the largest number of the codebook become -1 and 1, and samples are clipped to them;
        std: each channel has mean 0 and standard deviation 1, and samples are not clipped.
    offset, scale
        Of each channel.
    """

    kind: Literal["codebook", "std"]
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def clips(self) -> bool:
        """Whether samples are clipped to [-1, 1]."""
        return self.kind == "codebook"

    def normalise(self, z: torch.Tensor) -> torch.Tensor:
        """Bring latents (..., C, z, y, x) to what diffusion learns."""
        offset, scale = self._by_channel(z)
        return (z - offset) / scale

    def denormalise(self, x: torch.Tensor) -> torch.Tensor:
        """Bring what diffusion makes (..., C, z, y, x) back to latents, for the codebook and the decoder."""
        offset, scale = self._by_channel(x)
        return x * scale + offset

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data, for a checkpoint."""
        return {"kind": self.kind, "offset": list(self.offset), "scale": list(self.scale)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Make it of what `as_plain` gave."""
        return cls(plain["kind"], tuple(plain["offset"]), tuple(plain["scale"]))

    def _by_channel(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offset, scale = (torch.tensor(v, dtype=like.dtype, device=like.device) for v in (self.offset, self.scale))
        return offset.view(-1, 1, 1, 1), scale.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Latent:
    """The latents of one example in one turn, on disk.

    Parameters
    ----------
    path
        The store.
    example
        What was encoded.
    turn
        0 = as it is.
    shape
        (C, z, y, x) of the latents.
    attributes
        All that the store says of itself, see `encode.encode_latents`.
    """

    path: Path
    example: Example
    turn: int
    shape: tuple[int, int, int, int]
    attributes: Mapping[str, Any]

    @property
    def shape_zyx(self) -> Triple:
        """Sides in latents: those of a bucket."""
        return to_triple(self.shape[1:])

    def read(self) -> np.ndarray:
        """Read the latents: (C, z, y, x) float32, not normalised."""
        return _read_array(self.path, "z")

    def read_map(self) -> np.ndarray:
        """Read the distance map: (1, Z, Y, X) float32 in [-1, 1], to 1/127; padded as the image was.

        Raises
        ------
        MissingDataError
            There is none: labels.kind was not conditional.
        """
        if not (self.path / "map").is_dir():
            raise MissingDataError(f"{self.path} has no distance map", hint="encode with labels.kind: conditional")
        return _read_array(self.path, "map").astype(np.float32) / np.float32(MAP_STEPS) - np.float32(1)


def read_latents(folder: Path, autoencoder_hash: str, examples: Sequence[Example]) -> list[Latent]:
    """Find the latents of examples; their values are read by `Latent.read`.

    Parameters
    ----------
    folder
        Where `encode_latents` put them. What else lies there, such as latents of an earlier table, is ignored.
    autoencoder_hash
        Of the autoencoder that they must be from.
    examples
        The table.

    Returns
    -------
    list of Latent
        In the order of the table, turn after turn.

    Raises
    ------
    MissingDataError
        Latents of an example are not there.
    DataError
        Latents are of another autoencoder, or of another piece than the table says.
    """
    found = []
    for example in examples:
        first = open_latent(folder, example, 0, autoencoder_hash)
        turned = [open_latent(folder, example, turn, autoencoder_hash) for turn in range(1, first.attributes["turns"])]
        found += [first, *turned]
    return found


def open_latent(folder: Path, example: Example, turn: int, autoencoder_hash: str) -> Latent:
    """Open the latents of one example in one turn; raises what `read_latents` raises."""
    path = locate_latent(folder, example, turn)
    attributes = read_attributes(path)
    if attributes is None:
        raise MissingDataError(f"no latents {path}", hint="run encode_latents for all examples of the table")
    if attributes["autoencoder"] != autoencoder_hash:
        raise DataError(
            f"the latents {path} are of another autoencoder",
            expected=f"hash {autoencoder_hash[:12]}",
            got=attributes["autoencoder"][:12],
            hint="run encode_latents with this autoencoder, or give the autoencoder that they were encoded by",
        )
    if attributes["example"] != example.as_settings():
        raise DataError(
            f"the latents {path} are of another piece of a volume than {example.key} in the table of examples",
            expected=example.as_settings(),
            got=attributes["example"],
            hint="run encode_latents again",
        )
    channels, z, y, x = read_json(path / "z" / "zarr.json")["shape"]
    return Latent(path, example, turn, (channels, z, y, x), attributes)


def measure_normalisation(latents: Sequence[Latent], kind: Literal["codebook", "std"]) -> Normalisation:
    """Find how latents are normalised.

    Parameters
    ----------
    latents
        All that there are; ``std`` is measured on those that are learnt from, which are read once, in float64.
    kind
        See `Normalisation`.

    Raises
    ------
    DataError
        There are no latents to learn from, or a channel of them (or the codebook) has one value only.
    """
    learnt = [latent for latent in latents if latent.example.role == "learn"]
    if not learnt:
        raise DataError("no latents to learn from", hint="run encode_latents")
    if kind == "codebook":
        low, high = learnt[0].attributes["codebook"]
        offset, scale = [np.full(learnt[0].shape[0], value) for value in ((high + low) / 2, (high - low) / 2)]
    else:
        offset, scale = _measure_spread(learnt)
    if not (scale > 0).all():
        raise DataError(
            "latents cannot be normalised: all are equal",
            got=f"latents.normalise {kind}",
            hint="train the autoencoder for longer, and look at its reconstructions",
        )
    return Normalisation(kind, tuple(map(float, offset)), tuple(map(float, scale)))


def locate_latent(folder: Path, example: Example, turn: int) -> Path:
    """Return the store of an example in a turn."""
    return folder / (f"{example.key}_turn{turn:02d}.zarr" if turn else f"{example.key}.zarr")


def read_attributes(path: Path) -> dict[str, Any] | None:
    """Read what a store says of itself; None where there is no store, or one of something else."""
    file = path / "zarr.json"
    if not file.is_file():
        return None
    found = read_json(file).get("attributes", {}).get("connectomake")
    return found if isinstance(found, dict) and "autoencoder" in found else None


def write_latent(path: Path, z: np.ndarray, distances: np.ndarray | None, attributes: Mapping[str, Any]) -> None:
    """Write a store, whole or not at all; one that lies there is replaced.

    Parameters
    ----------
    path
        The store.
    z
        (C, z, y, x) float32.
    distances
        (1, Z, Y, X) float32 in [-1, 1], kept to 1/127; or None.
    attributes
        Plain data.

    Raises
    ------
    DataError
        The disk refuses.
    """
    import zarr

    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.partial")
    with explain_write_failure(path):
        try:
            group = zarr.open_group(draft, mode="w", attributes={"connectomake": dict(attributes)})
            group.create_array("z", data=z, chunks=z.shape)
            if distances is not None:
                group.create_array("map", data=np.rint((distances + 1) * MAP_STEPS).astype(np.uint8), chunks="auto")
            if path.exists():
                shutil.rmtree(path)
            os.rename(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _read_array(path: Path, name: str) -> np.ndarray:
    import zarr

    return np.asarray(zarr.open_array(path / name, mode="r")[...])


def _measure_spread(latents: Sequence[Latent]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel."""
    count, mean, squares = 0, np.zeros(latents[0].shape[0]), np.zeros(latents[0].shape[0])
    for latent in latents:
        values = latent.read().astype(np.float64).reshape(latent.shape[0], -1)
        # Chan et al. 1979: sums of squares about the mean add up without cancellation.
        more, shift = count + values.shape[1], values.mean(1) - mean
        squares += np.square(values - values.mean(1, keepdims=True)).sum(1) + shift**2 * count * values.shape[1] / more
        mean += shift * values.shape[1] / more
        count = more
    return mean, np.sqrt(squares / count)
