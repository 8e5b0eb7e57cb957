"""Settings of the train stage: the network, what it learns, for how long and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from connectomake.config.architectures import BasicUnetConfig, ModelConfig
from connectomake.config.section import Section
from connectomake.config.targets import LossTerm, TargetsConfig

Voxels = Annotated[int, Field(gt=0)]


class TrainConfig(Section):
    """One training. The same settings, data and seed give the same network, however often it is interrupted."""

    seed: int = Field(0, ge=0, description="seed of the network's first weights and of every patch")
    model: ModelConfig = Field(default_factory=BasicUnetConfig, description="the network")
    targets: TargetsConfig = Field(default_factory=TargetsConfig, description="what it predicts")
    losses: tuple[LossTerm, ...] = Field((LossTerm(),), min_length=1, description="what is made small")

    patch_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (64, 64, 64), description="voxels that the network sees at once (z, y, x)"
    )
    batch: PositiveInt = Field(2, description="patches per step (patches)")
    read_context: bool = Field(
        True, description="read the labels around a patch too, so that edges which leave it are learnt from as well"
    )
    raw_mean: float | None = Field(
        None, description="grey value that becomes 0; null = the mean of the training data; BANIS takes 0"
    )
    raw_std: PositiveFloat | None = Field(
        None, description="grey values that become 1; null = the sd of the training data; BANIS takes 255"
    )

    max_steps: PositiveInt = Field(1000, description="steps; the learning rate falls to 0 over them (steps)")
    max_minutes: PositiveFloat | None = Field(
        None,
        description="training stops after this time too; the learning rate reaches 0 at whichever limit comes first, "
        "so that the result then depends on the machine's speed (minutes)",
    )
    learning_rate: PositiveFloat = Field(2e-3, description="the highest, at the end of the warm-up")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="share of the training over which the learning rate rises from 0"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-2, description="of AdamW, on weights of convolutions only")
    gradient_clip: PositiveFloat | None = Field(1.0, description="largest norm of the gradient; null = any")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999,
        description="the network that is validated and saved is a moving average over about 1 / (1 - this) steps; 0 = "
        "the last weights themselves",
    )

    validate_every_steps: PositiveInt = Field(200, description="steps from one validation to the next (steps)")
    validate_patches: PositiveInt = Field(
        16, description="patches that each validation looks at, always the same (patches)"
    )
    keep: Literal["last", "best"] = Field(
        "last", description="the network to save: of the last step, or of the lowest validation loss"
    )
    patience: PositiveInt | None = Field(
        None, description="stop after so many validations without a lower loss; null = never (validations)"
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto = a GPU if there is one")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the network's arithmetic; auto = bfloat16 where the GPU or CPU is built for it, else float16 "
        "(GPU) or float32 (CPU)",
    )
    workers: int = Field(
        0, ge=0, description="processes that prepare patches; 0 = one thread of the training process, best on few cores"
    )
    memory_gb: Annotated[float, Field(ge=0)] = Field(
        4.0,
        description="volumes are held in memory, smallest first, as far as this goes; the others are read patch "
        "by patch (GB)",
    )
    checkpoint_every_steps: PositiveInt = Field(500, description="steps from one checkpoint to the next (steps)")
    checkpoint_every_min: PositiveFloat = Field(10.0, description="minutes from one checkpoint to the next (minutes)")

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        """Refuse a patch that the network cannot halve as often as it has to."""
        divisor = self.model.divisor_zyx
        if any(side % d for side, d in zip(self.patch_zyx_vx, divisor, strict=True)):
            low = [max(d, side // d * d) for side, d in zip(self.patch_zyx_vx, divisor, strict=True)]
            high = [-(-side // d) * d for side, d in zip(self.patch_zyx_vx, divisor, strict=True)]
            raise ValueError(
                f"patch_zyx_vx {list(self.patch_zyx_vx)} must be multiples of {list(divisor)} for this model: "
                f"nearest are {low} and {high}"
            )
        if self.patch_zyx_vx == divisor:
            raise ValueError(
                f"patch_zyx_vx {list(self.patch_zyx_vx)} leaves one voxel at the coarsest level, which instance norm "
                f"cannot normalise: make one side {2 * divisor[2]}"
            )
        return self

    @model_validator(mode="after")
    def _check_validations(self) -> Self:
        """Refuse to wait for validations that never come."""
        validations = self.max_steps // self.validate_every_steps
        if self.patience is not None and self.patience >= validations:
            raise ValueError(
                f"patience must be fewer than the {validations} validations of max_steps, got {self.patience}"
            )
        if self.keep == "best" and validations == 0:
            raise ValueError(f"keep: best needs a validation: validate_every_steps must be at most {self.max_steps}")
        return self
