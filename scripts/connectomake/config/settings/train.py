"""Settings of the train stage: the network, what it learns, for how long and how."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from connectomake.channels import find_nearest, name_channels
from connectomake.config.section import Section
from connectomake.config.settings.train_architectures import BasicUnetConfig, ModelConfig
from connectomake.config.settings.train_losses import LossTerm, check_losses
from connectomake.config.settings.train_optimizer import InitialWeights, OptimizerConfig, ScheduleConfig
from connectomake.config.settings.train_targets import TargetsConfig


class SegmentationConfig(Section):
    """The network of the moment segments the validation volumes, and is measured by what comes out."""

    every_validations: PositiveInt = Field(
        1, description="at every so many validations, and at the last one (validations)"
    )
    criterion: Literal["nerl", "voi"] = Field(
        "nerl",
        description="nerl = normalised expected run length along skeletons, voi = variation of information of voxels; "
        "both at the best of 13 thresholds (BANIS)",
    )
    largest_vx: PositiveInt = Field(
        16_000_000,
        description="a validation volume with more voxels is cut to a cube of this size in its middle (voxels)",
    )


Share = Annotated[float, Field(ge=0, le=1)]


class SamplingConfig(Section):
    """A patch that lacks something is drawn again, a few times; the last one is taken as it is."""

    least_known: Share = Field(0.1, description="share of the voxels whose label must be known")
    least_foreground: Share = Field(0.0, description="share of the voxels that must lie in an object")
    least_objects: int = Field(0, ge=0, description="objects that there must be in the patch (objects)")
    reject_probability: Share = Field(
        1.0, description="how often a patch with too little foreground, or too few objects, is drawn again"
    )
    balance: Literal["voxels", "classes"] = Field(
        "voxels",
        description="voxels = each place is as likely as any other; classes = a class is drawn first, each as often, "
        "then a place where there is some of it (targets.classes.named)",
    )
    attempts: PositiveInt = Field(10, description="draws at most (patches)")


Voxels = Annotated[int, Field(gt=0)]


class TrainConfig(Section):
    """One training. The same settings, data and seed give the same network, however often it is interrupted."""

    seed: int = Field(0, ge=0, description="seed of the network's first weights and of every patch")
    model: ModelConfig = Field(default_factory=BasicUnetConfig, description="the network")
    initial_weights: InitialWeights | None = Field(None, description="weights to start from; null = random ones")
    targets: TargetsConfig = Field(default_factory=TargetsConfig, description="what it predicts")
    losses: tuple[LossTerm, ...] = Field((LossTerm(),), min_length=1, description="what is made small")
    scale_weights: tuple[PositiveFloat, ...] | None = Field(
        None,
        description="of networks with deep supervision: weights of the loss at each resolution, finest first, divided "
        "by their sum; null = each half of the one before",
    )

    patch_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (64, 64, 64), description="voxels that the network sees at once (z, y, x)"
    )
    batch: PositiveInt = Field(2, description="patches that the network sees at once (patches)")
    accumulate: PositiveInt = Field(1, description="batches per step: their gradients are averaged (batches)")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="which patches are taken")
    read_context: bool = Field(
        True, description="read the labels around a patch too, so that edges which leave it are learnt from as well"
    )
    normalise: Literal["together", "each_volume"] = Field(
        "together",
        description="one mean and sd for all training data, kept for prediction, or those of each volume by itself, "
        "also when it is predicted",
    )
    raw_mean: float | None = Field(
        None, description="grey value that becomes 0; null = the mean of the training data; BANIS takes 0"
    )
    raw_std: PositiveFloat | None = Field(
        None, description="grey values that become 1; null = the sd of the training data; BANIS takes 255"
    )

    max_steps: PositiveInt = Field(1000, description="steps; the learning rate falls over them (steps)")
    max_minutes: PositiveFloat | None = Field(
        None,
        description="training stops after this time too; a cosine ends at whichever limit comes first, so that the "
        "result then depends on the machine's speed; milestones stay where they are (minutes)",
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="what makes steps of gradients")
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig, description="the learning rate over the training")
    gradient_clip: PositiveFloat | None = Field(1.0, description="largest norm of the gradient; null = any")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999,
        description="the network that is validated and saved is a moving average over about 1 / (1 - this) steps; 0 = "
        "the last weights themselves",
    )
    swa_start: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="from this share of the training on, the network that is validated and saved is the plain average "
        "of the weights after each validation interval (SWA), with its batch norms measured anew; null = never; not "
        "together with ema_decay",
    )

    validate_every_steps: PositiveInt = Field(200, description="steps from one validation to the next (steps)")
    validate_patches: PositiveInt = Field(
        16, description="patches that each validation looks at, always the same (patches)"
    )
    validate_segmentation: SegmentationConfig | None = Field(
        None, description="segment the validation volumes too, and measure what comes out"
    )
    keep: Literal["last", "best", "best_dice", "best_segmentation"] = Field(
        "last",
        description="the network to save: of the last step, of the lowest validation loss, of the highest Dice (mean "
        "over binary channels), or of the best segmentation",
    )
    keep_best: int = Field(
        0, ge=0, description="so many checkpoints of the best validations are kept in run/best (checkpoints)"
    )
    patience: PositiveInt | None = Field(
        None, description="stop after so many validations without a better one; null = never (validations)"
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto = a GPU if there is one")
    devices: PositiveInt = Field(
        1,
        description="processes of a node that train together, each with a GPU of its own or a share of the cores; each "
        "sees `batch` patches at once",
    )
    nodes: PositiveInt = Field(1, description="nodes that train together (nodes)")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the network's arithmetic; auto = bfloat16 on a GPU built for it, else float16; on a CPU "
        "bfloat16 with AMX where a check proves it right, else float32",
    )
    compile: bool = Field(
        False, description="compile the network first (torch.compile): minutes at the start, faster steps on a GPU"
    )
    workers: int = Field(
        0, ge=0, description="processes that prepare patches; 0 = one thread of the training process, best on few cores"
    )
    memory_gb: Annotated[float, Field(ge=0)] = Field(
        4.0,
        description="training volumes are held in memory, smallest first, as far as this goes, shared evenly by the "
        "processes of a node; the others are read patch by patch (GB)",
    )
    checkpoint_every_steps: PositiveInt = Field(500, description="steps from one checkpoint to the next (steps)")
    checkpoint_every_min: PositiveFloat = Field(10.0, description="minutes from one checkpoint to the next (minutes)")
    fast_dev_run: bool = Field(
        False, description="one step and one validation, to see whether everything works; the network is no good"
    )

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        """Reject a patch that the network cannot work on, and heads that do not give each target once."""
        try:
            self.model.check_patch(self.patch_zyx_vx)
        except ValueError as error:
            raise ValueError(f"patch_zyx_vx {error}") from None
        self.model.check_heads(channel.target for channel in self.targets.channels)
        return self

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        """Reject losses that do not find their channels, channels that no loss teaches, and weights of nothing."""
        check_losses(self.losses, self.targets.channels)
        if self.scale_weights is not None and not getattr(self.model, "deep_supervision", False):
            raise ValueError("scale_weights changes nothing: the model has no deep_supervision")
        return self

    @model_validator(mode="after")
    def _check_validations(self) -> Self:
        """Reject waiting for validations that never come."""
        validations = self.max_steps // self.validate_every_steps
        plateau = self.schedule.patience if self.schedule.shape == "plateau" else None
        for key, patience in (("patience", self.patience), ("schedule.patience", plateau)):
            if patience is not None and patience >= validations:
                raise ValueError(f"{key} must be fewer than the {validations} validations of max_steps, got {patience}")
        if self.keep == "best_dice" and not any(channel.binary for channel in self.targets.channels):
            raise ValueError("keep: best_dice needs a binary target, such as classes")
        if self.keep != "last" and validations == 0:
            raise ValueError(f"keep: {self.keep} needs a validation: validate_every_steps at most {self.max_steps}")
        return self

    @model_validator(mode="after")
    def _check_balance(self) -> Self:
        """Reject balancing classes that are not learnt by name."""
        if self.sampling.balance == "classes" and (self.targets.classes is None or not self.targets.classes.named):
            raise ValueError("sampling.balance: classes needs targets.classes.named")
        return self

    @model_validator(mode="after")
    def _check_normalisation(self) -> Self:
        """Reject numbers for all volumes together with those of each."""
        if self.normalise == "each_volume" and (self.raw_mean is not None or self.raw_std is not None):
            raise ValueError("normalise: each_volume measures both of each volume: set raw_mean and raw_std to null")
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        """Reject milestones that the training does not reach, or reaches while it warms up."""
        first, last = self.schedule.warmup * self.max_steps, self.max_steps - 1
        outside = [step for step in self.schedule.milestones_steps if not first <= step <= last]
        if outside:
            raise ValueError(
                f"schedule.milestones_steps must lie after the warm-up and before max_steps, {ceil(first)} to {last}: "
                f"got {outside[0]}"
            )
        return self

    @model_validator(mode="after")
    def _check_averages(self) -> Self:
        """Reject two averages of the weights, and one that takes no weights in."""
        if self.swa_start is None:
            return self
        if self.ema_decay:
            raise ValueError("swa_start and ema_decay are two averages of the same weights: set ema_decay: 0")
        if self.max_steps // self.validate_every_steps * self.validate_every_steps < self.swa_start * self.max_steps:
            raise ValueError(
                f"swa_start {self.swa_start:g} takes the weights after each validation interval, and none ends after "
                f"step {self.swa_start * self.max_steps:g}: make validate_every_steps smaller"
            )
        return self

    @model_validator(mode="after")
    def _check_segmentation(self) -> Self:
        """Reject measuring segmentations of a network that cannot be segmented, or choosing by none."""
        if self.keep == "best_segmentation" and self.validate_segmentation is None:
            raise ValueError("keep: best_segmentation needs validate_segmentation, {} for its defaults")
        if self.validate_segmentation is not None and find_nearest(name_channels(self.targets.channels)) is None:
            raise ValueError(
                "validate_segmentation segments by affinities: targets.affinity.offsets_zyx_vx must hold [1, 0, 0], "
                "[0, 1, 0] and [0, 0, 1]"
            )
        return self
