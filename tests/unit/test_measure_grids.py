"""Segmentations of a part of a volume, or on other voxels, measured against the truth of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from array_volume import ArrayVolume

from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import TuneConfig
from connectomake.config.settings.measure import MeasureConfig
from connectomake.decode.whole import decode_store
from connectomake.draw.sources import open_layers
from connectomake.draw.volume.slices import read_rows
from connectomake.errors import DataError
from connectomake.geometry import Box, position_of, to_triple, voxel_at
from connectomake.ingest.ingest import ingest_volume
from connectomake.measure.segmentation import Measured, measure_segmentation
from connectomake.regions.wanted import find_wanted, mark_unknown
from connectomake.targets.affinity import affinities_of_labels
from connectomake.tune.decoding import tune_decoding
from connectomake.volumes.region import Region
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import read_attributes, write_store

SIZE, OFFSET = (20.0, 10.0, 10.0), (400.0, -30.0, 5.0)
SHAPE = (12, 18, 24)
CFG = MeasureConfig(voxel_metrics=("voi", "adapted_rand", "clefts"), block_vx=700)
UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True)
class Case:
    """Truth of fibres along z, a segmentation with errors, and both on disk."""

    folder: Path
    truth: np.ndarray
    labels: np.ndarray

    def ingest(self, truth: np.ndarray, box: Box | None = None) -> Path:
        """Ingest the volume with some truth, or a box of it."""
        place = self.folder / f"v{len(list(self.folder.iterdir()))}"
        write_store(place / "a.zarr", truth, voxel_size_zyx_nm=SIZE, offset_zyx_nm=OFFSET)
        raw = np.indices(SHAPE).sum(0).astype(np.uint8)
        write_store(place / "b.zarr", raw, voxel_size_zyx_nm=SIZE, offset_zyx_nm=OFFSET)
        cut = None if box is None else (box.start_zyx, box.stop_zyx)
        source = VolumeSource(role="validate", raw=str(place / "b.zarr"), labels=str(place / "a.zarr"), box_zyx_vx=cut)
        ingest_volume(source, name="fibres", volume_json=place / "volume.json")
        return place / "volume.json"

    def store(self, labels: np.ndarray, size: tuple = SIZE, offset: tuple = OFFSET, **attributes: object) -> Path:
        """Write labels or maps."""
        path = self.folder / f"s{len(list(self.folder.iterdir()))}.zarr"
        write_store(path, labels, voxel_size_zyx_nm=size, offset_zyx_nm=offset, attributes=attributes)
        return path

    def part(self, box: Box, **attributes: object) -> Path:
        """Write the labels of a box."""
        return self.store(self.labels[box.slices], offset=place_of(box), **attributes)


def place_of(box: Box) -> tuple:
    return tuple(position_of(np.array([box.start_zyx]), SIZE, OFFSET)[0].tolist())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    truth = np.zeros(SHAPE, np.uint32)
    labels = np.zeros(SHAPE, np.uint32)
    for k in range(3):
        truth[:, 2:16, 8 * k + 1 : 8 * k + 7] = k + 1
        labels[:, 3:16, 8 * k + 2 : 8 * k + 7] = 10 * (k + 1)
    labels[7:, :, :8][labels[7:, :, :8] == 10] = 11
    labels[:, 9:12, 8:24][labels[:, 9:12, 8:24] > 0] = 20
    return Case(tmp_path, truth, labels)


def skeletons_of(case: Case) -> Path:
    """Trace a line along z through each fibre."""
    voxel = np.array([[z, 10, 8 * k + 4] for k in range(3) for z in range(SHAPE[0])])
    first = np.array([i for i in range(len(voxel)) if voxel[i, 0] != SHAPE[0] - 1])
    ids = np.repeat([1, 2, 3], SHAPE[0])
    path = case.folder / "skeletons.npz"
    save_skeletons(path, Skeletons(np.stack([first, first + 1], axis=1), ids, position_of(voxel, SIZE, OFFSET)))
    return path


def numbers_of(found: Measured) -> dict:
    return {k: v for k, v in found.numbers.items() if k != "per_volume"}


def same_errors(a: Measured, b: Measured, *, places: bool) -> bool:
    """Compare kinds, ids and costs, and places in nm."""
    names = [n for n in a.errors if n[1:] != "_vx" and (places or n[1:] != "_nm")]
    return all(np.array_equal(a.errors[n], b.errors[n], equal_nan=n.startswith("lost")) for n in names)


BOX = Box((2, 1, 3), (11, 14, 20))


@pytest.mark.parametrize("with_skeletons", [False, True])
def test_a_part_is_measured_like_the_volume_cut_to_it(case: Case, with_skeletons: bool) -> None:
    skeletons = skeletons_of(case) if with_skeletons else None
    store = case.part(BOX)
    found = measure_segmentation(store, case.ingest(case.truth), skeletons, CFG, threads=2)
    cut = measure_segmentation(store, case.ingest(case.truth, BOX), skeletons, CFG)
    assert numbers_of(found) == numbers_of(cut)
    assert same_errors(found, cut, places=True)
    assert len(found.errors["kind"]) > 0
    voxel = voxel_at(np.stack([found.errors[f"{a}_nm"] for a in "zyx"], 1), SIZE, place_of(BOX))
    np.testing.assert_array_equal(np.stack([found.errors[f"{a}_vx"] for a in "zyx"], 1), voxel)
    assert found.numbers["per_volume"]["share"] == BOX.size / np.prod(SHAPE)
    assert cut.numbers["per_volume"]["share"] == 1


def test_what_reaches_out_of_the_volume_does_not_count(case: Case) -> None:
    wide = np.pad(case.labels, 3, constant_values=77)
    store = case.store(wide, offset=place_of(Box((-3, -3, -3), (0, 0, 0))))
    volume_json = case.ingest(case.truth)
    found = measure_segmentation(store, volume_json, None, CFG)
    assert numbers_of(found) == numbers_of(measure_segmentation(case.store(case.labels), volume_json, None, CFG))
    assert found.numbers["per_volume"]["share"] == 1


@pytest.mark.parametrize(
    ("size", "shift"),
    [((20.0, 20.0, 20.0), (0, 0, 0)), ((10.0, 5.0, 5.0), (0, 0, 0)), ((15.0, 12.0, 8.0), (30.0, -7.0, 40.0))],
)
def test_other_voxels_are_compared_on_those_of_the_truth(case: Case, size: tuple, shift: tuple) -> None:
    """The slow twin asks for the label under the centre of each truth voxel."""
    shape = tuple(int(n * s / t) for n, s, t in zip(SHAPE, SIZE, size, strict=True))
    offset = tuple(o - s / 2 + t / 2 + d for o, s, t, d in zip(OFFSET, SIZE, size, shift, strict=True))
    labels = np.random.default_rng(2).integers(0, 4, shape).astype(np.uint32)
    found = measure_segmentation(case.store(labels, size, offset), case.ingest(case.truth), None, CFG)
    voxel = voxel_at(position_of(np.argwhere(np.ones(SHAPE, bool)), SIZE, OFFSET), size, offset)
    inside = ((voxel >= 0) & (voxel < shape)).all(1)
    on_truth = np.zeros(SHAPE, np.uint32)
    on_truth.reshape(-1)[inside] = labels[tuple(voxel[inside].T)]
    unknown = np.where(inside.reshape(SHAPE), case.truth.astype(np.int64), -1)
    twin = measure_segmentation(case.store(on_truth), case.ingest(unknown), None, CFG)
    assert numbers_of(found) == numbers_of(twin)
    assert found.numbers["per_volume"]["share"] == inside.mean()


CROPS = (Box((1, 2, 2), (8, 12, 9)), Box((4, 6, 5), (11, 17, 23)))


def crops_in(box: Box) -> dict:
    place = {"voxel_size_zyx_nm": SIZE, "offset_zyx_nm": place_of(box)}
    return Region(box, CROPS, None, **place).as_settings()


def inside_crops() -> np.ndarray:
    inside = np.zeros(SHAPE, bool)
    for crop in CROPS:
        inside[crop.slices] = True
    return inside


@pytest.mark.parametrize("box", [Box.of_shape(SHAPE), Box((1, 2, 2), (11, 17, 23))])
def test_what_was_not_predicted_is_unknown(case: Case, box: Box) -> None:
    inside = inside_crops()
    labels = np.where(inside, case.labels, 0)
    store = case.store(labels[box.slices], offset=place_of(box), region=crops_in(box))
    unknown = np.where(inside, case.truth.astype(np.int64), -1)
    volume_json = case.ingest(case.truth)
    found = measure_segmentation(store, volume_json, None, CFG, threads=2)
    twin = measure_segmentation(case.store(labels), case.ingest(unknown), None, CFG)
    assert numbers_of(found) == numbers_of(twin)
    assert same_errors(found, twin, places=box == Box.of_shape(SHAPE))  # places are drawn from where voxels lie
    assert found.numbers["per_volume"]["share"] == inside.mean()
    along = measure_segmentation(store, volume_json, skeletons_of(case), CFG).numbers
    assert along["n_nodes"] == sum(inside[z, 10, 8 * k + 4] for k in range(3) for z in range(SHAPE[0]))
    assert along["n_nodes"] + along["n_nodes_outside"] == 3 * SHAPE[0]
    assert along["n_splits"] == (1 if inside[6:8, 10, 4].all() else 0)


def test_a_mask_of_other_voxels_says_what_was_predicted(case: Case) -> None:
    mask = np.zeros((3, 5, 6), np.uint8)
    mask[1:, :3, 2:] = 1
    size, offset = [80.0, 40.0, 40.0], [430.0, -15.0, 20.0]
    path = case.store(mask, tuple(size), tuple(offset))
    said = {"source": str(path), "fingerprint": "", "voxel_size_zyx_nm": size, "offset_zyx_nm": offset}
    region = {"box_zyx_vx": [[0, 0, 0], list(SHAPE)], "crops_zyx_vx": [], "mask": said}
    inside = mask.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(n) for n in SHAPE)] > 0
    found = measure_segmentation(case.store(case.labels, region=region), case.ingest(case.truth), None, CFG)
    unknown = case.ingest(np.where(inside, case.truth.astype(np.int64), -1))
    assert numbers_of(found) == numbers_of(measure_segmentation(case.store(case.labels), unknown, None, CFG))


def test_truth_is_left_alone_where_all_was_predicted(case: Case) -> None:
    store = ArrayVolume(case.labels, SIZE, OFFSET)
    truth = ArrayVolume(case.truth, SIZE, OFFSET)
    for region in (None, Region(Box.of_shape(SHAPE))):
        assert mark_unknown(truth, find_wanted(region, store)) is truth
    assert Segmentation.of_plain({"region": None}, "labels.zarr").region is None


@pytest.mark.parametrize(
    ("dtype", "signed"), [("uint8", "int16"), ("uint32", "int64"), ("uint64", "int64"), ("int32", "int32")]
)
def test_unknown_finds_room_in_every_type(dtype: str, signed: str) -> None:
    store = ArrayVolume(np.zeros(SHAPE, np.uint8), SIZE, OFFSET)
    wanted = find_wanted(Segmentation.of_plain({"region": crops_in(Box.of_shape(SHAPE))}, "labels.zarr").region, store)
    top = np.iinfo(dtype).max if dtype != "uint64" else 2**63 - 1
    truth = ArrayVolume(np.full(SHAPE, top, dtype), SIZE, OFFSET)
    found = mark_unknown(truth, wanted)
    assert found.dtype == found.read().dtype == signed
    np.testing.assert_array_equal(found.read(), np.where(inside_crops(), top, -1))
    truth.array[...] = np.iinfo(dtype).max
    if dtype == "uint64":
        with pytest.raises(DataError, match=r"no room for unknown.*expected labels below 2\*\*63"):
            found.read()


def maps_of(case: Case, box: Box, **attributes: object) -> Path:
    """Write affinities of a box: strong within fibres, weak between the first two."""
    values = affinities_of_labels(case.truth, UNITS)[0]
    values = np.rint(230 * values).astype(np.uint8)
    values[0, 6, :, :8] //= 2
    said = {"offsets_zyx_vx": UNITS, "edge_convention": "source", **attributes}
    return case.store(np.where(inside_crops(), values, 0)[(..., *box.slices)], offset=place_of(box), **said)


def test_the_region_reaches_the_labels(case: Case) -> None:
    box = Box((1, 2, 2), (11, 17, 23))
    region, source = crops_in(box), {"level": "s1", "resampled": False}
    store = maps_of(case, box, region=region, source=source)
    decode_store(store, case.folder / "labels.zarr", DecodeConfig())
    told = read_attributes(case.folder / "labels.zarr")
    assert (told["region"], told["source"]) == (region, source)
    decode_store(maps_of(case, box), case.folder / "others.zarr", DecodeConfig())
    assert not {"region", "source"} & read_attributes(case.folder / "others.zarr").keys()


@pytest.mark.parametrize("criterion", ["nerl", "voxel_voi_sum"])
def test_settings_are_tuned_on_what_was_predicted(case: Case, criterion: str) -> None:
    """The numbers of the best setting are those that measuring its labels gives."""
    box = Box((1, 2, 2), (11, 17, 23))
    store, volume_json = maps_of(case, box, region=crops_in(box)), case.ingest(case.truth)
    skeletons = skeletons_of(case).rename(volume_json.parent / "skeletons.npz")
    cfg = DecodeConfig(tune=TuneConfig(thresholds=(0.3, 0.6), criterion=criterion))
    tuned = tune_decoding([store], [volume_json], [skeletons], cfg, MeasureConfig())
    assert tuned.best == {"threshold": 0.3}
    decode_store(store, case.folder / "labels.zarr", cfg.model_copy(update={"threshold": 0.3}))
    found = measure_segmentation(case.folder / "labels.zarr", volume_json, skeletons, MeasureConfig()).numbers
    assert tuned.value == pytest.approx(found[criterion])
    assert found["per_volume"]["share"] == inside_crops().mean()


def test_pictures_show_no_truth_where_nothing_was_predicted(case: Case) -> None:
    volume_json = case.ingest(case.truth)
    store = case.store(case.labels, region=crops_in(Box.of_shape(SHAPE)))
    rows = read_rows(open_layers(volume_json, labels=store))
    middle = SHAPE[0] // 2
    np.testing.assert_array_equal(rows[0].truth > 0, ((case.truth > 0) & inside_crops())[middle])
    half = tuple(o + s / 2 for o, s in zip(OFFSET, SIZE, strict=True))
    coarse = case.store(case.labels[::2, ::2, ::2], tuple(2 * s for s in SIZE), half)
    rows = read_rows(open_layers(volume_json, labels=coarse))
    assert rows[0].labels.shape == rows[0].truth.shape
    assert rows[0].plane.box.shape_zyx[1:] == to_triple(SHAPE)[1:]
