"""Where a crop's voxels lie: raw data and labels against a slow twin that knows nothing but positions in nm."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import small_tree as tree
import zarr

from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.files import read_json
from connectomake.ingest.crops.codes import read_codes
from connectomake.ingest.crops.ingest import ingest_crop
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.resample import corner_nm

Nm = tuple[float, float, float]
RNG = np.random.default_rng(11)
EM = RNG.integers(0, 256, (24, 26, 28), dtype=np.uint8)


@dataclass(frozen=True)
class Case:
    """A crop that begins `start` voxels of the finest images after their corner, and the levels it is read from."""

    em: Nm
    gt: Nm
    start: Nm
    shape: tuple[int, int, int]
    wanted: Nm
    em_level: int
    gt_level: int
    resampled: bool
    lacking: int = 0  # levels of the images that are not there


CASES = {
    "half": Case((4, 4, 4), (2, 2, 2), (3, 4, 5), (20, 18, 16), (4, 4, 4), 0, 1, False),
    "half, its own voxels": Case((4, 4, 4), (2, 2, 2), (3, 4, 5), (20, 18, 16), (2, 2, 2), 0, 0, True),
    "same": Case((4, 4, 4), (4, 4, 4), (3, 0, 5), (9, 10, 11), (4, 4, 4), 0, 0, False),
    "double": Case((4, 4, 4), (8, 8, 8), (4, 2, 6), (5, 6, 7), (8, 8, 8), 1, 0, False),
    "double, odd": Case((4, 4, 4), (8, 8, 8), (3, 2, 5), (5, 6, 7), (8, 8, 8), 0, 0, True),
    "double, odd, without the finest": Case((4, 4, 4), (8, 8, 8), (3, 2, 5), (5, 6, 7), (8, 8, 8), 1, 0, True, 1),
    "four times": Case((4, 4, 4), (16, 16, 16), (1, 4, 5), (4, 5, 3), (4, 4, 4), 0, 0, False),
    "four times, to double": Case((4, 4, 4), (16, 16, 16), (1, 4, 6), (4, 5, 3), (8, 8, 8), 0, 0, True),
    "flat": Case((3.48, 4, 4), (1.74, 2, 2), (3, 5, 4), (12, 14, 16), (3.48, 4, 4), 0, 1, False),
    "flat, half a voxel off": Case((3.48, 4, 4), (1.74, 2, 2), (3.5, 5, 4), (12, 14, 16), (3.48, 4, 4), 0, 1, True),
    "flat, to cubes": Case((3.48, 4, 4), (3.48, 4, 4), (3, 5, 1), (12, 14, 16), (8, 8, 8), 1, 1, True),
    "nearly that size": Case((3.9, 4.1, 4), (3.9, 4.1, 4), (3, 5, 1), (12, 14, 16), (4, 4, 4), 0, 0, False),
    "no whole factor": Case((3.24, 3.24, 3.24), (1.62, 1.62, 1.62), (3, 5, 1), (30, 30, 30), (8, 8, 8), 1, 2, True),
    "an odd end": Case((4, 4, 4), (2, 2, 2), (3, 4, 5), (19, 17, 15), (4, 4, 4), 0, 1, False),
    "a voxel larger than the crop": Case((4, 4, 4), (2, 2, 2), (2, 2, 2), (3, 3, 3), (16, 16, 16), 1, 1, True),
    "from its very corner": Case((4, 4, 4), (4, 4, 4), (0, 0, 0), (24, 26, 28), (8, 8, 8), 1, 1, False),
}


def write(folder: Path, case: Case, em_corner: Nm) -> tuple[CellmapConfig, VolumeSource, np.ndarray]:
    """Write the tree of a case."""
    em = tree.write_em(folder, "jrc_a", EM, case.em, em_corner)
    for level in range(case.lacking):
        (em / f"s{level}" / ".zarray").unlink()
    corner = np.add(em_corner, np.multiply(case.start, case.em))
    labels = RNG.choice(np.array([0, 1, 2, 255], np.uint8), case.shape)
    levels = 3 if min(case.shape) >= 12 else 2 if min(case.shape) >= 2 else 1
    crop = tree.write_class(folder, "jrc_a", "crop7", "mito", labels, case.gt, corner, levels=levels)
    cfg = CellmapConfig(tree=str(folder), voxel_size_zyx_nm=case.wanted, classes=("mito",))
    return cfg, VolumeSource(role="train", raw=str(em), labels=str(crop), crop="jrc_a/crop7"), corner


def weigh(count: int, size: float, corner: float, spans: list[tuple[float, float]], reach: tuple) -> np.ndarray:
    """Weigh the voxels of an axis for spans in nm, of those that a crop touches: by cover, or by nearness."""
    table = np.zeros((len(spans), count))
    for i, (low, high) in enumerate(spans):
        for j in range(count):
            first, last = corner + j * size, corner + (j + 1) * size
            if last <= reach[0] + 0.002 * size or first >= reach[1] - 0.002 * size:
                continue
            middle = (low + high) / 2
            larger = high - low > size * (1 + 1e-6)
            near = size - abs((first + last) / 2 - middle)
            table[i, j] = max(0.0, min(high, last) - max(low, first) if larger else near)
            table[i, j] *= table[i, j] > 1e-5
        if not table[i].any():  # beyond: the outermost voxel of those touched
            touched = [j for j in range(count) if corner + j * size < reach[1] and corner + (j + 1) * size > reach[0]]
            table[i, min(touched, key=lambda j: abs(corner + (j + 0.5) * size - (low + high) / 2))] = 1
    return table / table.sum(1, keepdims=True)


def expect_raw(values: np.ndarray, size: Nm, corner: Nm, at: Nm, extent: Nm, step: Nm) -> np.ndarray:
    """Lay voxels of a size over images from a corner on, one by one."""
    found = values.astype(np.float64)
    for a in range(3):
        spans = [(at[a] + i * step[a], at[a] + (i + 1) * step[a]) for i in range(ceil(extent[a] / step[a] - 1e-3))]
        table = weigh(values.shape[a], size[a], corner[a], spans, (at[a], at[a] + extent[a]))
        found = np.moveaxis(np.tensordot(table, found, (1, a)), 0, a)
    return found


def expect_states(values: np.ndarray, size: Nm, corner: Nm, step: Nm, shape: tuple) -> np.ndarray:
    """Return for each voxel from the same corner on what the label that holds its centre says."""
    found = np.full(shape, -1, np.int8)
    for index in np.ndindex(*shape):
        centre = [corner[a] + (index[a] + 0.5) * step[a] for a in range(3)]
        below = tuple(int(np.floor((centre[a] - corner[a]) / size[a] + 1e-5)) for a in range(3))
        if all(b < n for b, n in zip(below, values.shape, strict=True)):
            found[index] = {0: 0, 255: -1}.get(int(values[below]), 1)
    return found


@pytest.mark.parametrize("em_corner", [None, (1003.5, -77.0, 50000.25)], ids=["at 0", "elsewhere"])
@pytest.mark.parametrize("name", CASES)
def test_a_crop_lies_where_it_is_to_the_half_voxel(tmp_path: Path, name: str, em_corner: Nm | None) -> None:
    case = CASES[name]
    em_corner = em_corner or tuple(-s / 2 for s in case.em)
    cfg, source, corner = write(tmp_path, case, em_corner)
    volume_json = tmp_path / "out" / "volume.json"
    ingest_crop(source, cfg, name="jrc_a.crop7", volume_json=volume_json)
    said, raw, labels = (
        read_json(volume_json),
        IngestedVolume.read(volume_json).open_raw(),
        IngestedVolume.read(volume_json).open_labels(),
    )
    assert (said["crop"]["level"], said["crop"]["resampled"]) == (f"s{case.em_level}", case.resampled)
    assert (volume_json.with_name("raw.zarr") / "zarr.json").is_file() == case.resampled
    size = [s * 2**case.em_level for s in case.em]
    step = case.wanted if case.resampled else size
    assert raw.voxel_size_zyx_nm == pytest.approx(step)
    assert corner_nm(raw) == pytest.approx(corner)
    images = np.asarray(zarr.open_array(f"{source.raw}/s{case.em_level}", mode="r")[...])
    expected = expect_raw(images, size, em_corner, corner, np.multiply(case.shape, case.gt), step)
    assert raw.shape_zyx == labels.shape_zyx == expected.shape
    np.testing.assert_allclose(raw.read(), expected, atol=0.501 if case.resampled else 1e-9)
    truth = np.asarray(zarr.open_array(f"{source.labels}/mito/s{case.gt_level}", mode="r")[...])
    states = expect_states(truth, [s * 2**case.gt_level for s in case.gt], corner, step, expected.shape)
    codes = read_codes(IngestedVolume.read(volume_json))
    assert codes is not None
    np.testing.assert_array_equal(codes.states[labels.read().astype(int) - 1, 0], states)
    counts = {name: int((states == s).sum()) for name, s in (("present", 1), ("absent", 0), ("unknown", -1))}
    assert said["crop"]["voxels"] == {"mito": counts}
    assert said["crop"]["shape_zyx"] == list(case.shape)
    assert said["crop"]["offset_zyx_nm"] == pytest.approx(tree.offset_of(corner, case.gt))
