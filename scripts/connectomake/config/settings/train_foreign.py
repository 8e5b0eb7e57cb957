"""Settings of networks that were made elsewhere: what their checkpoints hold, and how a user describes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from connectomake.channels import Activation, Channel, Offset, name_offset
from connectomake.config.section import Section
from connectomake.config.settings.train_architectures import (
    ModelConfig,  # first: it collects the classes that can be trained
)
from connectomake.config.settings.train_network import NetworkConfig, Triple

Side = PositiveInt | None
Sides = tuple[Side, Side, Side]
Bound = Annotated[float, Field(allow_inf_nan=False)]


class ForeignConfig(NetworkConfig):
    """A network whose program came from elsewhere: it can predict, not learn."""

    architecture: Literal["torchscript", "exported_program", "monai_bundle"]
    divisor_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    sides_zyx_vx: Sides = (None, None, None)  # the only ones that it takes, where the program fixes them
    batch: Side = None  # likewise; of sections, for one of two dimensions
    output: int | str | None = None
    network_def: dict[str, Any] | None = None  # of a MONAI bundle

    @property
    def shrink_zyx(self) -> Triple:
        """What the sides must be multiples of, as far as anybody told (z, y, x)."""
        return self.divisor_zyx_vx

    @property
    def smallest_patch_zyx(self) -> Triple:
        """The smallest window that is known to suit (z, y, x)."""
        z, y, x = (side or divisor for side, divisor in zip(self.sides_zyx_vx, self.divisor_zyx, strict=True))
        return z, y, x

    def check_patch(self, patch_zyx: Sequence[int]) -> None:
        """Reject a window that the network cannot work on.

        Parameters
        ----------
        patch_zyx
            Its sides, in voxels.

        Raises
        ------
        ValueError
            The program was made for other sides, or they are no multiples of `divisor_zyx`.
        """
        patch = list(patch_zyx)
        if any(only not in (None, side) for only, side in zip(self.sides_zyx_vx, patch, strict=True)):
            fixed = ["any" if side is None else side for side in self.sides_zyx_vx]
            raise ValueError(f"{patch} is not the window that this {self.architecture} was made for: {fixed} (z, y, x)")
        if any(side % d for side, d in zip(patch, self.divisor_zyx, strict=True)):
            raise ValueError(f"{patch} must be multiples of {list(self.divisor_zyx)} for this {self.architecture}")


class ForeignChannel(Section):
    """One channel of the network's output; an offset makes it an affinity."""

    name: str | None = Field(None, description="unique; may be left out for an affinity, which its offset names")
    target: str | None = Field(
        None, description="what it belongs to, such as binary; null = affinity with an offset, else output"
    )
    offset_zyx_vx: Offset | None = Field(None, description="the edge goes from a voxel to the one at this offset")
    activation: Activation = Field(
        "sigmoid", description="what Connectomake shall apply; identity where the network ends in one already"
    )
    axes: Literal["", "z", "y", "x", "zz", "yy", "xx", "zy", "zx", "yx"] = Field(
        "", description="z = changes as the component of a vector along z when space is turned, zy = of a matrix"
    )

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        """Reject a channel that nothing names."""
        if self.name is None and self.offset_zyx_vx is None:
            raise ValueError("a channel needs a name, or an offset if it is an affinity")
        return self

    def as_channel(self) -> Channel:
        """Return the channel as the rest of the package has it."""
        offset = self.offset_zyx_vx
        return Channel(
            name=self.name or name_offset(offset or (0, 0, 0)),
            target=self.target or ("output" if offset is None else "affinity"),
            offset_zyx_vx=offset,
            activation=self.activation,
            binary=self.activation in ("sigmoid", "softmax"),
            axes=self.axes,
        )


