"""Settings of the decode stage: how affinities become instances."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, create_model, model_validator

from connectomake.channels import ChannelName
from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.layers import merge, read_preset
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import DECODERS, find_idle_key
from connectomake.config.settings.decode_tune import Choices, TuneConfig, check_search
from connectomake.errors import ConfigError

Voxels = Annotated[int, Field(gt=0)]
_MOST_BLOCK_VX = 2**31
Own = TypeVar("Own", bound=Section)
if TYPE_CHECKING:
    DecoderName = str
else:
    DecoderName = Literal[tuple(DECODERS)]
_WHOLE = ("decode.whole",)
_IN_BLOCKS = ("decode.blocks.label", "decode.blocks.stitch", "decode.blocks.relabel")


class _Steps(Section):
    """The decoder, and the steps that follow it."""

    decoder: DecoderName = Field(
        "affinity_cc",
        description="how: " + "; ".join(f"{name} = {decoder.summary}" for name, decoder in DECODERS.items()),
    )
    threshold: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="affinity (0 to 1) above which, strictly, an edge joins two voxels",
    )
    min_size_vx: int = Field(
        0,
        ge=0,
        description="objects with fewer voxels than this are small; 0 and 1 keep every object",
    )
    remove_small: Literal["background", "neighbor", "none"] = Field(
        "background",
        description="small objects become background, join the kept object they share most voxel faces with, or stay",
    )
    fill: Literal["none", "grow", "watershed"] = Field(
        "none",
        description="for truth without background (touching neurons), give background voxels to objects: watershed = "
        "to the object at the end of the strongest affinity path; grow = objects grow in fill_distance_vx rounds, "
        "along strong edges first: nearly the watershed, and in blocks exactly the same as in the whole volume",
    )
    fill_floor: float = Field(
        0.0,
        ge=0,
        le=1,
        description="affinity (0 to 1) below which no edge carries the filling; 0 fills everything that can be reached",
    )
    fill_distance_vx: int = Field(
        0,
        ge=0,
        le=65535,
        description="the filling stops this many voxels, counted along its path, from the object; 0 = no limit "
        "(watershed only)",
    )


if TYPE_CHECKING:

    class _OfDecoders(_Steps):
        """... and a section for each decoder that has settings of its own, as `DecodeConfig.own` returns them."""

else:
    _OfDecoders = create_model(
        "_OfDecoders",
        __base__=_Steps,
        __module__=__name__,
        **{
            name: (
                decoder.settings,
                Field(default_factory=decoder.settings, description=f"settings of decoder: {name}"),
            )
            for name, decoder in DECODERS.items()
            if decoder.settings
        },
    )


class DecodeConfig(_OfDecoders):
    """Turn affinities into labels: cut weak edges, join what is left, drop crumbs, give their voxels away.

    The steps run in this order: the decoder; objects below `min_size_vx` are treated as `remove_small` says; `fill`
    gives the voxels without an object to the objects around them.
    """

    effort: ClassVar[frozenset[str]] = frozenset({"jobs", "mvoxel_per_job"})

    tune: TuneConfig | None = Field(
        None,
        description="choose settings by how well the validation volumes come out; null = use those that are given",
    )
    block_zyx_vx: tuple[Voxels, Voxels, Voxels] | None = Field(
        None,
        description="voxels decoded and written at once (z, y, x), for volumes larger than memory; sets the memory, "
        "not the labels; multiples of chunk_zyx_vx. null = the whole volume at once, in one job",
    )
    block_halo_vx: int = Field(
        0,
        ge=0,
        description="surroundings that decoders other than affinity_cc see of a block (voxels); objects are joined "
        "where two blocks agree, so that labels near faces may differ from those of the whole volume",
    )
    chunk_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (64, 64, 64), description="voxels read at once by whoever reads the labels (z, y, x)"
    )
    jobs: PositiveInt | Literal["auto"] = Field(
        1,
        description="jobs that the blocks of a volume are divided among (jobs); auto = as its size asks for: up to 500 "
        "of mvoxel_per_job, for larger volumes longer ones",
    )
    mvoxel_per_job: PositiveFloat = Field(
        10000.0,
        description="work of one job where jobs: auto (million voxels); 10000 are some minutes of affinity_cc; "
        "decoders that are ten times as slow want a tenth of it",
    )

    def own(self, settings: type[Own]) -> Own:
        """Return a decoder's own section, by its type."""
        return next(found for name in DECODERS if isinstance(found := getattr(self, name, None), settings))

    @property
    def decoder_modules(self) -> tuple[str, ...]:
        """Modules of the decoder that is named, and of those that tuning tries; see `provenance.code_of`."""
        tried = self.tune.search.get("decoder") if self.tune else None
        choices = tried.choices if isinstance(tried, Choices) else ()
        names = dict.fromkeys((self.decoder, *map(str, choices)))
        return tuple(DECODERS.module_of(name).removeprefix("connectomake.") for name in names)

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the labels depend on: the steps of decoding at once or in blocks, and `decoder_modules`."""
        return (*(_WHOLE if self.block_zyx_vx is None else _IN_BLOCKS), *self.decoder_modules)

    @property
    def block_memory_mb(self) -> int:
        """Memory of decoding in blocks (MB), estimated: this block, the next and the last, with what surrounds them."""
        halo_vx = max(self.block_halo_vx, self.fill_distance_vx * (self.fill != "none"))
        bytes_per_voxel = 24 + DECODERS[self.decoder].bytes_per_voxel
        return 500 + bytes_per_voxel * prod(side + 2 * halo_vx for side in self.block_zyx_vx or ()) // 10**6

    def choose_channels(self, channels: Sequence[ChannelName]) -> tuple[int, ...]:
        """Choose the channels that the decoder reads.

        Parameters
        ----------
        channels
            Those that there are.

        Returns
        -------
        tuple of int
            In the order that the decoder wants them in.

        Raises
        ------
        ConfigError
            One is missing.
        """
        decoder = DECODERS[self.decoder]
        found = decoder.find_channels(getattr(self, self.decoder, None), channels)
        if found is None:
            raise ConfigError(
                f"decode.decoder: {self.decoder} reads {decoder.reads}, which are not there",
                got=", ".join(channel.name for channel in channels) or "no channel",
                hint="train a network with these targets and store them (predict.channels), or take another decoder",
            )
        return found

    def with_best(self, best: Path | None) -> DecodeConfig:
        """Take over the settings that tuning chose.

        Parameters
        ----------
        best
            The file that tune_decoding wrote; None changes nothing.

        Raises
        ------
        ConfigError
            It is no such file, or its settings do not fit.
        """
        if best is None:
            return self
        values = merge(self.model_dump(exclude={"tune"}), read_preset(best))
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            raise explain(error, type(self), [Layer(str(best), values)]) from None

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        """Reject blocks that hold no whole number of chunks, or more voxels than a block's ids can count."""
        block = self.block_zyx_vx
        if block is None:
            if self.jobs != 1 or self.block_halo_vx:
                raise ValueError("jobs and block_halo_vx are nothing without blocks: set block_zyx_vx")
            return self
        if any(b % c for b, c in zip(block, self.chunk_zyx_vx, strict=True)):
            raise ValueError(f"block_zyx_vx {block} must be multiples of chunk_zyx_vx {self.chunk_zyx_vx}")
        if block[0] * block[1] * block[2] > _MOST_BLOCK_VX:
            raise ValueError(f"block_zyx_vx {block} holds more than {_MOST_BLOCK_VX} voxels")
        return self

    @model_validator(mode="after")
    def _check_decoder_works_in_blocks(self) -> Self:
        """Reject blocks where the labels would depend on them."""
        if self.block_zyx_vx is None:
            return self
        blocks = DECODERS[self.decoder].blocks
        if blocks == "no":
            raise ValueError(f"decoder {self.decoder} needs the whole volume: set block_zyx_vx: null")
        if (blocks == "exact") != (self.block_halo_vx == 0):
            needed = "joins blocks exactly: leave out" if self.block_halo_vx else "must see beyond its blocks: set"
            raise ValueError(f"decoder {self.decoder} {needed} block_halo_vx")
        if self.fill == "watershed":
            raise ValueError("fill: watershed needs the whole volume: set block_zyx_vx: null, or fill: grow")
        return self

    @model_validator(mode="after")
    def _check_settings_count(self) -> Self:
        """Reject settings that the decoder does not read."""
        decoder, idle = DECODERS[self.decoder], find_idle_key(self.decoder, self)
        if idle is not None:
            raise ValueError(f"decode.{idle} changes nothing: decoder is {self.decoder}")
        if self.tune is not None and self.tune.method == "thresholds" and "threshold" not in decoder.shared:
            raise ValueError(f"tune.method: thresholds tries decode.threshold, which {self.decoder} does not read")
        if decoder.check is not None:
            decoder.check(self)
        return self

    @model_validator(mode="after")
    def _check_filling(self) -> Self:
        """Reject growing in no round."""
        if self.fill == "grow" and self.fill_distance_vx == 0:
            raise ValueError("fill: grow needs its number of rounds: set fill_distance_vx, for instance to 32")
        return self

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        """Reject a search that leads to settings that there are not."""
        if self.tune is not None:
            try:
                check_search(self, self.tune.search)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self
