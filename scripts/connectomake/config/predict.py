"""Settings of the predict stage: how a trained network is run over a whole volume."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from connectomake.config.section import Section

Voxels = Annotated[int, Field(gt=0)]
Channel = Annotated[int, Field(ge=0)]


class PredictConfig(Section):
    """Overlapping windows, blended, written block by block."""

    effort: ClassVar[frozenset[str]] = frozenset({"batch", "device", "jobs"})

    window_zyx_vx: tuple[Voxels, Voxels, Voxels] | None = Field(
        None,
        description="voxels the network sees at once (z, y, x); null = those it was trained with, which is best: "
        "instance norm makes the size part of the model",
    )
    overlap: float = Field(
        0.5, ge=0, le=0.9, description="share of a window that it has in common with the next, on each axis"
    )
    blending: Literal["gaussian", "distance", "constant"] = Field(
        "gaussian",
        description="weight of a voxel by its place in the window: gaussian (sigma = side / 8), distance to the "
        "nearest face (BANIS), or constant",
    )
    activation: Literal["sigmoid", "scaled_sigmoid"] = Field(
        "sigmoid",
        description="of sigmoid channels, from logits to 0-1: sigmoid(x), or sigmoid(0.2 x), which keeps confident "
        "predictions apart in 8 bits (BANIS); other channels are activated as they were trained",
    )
    channels: PositiveInt | tuple[Channel, ...] | None = Field(
        None, description="channels to store: a number = the first ones, a list = these (from 0), null = all"
    )
    block_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (512, 512, 512),
        description="voxels computed and written at once, one file each (z, y, x); sets the memory and the work done "
        "twice at borders, not the result; multiples of chunk_zyx_vx",
    )
    chunk_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (64, 64, 64), description="voxels read at once by whoever reads the result (z, y, x)"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the network's arithmetic; auto = bfloat16 where the GPU or CPU is built for it, else float16 "
        "(GPU) or float32 (CPU); name one where jobs run on different machines",
    )
    batch: PositiveInt = Field(1, description="windows at once on a GPU; a CPU takes one at a time (windows)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs; auto = a GPU if there is one"
    )
    jobs: PositiveInt = Field(1, description="jobs that a volume is divided among (jobs)")

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        """Refuse blocks that are no whole number of chunks: a block is a file, and a file holds whole chunks."""
        if any(b % c for b, c in zip(self.block_zyx_vx, self.chunk_zyx_vx, strict=True)):
            raise ValueError(f"block_zyx_vx {self.block_zyx_vx} must be multiples of chunk_zyx_vx {self.chunk_zyx_vx}")
        return self

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Refuse a list of channels that stores none, or one twice."""
        if isinstance(self.channels, tuple) and len(set(self.channels)) != max(1, len(self.channels)):
            raise ValueError(f"channels must name at least one channel, and none twice, not {list(self.channels)}")
        return self
