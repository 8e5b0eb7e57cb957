"""Settings of how the weights of a network are changed: optimizer, learning rate, weights to start from."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from connectomake.config.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]

# Settings that are not read by all optimizers or shapes -> those that read them.
READ_BY_OPTIMIZERS = {"betas": ("adamw", "adam"), "epsilon": ("adamw", "adam"), "momentum": ("sgd",)}
READ_BY_SHAPES = {
    "floor": ("cosine", "step", "plateau"),
    "milestones_steps": ("step",),
    "factor": ("step", "plateau"),
    "patience": ("plateau",),
}


class OptimizerConfig(Section):
    """What makes a step of a gradient."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="AdamW, Adam, or SGD with momentum")
    learning_rate: PositiveFloat = Field(2e-3, description="the highest, at the end of the warm-up")
    weight_decay: NonNegativeFloat = Field(
        1e-2, description="on weights of convolutions and matrices only, not on norms, biases and embeddings"
    )
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="memory of the first and second moment (Adam, AdamW)")
    epsilon: PositiveFloat = Field(1e-8, description="added to the root of the second moment (Adam, AdamW)")
    momentum: Share = Field(0.9, description="memory of the gradient (SGD)")

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        """Reject a setting that this optimizer does not read."""
        _refuse_unread(self, "name", READ_BY_OPTIMIZERS)
        return self


class ScheduleConfig(Section):
    """The learning rate over the training: it rises while the training warms up, then it falls in some shape."""

    shape: Literal["cosine", "step", "plateau", "constant"] = Field(
        "cosine",
        description="cosine = half a cosine to the end of the training; step = by a factor at milestones; plateau = by "
        "a factor when the validation loss no longer falls; constant = never",
    )
    warmup: Share = Field(0.05, description="share of the training over which the learning rate rises")
    warmup_start: Share = Field(
        0.0, description="learning rate that the warm-up starts from, as a share of the highest"
    )
    floor: Share = Field(0.0, description="the lowest learning rate after the warm-up, as a share of the highest")
    milestones_steps: tuple[PositiveInt, ...] = Field(
        (), description="step: after so many steps of the training the learning rate falls (steps)"
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="step, plateau: what it is multiplied by")
    patience: PositiveInt = Field(
        5, description="plateau: validations without a lower loss before it falls (validations)"
    )

    @field_validator("milestones_steps")
    @classmethod
    def _check_milestones(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        """Reject milestones that are not in order."""
        if any(a >= b for a, b in pairwise(milestones)):
            raise ValueError(f"milestones must rise, got {list(milestones)}")
        return milestones

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        """Reject a setting that this shape does not read, and steps without milestones."""
        _refuse_unread(self, "shape", READ_BY_SHAPES)
        if self.shape == "step" and not self.milestones_steps:
            raise ValueError("shape: step needs milestones_steps, such as [30000, 35000]")
        return self


class InitialWeights(Section):
    """Weights to start from: those of a checkpoint of this project, of BANIS, of MedNeXt, or any state dict."""

    path: str = Field(description="the file")
    prefix: str = Field("", description="part that the names in the file begin with and ours do not, as in `model.`")
    grow_kernels: bool = Field(
        False, description="stretch the kernels in the file to those of this network (UpKern, Roy et al. 2023)"
    )
    skip: tuple[str, ...] = Field(
        (), description="names, or beginnings of names, that are not loaded, such as a last layer of other channels"
    )


def _refuse_unread(section: Section, chooser: str, read_by: dict[str, tuple[str, ...]]) -> None:
    """Reject a setting that was changed and would have no effect; its default may be written out."""
    chosen: Any = getattr(section, chooser)
    for key, readers in read_by.items():
        if chosen not in readers and getattr(section, key) != type(section).model_fields[key].default:
            raise ValueError(f"{key} is read by {chooser}: {' or '.join(readers)} only, not by {chosen}: remove it")