class NormalisationConfig(Section):
    """How grey values become the network's input: (raw - mean) / std."""

    each: Literal["together", "each_volume"] = Field(
        "together", description="together = by mean and std; each_volume = by those of the volume at hand"
    )
    mean: float | None = Field(None, description="grey value that becomes 0; of a range, its lower end")
    std: PositiveFloat | None = Field(None, description="grey values that become 1; of a range, its width")
    dtype: Literal["uint8", "uint16", "int16", "float32"] | None = Field(
        None, description="of the volumes that it was trained on; null = not known"
    )
    range: tuple[Bound, Bound] | None = Field(
        None,
        description="smallest and largest grey value that it was trained on, so that volumes far beyond are refused; "
        "null = not known",
    )

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        """Reject what tells too little or too much."""
        told = (self.mean is not None, self.std is not None)
        if self.each == "together" and not all(told):
            raise ValueError("give mean and std (0 and 255 for uint8 that becomes 0 to 1), or each: each_volume")
        if self.each == "each_volume" and any(told):
            raise ValueError("each_volume measures mean and std of each volume: leave both out")
        if (self.range is None) != (self.dtype is None):
            raise ValueError("give dtype and range of the grey values trained on, or neither")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must go from the smallest grey value to the largest, got {list(self.range)}")
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint, as training does."""
        seen = {} if self.range is None else {"dtype": self.dtype, "range": list(self.range)}
        return {"mean": self.mean, "std": self.std, "each": self.each, **seen}


class NetworkDescription(Section):
    """What a network from elsewhere is: all that its file does not tell."""

    source: str = Field("", description="where it comes from; kept in the checkpoint")
    model: ModelConfig | None = Field(
        None,
        description="architecture and its settings, as in training presets, for a file of weights alone; not for "
        "TorchScript, exported programs and MONAI bundles, which bring their own",
    )
    prefix: str = Field("", description="what the names of weights begin with, such as `model.`; cut off")
    in_channels: PositiveInt | None = Field(None, description="channels of the volume; null = as the file tells, or 1")
    channels: tuple[ForeignChannel, ...] = Field((), description="channels of the output, in order")
    offsets_zyx_vx: tuple[Offset, ...] = Field(
        (), description="in place of channels, where all are affinities that end in logits: their offsets, in order"
    )
    edge_convention: Literal["source", "destination"] = Field(
        "source",
        description="at which voxel an affinity is stored: source = the one that the offset starts from; destination "
        "= the one that it leads to",
    )
    normalisation: NormalisationConfig = Field(description="how grey values become its input")
    voxel_size_zyx_nm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        description="of the volumes that it was trained on (z, y, x)"
    )
    window_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="the window that it was trained with (z, y, x); null = as the file tells"
    )
    fixed_window: bool = Field(
        False, description="whether it takes this window only; an exported program tells by itself"
    )
    divisor_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 1, 1), description="what the sides of a window must be multiples of (z, y, x); 16 for a U-Net of 5 levels"
    )
    dimensions: Literal[2, 3] | None = Field(
        None, description="2 = it takes images: sections (z) are given to it one by one; null = as the file tells, or 3"
    )
    output: int | str | None = Field(
        None,
        description="which of several outputs to take: a number from 0, or a key; null = the first, which must be the "
        "finest where there are several scales",
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Reject channels told twice, not at all, or under one name."""
        if bool(self.channels) == bool(self.offsets_zyx_vx):
            raise ValueError("give channels, or offsets_zyx_vx if all channels are affinities")
        names = [channel.name for channel in self.all_channels]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two channels are called {repeated[0]!r}")
        if (0, 0, 0) in [channel.offset_zyx_vx for channel in self.all_channels]:
            raise ValueError("an offset of 0, 0, 0 joins a voxel to itself: remove it")
        return self

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        """Reject a fixed window that nobody tells, and what an architecture of Connectomake tells by itself."""
        known = sorted(self.model_fields_set & {"fixed_window", "divisor_zyx_vx", "dimensions", "output"})
        if self.model is not None and known:
            raise ValueError(f"model tells {known[0]} by itself: leave it out")
        if self.fixed_window and self.window_zyx_vx is None:
            raise ValueError("fixed_window: true needs window_zyx_vx")
        return self

    @property
    def all_channels(self) -> list[Channel]:
        """The channels of the output."""
        if self.offsets_zyx_vx:
            return [Channel(name_offset(offset), "affinity", offset) for offset in self.offsets_zyx_vx]
        return [channel.as_channel() for channel in self.channels]
