"""Settings of the decode stage: how affinities become instances."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from connectomake.channels import ChannelName
from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.layers import merge, read_preset
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import (
    OWN_BYTES_PER_VOXEL,
    READS,
    SHARED,
    FlowDecoderConfig,
    MutexWatershedConfig,
    SeededWatershedConfig,
    SemanticConfig,
    WaterzConfig,
    find_idle_key,
)
from connectomake.config.settings.decode_tune import Choices, TuneConfig, check_search
from connectomake.errors import ConfigError

Voxels = Annotated[int, Field(gt=0)]
_MOST_BLOCK_VX = 2**31
_WHOLE = ("decode.whole",)
_IN_BLOCKS = ("decode.blocks.label", "decode.blocks.stitch", "decode.blocks.relabel")


class DecodeConfig(Section):
    """Turn affinities into labels: cut weak edges, join what is left, drop crumbs, give their voxels away.

    The steps run in this order: the decoder; objects below `min_size_vx` are treated as `remove_small` says; `fill`
    gives the voxels without an object to the objects around them.
    """

    effort: ClassVar[frozenset[str]] = frozenset({"jobs", "mvoxel_per_job"})

    decoder: Literal["affinity_cc", "mutex_watershed", "waterz", "seeded_watershed", "flow", "semantic"] = Field(
        "affinity_cc",
        description="how: affinity_cc = connected components of the edges to the nearest voxels (in blocks too); "
        "mutex_watershed = long-range affinities decide what must stay apart (package mwatershed); waterz = watershed "
        "and agglomeration (package waterz); seeded_watershed = on foreground, contour and distance maps; flow = along "
        "the flows to the middle of objects; semantic = classes of voxels, and their components",
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
    mutex_watershed: MutexWatershedConfig = Field(
        default_factory=MutexWatershedConfig, description="settings of decoder: mutex_watershed"
    )
    waterz: WaterzConfig = Field(default_factory=WaterzConfig, description="settings of decoder: waterz")
    seeded_watershed: SeededWatershedConfig = Field(
        default_factory=SeededWatershedConfig, description="settings of decoder: seeded_watershed"
    )
    flow: FlowDecoderConfig = Field(default_factory=FlowDecoderConfig, description="settings of decoder: flow")
    semantic: SemanticConfig = Field(default_factory=SemanticConfig, description="settings of decoder: semantic")
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

    @property
    def decoder_modules(self) -> tuple[str, ...]:
        """Modules of the decoder that is named, and of those that tuning tries; see `provenance.code_of`."""
        tried = self.tune.search.get("decoder") if self.tune else None
        choices = tried.choices if isinstance(tried, Choices) else ()
        return tuple(f"decode.decoders.{name}" for name in dict.fromkeys((self.decoder, *choices)))

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the labels depend on: the steps of decoding at once or in blocks, and `decoder_modules`."""
        return (*(_WHOLE if self.block_zyx_vx is None else _IN_BLOCKS), *self.decoder_modules)

    @property
    def block_memory_mb(self) -> int:
        """Memory of decoding in blocks (MB), estimated: this block, the next and the last, with what surrounds them."""
        halo_vx = max(self.block_halo_vx, self.fill_distance_vx * (self.fill != "none"))
        bytes_per_voxel = 24 + OWN_BYTES_PER_VOXEL.get(self.decoder, 0)
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
        needed, find = READS[self.decoder]
        found = find(getattr(self, self.decoder, None), channels)
        if found is None:
            raise ConfigError(
                f"decode.decoder: {self.decoder} reads {needed}, which are not there",
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
        if self.decoder == "semantic":
            raise ValueError("decoder semantic needs the whole volume: set block_zyx_vx: null")
        if (self.decoder == "affinity_cc") != (self.block_halo_vx == 0):
            needed = "joins blocks exactly: leave out" if self.block_halo_vx else "must see beyond its blocks: set"
            raise ValueError(f"decoder {self.decoder} {needed} block_halo_vx")
        if self.fill == "watershed":
            raise ValueError("fill: watershed needs the whole volume: set block_zyx_vx: null, or fill: grow")
        return self

    @model_validator(mode="after")
    def _check_settings_count(self) -> Self:
        """Reject settings that the decoder does not read."""
        idle = find_idle_key(self.decoder, self)
        if idle is not None:
            raise ValueError(f"decode.{idle} changes nothing: decoder is {self.decoder}")
        if self.tune is not None and self.tune.method == "thresholds" and "threshold" not in SHARED[self.decoder]:
            raise ValueError(f"tune.method: thresholds tries decode.threshold, which {self.decoder} does not read")
        if self.decoder == "semantic":
            if self.min_size_vx > 1 and not self.semantic.instances:
                raise ValueError("decode.min_size_vx changes nothing: semantic.instances names no class")
            if self.remove_small == "neighbor":
                raise ValueError("remove_small: neighbor would join objects of different classes: use background, none")
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
