"""Settings of the predict stage: how a trained network is run over a whole volume."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from connectomake.config.section import Section
from connectomake.config.settings.predict_regions import RegionConfig

Axis = Literal["z", "y", "x"]
Plane = Literal["zy", "zx", "yx"]


class TtaConfig(Section):
    """Each window is predicted in all orientations that these lead to, and the predictions are merged."""

    flip: tuple[Axis, ...] = Field((), description="axes to mirror, as in [z, y, x]; n axes give 2^n predictions")
    rotate: tuple[Plane, ...] = Field(
        (),
        description="planes to turn in by quarter turns, as in [yx]; their axes need windows of equal sides",
    )
    permute: tuple[Plane, ...] = Field(
        (), description="pairs of axes to exchange, as in [yx], or [zy, yx] for every order of three; likewise"
    )
    merge: Literal["mean", "min", "max"] = Field(
        "mean",
        description="of the predictions that a voxel or an edge has: mean, or the smallest or largest of them; "
        "components of vectors are averaged in any case",
    )

    @property
    def is_used(self) -> bool:
        """Whether there is anything besides the window as it is."""
        return bool(self.flip or self.rotate or self.permute)

    @model_validator(mode="after")
    def _check_no_repeats(self) -> Self:
        """Reject an axis or a plane that is named twice."""
        for key in ("flip", "rotate", "permute"):
            named = getattr(self, key)
            if len(set(named)) != len(named):
                raise ValueError(f"{key} names something twice: {list(named)}")
        return self


TRAINED = "trained"

Voxels = Annotated[int, Field(gt=0)]
Channel = Annotated[int, Field(ge=0)]


class PredictConfig(Section):
    """Overlapping windows, blended, written block by block."""

    effort: ClassVar[frozenset[str]] = frozenset(
        {"batch", "codec_pipeline", "device", "jobs", "memory_gb", "mvoxel_per_job", "threads"}
    )

    checkpoints: tuple[str, ...] = Field(
        (TRAINED,),
        min_length=1,
        description="networks whose predictions are averaged: `trained` = that of the train stage, or paths of "
        "checkpoints, also of ones that scripts/import_network.py made",
    )
    scale: Literal["match", "resample", "as_is"] = Field(
        "match",
        description="where a volume's voxels are not of the size that the network was trained with: match = take the "
        "level of its pyramid that is, else stop; resample = resample the nearest level; as_is = take them as they are",
    )
    regions: dict[str, RegionConfig] = Field(
        default_factory=dict, description="volume -> the part of it to predict; all of it by default"
    )
    margin_zyx_vx: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        (0, 0, 0),
        description="mirrored voxels that windows reach out of the volume, so that its borders are seen from the "
        "middle of a window too (z, y, x)",
    )
    tta: TtaConfig = Field(default_factory=TtaConfig, description="test-time augmentation; none by default")

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
        (256, 512, 512),
        description="voxels computed and written at once, one file each (z, y, x); sets the memory and the work done "
        "twice at borders in y and x, not the result; multiples of chunk_zyx_vx; halved where memory_gb does not "
        "suffice",
    )
    memory_gb: PositiveFloat = Field(
        8.0, description="memory that one job may take (GB); what it is expected to take is asked of the cluster"
    )
    chunk_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (64, 64, 64), description="voxels read at once by whoever reads the result (z, y, x)"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the network's arithmetic; auto = bfloat16 on a GPU built for it, else float16; on a CPU "
        "bfloat16 where it is built for that and a check proves it right, else float32; name one where jobs run on "
        "different machines",
    )
    dtype: Literal["uint8", "float16"] = Field(
        "uint8",
        description="of the stored values: uint8 = 255 steps from 0 to 1 (-1 to 1 after tanh); float16 = as they are, "
        "at twice the size",
    )
    pyramid: bool = Field(True, description="whether coarser levels are stored too, for viewing; a seventh more")
    compile: Literal["no", "default", "reduce-overhead", "max-autotune"] = Field(
        "no",
        description="mode of torch.compile; reduce-overhead uses CUDA graphs; takes minutes at the start of each job",
    )
    codec_pipeline: Literal["zarr", "zarrs"] = Field(
        "zarr", description="what encodes and decodes Zarr chunks; zarrs is in Rust (pip install zarrs)"
    )
    batch: PositiveInt = Field(1, description="windows at once on a GPU; a CPU takes one at a time (windows)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs; auto = a GPU if there is one"
    )
    threads: PositiveInt = Field(
        8, description="cores that a job asks for; for many small volumes 1 is best: their jobs run side by side"
    )
    jobs: PositiveInt | Literal["auto"] = Field(
        1,
        description="jobs that a volume is divided among (jobs); auto = as its size, or that of its region, asks for: "
        "up to 500 of mvoxel_per_job, for larger volumes longer ones, and one for each crop of a challenge",
    )
    mvoxel_per_job: PositiveFloat = Field(
        1000.0,
        description="work of one job where jobs: auto (million voxels); 1000 are 17 minutes at 1 Mvoxel/s; the log of "
        "plan_prediction says what suits the network",
    )

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        """Reject blocks that are no whole number of chunks: a block is a file, and a file holds whole chunks."""
        if any(b % c for b, c in zip(self.block_zyx_vx, self.chunk_zyx_vx, strict=True)):
            raise ValueError(f"block_zyx_vx {self.block_zyx_vx} must be multiples of chunk_zyx_vx {self.chunk_zyx_vx}")
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        """Reject an ensemble that counts a network twice."""
        if len(set(self.checkpoints)) != len(self.checkpoints):
            raise ValueError(f"checkpoints names one twice: {list(self.checkpoints)}")
        return self

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Reject a list of channels that stores none, or one twice."""
        if isinstance(self.channels, tuple) and len(set(self.channels)) != max(1, len(self.channels)):
            raise ValueError(f"channels must name at least one channel, and none twice, not {list(self.channels)}")
        return self
