"""plan.json: what all jobs of a prediction follow, read and written here alone.

Its settings are what the ledger of the store holds and, in the end, what the store says of itself (`Prediction`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectomake.channels import Channel
from connectomake.config.settings.predict import TtaConfig
from connectomake.files import write_json
from connectomake.geometry import BlockGrid, Triple, TripleNm
from connectomake.predict.network.members import read_channel
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid
from connectomake.volumes.contract import Record, mark_version, read_record
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction, WorkingLevel
from connectomake.volumes.prediction_needs import AGAIN, PLAN_VERSION, PredictionNeeds
from connectomake.volumes.region import Region
from connectomake.volumes.scale import open_working
from connectomake.volumes.volume import Readable


@dataclass(frozen=True)
class PredictionSettings:
    """All that decides what a prediction holds.

    Parameters
    ----------
    prediction
        What its store will say of itself.
    fingerprint
        What tells the voxels of the volume apart.
    shape_zyx
        Of the whole working volume, of which the region is a part.
    voxel_size_zyx_nm, offset_zyx_nm
        Of the store, in nm.
    checkpoint_hash
        Of the network, or of several.
    window_zyx_vx, overlap, margin_zyx_vx
        See `WindowGrid`.
    block_zyx_vx, chunk_zyx_vx
        What a job writes as one, and what is read as one.
    precision, compile
        How networks compute.
    tta
        Test-time augmentation.
    dtype
        Type of the values on disk.
    """

    prediction: Prediction
    fingerprint: str
    shape_zyx: Triple
    region: Region
    level: WorkingLevel
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    checkpoint_hash: str
    window_zyx_vx: Triple
    overlap: float
    margin_zyx_vx: Triple
    block_zyx_vx: Triple
    chunk_zyx_vx: Triple
    precision: str
    compile: str
    tta: TtaConfig
    dtype: str

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any], source: str) -> PredictionSettings:
        """Make settings of plain data.

        Raises
        ------
        DataError
            One is missing, or is not what it should be.
        """
        return cls.of_record(Record(plain, source, AGAIN))

    @classmethod
    def of_record(cls, record: Record) -> PredictionSettings:
        """Take the settings out of a plan."""
        prediction = Prediction.of_record(record)
        volume, size, offset = record.section("volume"), *map(record.triple_nm, ("voxel_size_zyx_nm", "offset_zyx_nm"))
        region = Region.of_record(record.section("region"))
        return cls(
            prediction=prediction,
            fingerprint=volume.text("fingerprint"),
            shape_zyx=volume.triple("shape_zyx"),
            region=region.place_at(size, offset),
            level=WorkingLevel.of_record(record.section("source")),
            voxel_size_zyx_nm=size,
            offset_zyx_nm=offset,
            checkpoint_hash=record.text("checkpoint_hash"),
            window_zyx_vx=record.triple("window_zyx_vx"),
            overlap=record.number("overlap"),
            margin_zyx_vx=record.triple("margin_zyx_vx"),
            block_zyx_vx=record.triple("block_zyx_vx"),
            chunk_zyx_vx=record.triple("chunk_zyx_vx"),
            precision=record.text("precision"),
            compile=record.text("compile"),
            tta=_read_tta(record),
            dtype=record.text("dtype"),
        )

    def with_blocks(self, block_zyx_vx: Sequence[int]) -> PredictionSettings:
        """Return the same in other blocks."""
        plain = {**self.prediction.plain, "block_zyx_vx": list(block_zyx_vx)}
        return PredictionSettings.of_plain(plain, self.prediction.source)

    def as_plain(self) -> dict[str, Any]:
        """Return plain data, as the plan and the ledger hold them."""
        return dict(self.prediction.plain)


@dataclass(frozen=True)
class Plan:
    """What is computed for one volume: the same in every job.

    Parameters
    ----------
    windows
        The grid of windows, on the whole working volume (the level that is read, or the resampled one).
    region
        What is wanted of it; ``region.box`` is what the store covers.
    blocks
        The grid of blocks on ``region.box``: block b covers ``blocks[b].shift(region.box.start_zyx)`` of the volume.
    recipes
        From raw values to probabilities, or what else the channels hold: one per checkpoint.
    settings
        All that decides the result.
    needs
        What it takes.
    """

    windows: WindowGrid
    region: Region
    blocks: BlockGrid
    recipes: tuple[Recipe, ...]
    settings: PredictionSettings
    needs: PredictionNeeds

    @classmethod
    def of_settings(
        cls, settings: PredictionSettings, recipes: Sequence[Recipe], needs: PredictionNeeds | None = None
    ) -> Plan:
        """Lay the grids that the settings name."""
        return cls(
            windows=WindowGrid(settings.shape_zyx, settings.window_zyx_vx, settings.overlap, settings.margin_zyx_vx),
            region=settings.region,
            blocks=BlockGrid(settings.region.box.shape_zyx, settings.block_zyx_vx),
            recipes=tuple(recipes),
            settings=settings,
            needs=needs or PredictionNeeds(),
        )

    def open(self, volume: IngestedVolume) -> Readable:
        """Open the working volume, on which the windows lie.

        Raises
        ------
        MissingDataError
            The file of the volume was moved since it was ingested.
        """
        level = self.settings.level
        return open_working(volume, level.name, self.region.voxel_size_zyx_nm if level.is_resampled else None)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, whole or not at all: what every job of the prediction follows."""
    recipes = [asdict(recipe) for recipe in plan.recipes]
    content = {"needs": plan.needs.as_plain(), "settings": plan.settings.as_plain(), "recipes": recipes}
    write_json(path, mark_version(content, PLAN_VERSION))


def read_plan(path: Path) -> Plan:
    """Read what `write_plan` wrote.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is no plan, is of a version that is not known, or lacks something; the line says what.
    """
    record = read_record(path, PLAN_VERSION, AGAIN)
    recipes = [_read_recipe(recipe) for recipe in record.sections("recipes")]
    settings = PredictionSettings.of_record(record.section("settings"))
    return Plan.of_settings(settings, recipes, PredictionNeeds.of_record(record.section("needs")))


def _read_tta(record: Record) -> TtaConfig:
    try:
        return TtaConfig.model_validate(record.section("tta").values)
    except ValidationError as error:
        raise record.wrong("tta", "the settings of test-time augmentation") from error


def _read_recipe(record: Record) -> Recipe:
    return Recipe(
        mean=record.number("mean"),
        std=record.number("std"),
        channels=record.wholes("channels"),
        activation=record.text("activation"),
        blending=record.text("blending"),
        outputs=tuple(_read_output(output) for output in record.sections("outputs")),
        dtype=record.optional(record.text, "dtype") or "uint8",
    )


def _read_output(record: Record) -> Channel:
    for key in ("name", "activation"):
        record.text(key)
    return read_channel(record.values)
