"""Every defect that is planted in a prediction is found and named, and a clean one gives no warning."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checked_phantom import BLOCK, NAMES, SHAPE, VOXEL_NM, as_bytes, finish, make_prediction, make_raw
from small_volume import write_description

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.predict.check.check_prediction import check_prediction, to_plain
from connectomake.predict.check.empty_blocks import find_empty_blocks
from connectomake.predict.check.finished import open_finished
from connectomake.predict.check.profiles import measure_profile
from connectomake.volumes.mask import Mask
from connectomake.volumes.region import Region
from connectomake.volumes.store import write_store

SCRIPTS = Path(__file__).parents[2] / "scripts"


def warn(prediction, **options) -> list[tuple[str, str]]:
    """Return the warnings of a prediction as (kind, text)."""
    return [(found["kind"], found["text"]) for found in check_prediction(prediction, **options)["warnings"]]


@pytest.fixture
def stored() -> np.ndarray:
    return as_bytes(make_prediction())


def test_a_clean_prediction_gives_no_warning(stored, caplog):
    found = check_prediction(finish(stored))
    assert found["warnings"] == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert found["looked_at"] == 1
    for seams, faces in zip(found["seams"].values(), (8, 6, 6), strict=True):
        assert (seams["faces"], seams["looked_at"]) == (faces, faces)
        assert max(seams["ratios"]) < 1.1
    assert found["crossing_zyx_vx"] == [16, 32, 32]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_numbers_are_those_of_numpy(stored):
    found = check_prediction(finish(stored))
    np.testing.assert_allclose(found["sections"]["mean"], stored.mean((2, 3)) / 255, rtol=1e-4)
    np.testing.assert_allclose(found["sections"]["saturated"], np.isin(stored, (0, 255)).mean((2, 3)), rtol=1e-4)
    for channel, values in zip(found["channels"], stored, strict=True):
        assert channel["mean"] == pytest.approx(values.mean() / 255, rel=1e-4)
        assert channel["lowest"] == pytest.approx((values == 0).mean(), rel=1e-4)
        assert channel["highest"] == pytest.approx((values == 255).mean(), rel=1e-4)
        assert sum(channel["histogram"]) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(("z", "gain", "shift"), [(20, 0.3, 0), (0, 0, 0), (40, 1, 60), (31, 0.2, 0), (32, 0.2, 0)])
def test_one_bad_section_is_named_and_is_no_seam(stored, z, gain, shift):
    stored[:3, z] = np.clip(stored[:3, z] * gain + shift, 0, 255)
    [(kind, text)] = warn(finish(stored))
    assert kind == "section"
    assert text.startswith(f"section z {z} is out of line")
    assert "affinity x+1" in text
    assert "affinity z+6" not in text


def test_bad_sections_side_by_side_are_one_warning(stored, caplog):
    stored[:, 20:24] //= 3
    found = check_prediction(finish(stored))
    [jump] = found["jumps"]
    assert (jump["first_z"], jump["last_z"]) == (20, 23)
    assert {channel["channel"] for channel in jump["channels"]} == set(NAMES[:3])  # the other is low anyway
    assert "sections z 20 to 23 are out of line" in caplog.text


def test_a_slow_drift_is_told_in_percent_and_is_no_seam(stored):
    faded = stored * np.linspace(1, 0.5, SHAPE[0])[:, None, None]
    found = check_prediction(finish(faded.astype(np.uint8)))
    assert [warning["kind"] for warning in found["warnings"]] == ["drift"]
    assert "affinity y+1 from 0.8" in found["warnings"][0]["text"]
    percent = {drift["channel"]: drift["percent"] for drift in found["drift"]}
    assert percent["affinity y+1"] == pytest.approx(-67, abs=5)  # of the middle: from 1 to 0.5 around 0.75


def test_edges_that_lead_out_of_the_volume_are_no_bad_sections(stored):
    stored[3, -6:] = 0
    stored[0, -1] = 0
    assert warn(finish(stored)) == []


def test_a_block_from_elsewhere_is_a_seam_at_its_faces(stored):
    box = finish(stored).blocks[5]
    part = stored[:, *box.slices]
    part += np.where(part < 230, 25, 0).astype(np.uint8)
    part[part > 200] -= 25
    found = check_prediction(finish(stored))
    assert {warning["kind"] for warning in found["warnings"]} == {"seam"}
    for axis, place in (("z", 16), ("y", 32), ("x", 32)):
        worst = found["seams"][axis]["worst"]
        assert 5 in worst["blocks"]
        assert worst["is_seam"]
        assert worst["at_vx"] == (place if axis != "z" else worst["at_vx"])


def test_seams_everywhere_are_found_though_each_is_faint(stored):
    prediction = finish(stored)
    for number, block in enumerate(prediction.blocks):
        stored[:, *block.slices] = np.clip(stored[:, *block.slices].astype(int) - 6 * (number % 2), 0, 255)
    [(kind, text)] = warn(prediction)
    assert kind == "seam"
    assert "along x" in text
    assert "over all 6 faces" in text
    assert "Was a part of the store made by something else" in text
    assert "the borders of windows show" in warn(finish(stored, blending="constant"))[0][1]


def test_thin_last_blocks_and_a_single_block_have_no_seams(stored):
    found = check_prediction(finish(stored, block_zyx_vx=[46, 64, 64]))
    assert (found["seams"]["z"]["faces"], found["seams"]["z"]["looked_at"], found["seams"]["z"]["worst"]) == (
        1,
        0,
        None,
    )
    assert found["seams"]["y"]["faces"] == 0
    assert found["warnings"] == []


def test_an_empty_block_is_named_once_and_is_no_seam(stored):
    stored[:, *finish(stored).blocks[7].slices] = 0
    found = check_prediction(finish(stored))
    assert found["empty_blocks"] == [{"block": 7, "box_zyx_vx": [[16, 32, 32], [32, 64, 64]]}]
    assert {warning["kind"] for warning in found["warnings"]} <= {"empty blocks", "section"}
    assert "1 of 12 blocks hold nothing but zeros" in found["warnings"][0]["text"]
    assert "block 7 (from [16, 32, 32] to [32, 64, 64])" in found["warnings"][0]["text"]


def test_a_block_with_a_single_value_is_not_empty(stored):
    prediction = finish(stored)
    stored[:, *prediction.blocks[7].slices] = 0
    stored[2, 16, 32, 63] = 1
    assert find_empty_blocks(prediction) == []


def test_zeros_over_constant_raw_or_outside_of_the_region_are_as_they_should_be(stored, tmp_path):
    raw, prediction = make_raw(), finish(stored)
    seventh = prediction.blocks[7]
    stored[:, *seventh.slices] = 0
    raw[seventh.slices] = 9
    assert find_empty_blocks(replace(prediction, raw=finish(stored, raw).raw)) == []
    crops = Region(Box.of_shape(SHAPE), crops=(Box((0, 0, 0), (20, 64, 20)), Box((20, 0, 0), (48, 20, 64))))
    assert find_empty_blocks(finish(stored, region=crops)) == []
    mask = np.ones(SHAPE, np.uint8)
    mask[seventh.slices] = 0
    masked = finish(stored, region=region_of_mask(tmp_path, mask))
    assert find_empty_blocks(masked) == []
    assert warn(masked) == []
    assert find_empty_blocks(prediction) == [7]


def region_of_mask(folder, mask) -> Region:
    write_store(folder / "mask.zarr", mask, voxel_size_zyx_nm=VOXEL_NM)
    return Region(
        Box.of_shape(mask.shape),
        stencil=Mask(str(folder / "mask.zarr"), "", VOXEL_NM, (0.0, 0.0, 0.0)),
        voxel_size_zyx_nm=VOXEL_NM,
    )


def test_only_what_was_wanted_counts(stored, tmp_path):
    mask = np.indices(SHAPE)[2] > 20
    stored[:, ~mask] = 0
    found = check_prediction(finish(stored, region=region_of_mask(tmp_path, mask.astype(np.uint8))))
    assert found["warnings"] == []
    np.testing.assert_allclose(found["sections"]["mean"], stored[..., 21:].mean((2, 3)) / 255, rtol=1e-4)
    assert found["channels"][0]["lowest"] == pytest.approx((stored[0, ..., 21:] == 0).mean(), abs=1e-5)


def test_sections_of_scattered_crops_are_not_compared(stored):
    crops = Box((0, 0, 0), (24, 64, 64)), Box((30, 0, 0), (36, 20, 20))
    stored[:, 30:36, :20, :20] //= 3
    stored[:, 24:30] = 0
    stored[:, 36:] = 0
    found = check_prediction(finish(stored, region=Region(Box.of_shape(SHAPE), crops=crops)))
    assert (found["jumps"], found["drift"]) == ([], [])
    assert found["sections"]["mean"][0][26] is None
    assert found["crossing_zyx_vx"] == [16, 32, 32]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "constant", "affinity z+1 is 0.502 everywhere"),
        (0, "nearly all the same", "99.996 % of affinity z+1 is the smallest value"),
        (255, "nearly all the same", "99.996 % of affinity z+1 is the largest value"),
    ],
)
def test_channels_that_say_nothing_are_named(stored, value, kind, text):
    stored[0] = 128 if value is None else value
    if value is not None:
        stored[0, ::24, ::33, ::33] = 128
    [(found, said)] = warn(finish(stored))
    assert found == kind
    assert said.startswith(text)


def test_a_rare_class_may_be_zero_nearly_everywhere(stored):
    stored[3] = 0
    stored[3, 20:23, 30:34, 30:34] = 255
    offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1], None]
    assert warn(finish(stored, offsets_zyx_vx=offsets)) == []


@pytest.mark.parametrize(("activation", "kinds"), [("sigmoid", ["saturated"] * 4), ("scaled_sigmoid", [])])
def test_saturation_is_a_matter_of_the_sigmoid(activation, kinds):
    stored = as_bytes(np.where(make_prediction() > 0.5, 1.0, 0.0))
    stored[:, :, ::5, ::5] = 128
    found = warn(finish(stored, activations=[activation] * 4))
    assert [kind for kind, _ in found] == kinds
    assert all("scaled_sigmoid" in text for _, text in found)


def test_float16_and_signed_values_are_read_as_they_are():
    values = make_prediction().astype(np.float16)
    values[1] = values[1] * 2 - 1
    values[2] *= 300
    activations = ["sigmoid", "tanh", "identity", "sigmoid"]
    found = check_prediction(finish(values, activations=activations))
    assert found["warnings"] == []
    means = [channel["mean"] for channel in found["channels"]]
    np.testing.assert_allclose(means, values.astype(float).mean((1, 2, 3)), rtol=1e-4)
    assert found["channels"][1]["range"] == [-1, 1]
    assert found["channels"][2]["range"] == pytest.approx([values[2].min(), values[2].max()], rel=1e-4)
    assert found["channels"][0]["lowest"] is None
    stored = as_bytes(make_prediction()[1:2])
    signed = check_prediction(finish(stored, activations=["tanh"]))["channels"][0]
    assert signed["mean"] == pytest.approx(stored.mean() / 127.5 - 1, rel=1e-3)


def test_overflow_of_float16_is_told():
    values = make_prediction().astype(np.float16)
    values[0, 0, 0, :8] = np.inf
    found = check_prediction(finish(values, activations=["identity"] * 4))
    assert found["warnings"][0]["kind"] == "not finite"
    json.dumps(found, allow_nan=False)


def test_of_a_large_prediction_a_fixed_part_is_looked_at_and_no_section_is_missed(stored):
    stored[:, 20] //= 4
    part = 5 * stored[:, :, :16, :16].nbytes
    prediction = finish(stored)
    found = check_prediction(prediction, part)
    assert found["looked_at"] == pytest.approx(5 / 16)
    assert [warning["text"][:14] for warning in found["warnings"]] == ["section z 20 i"]
    assert check_prediction(prediction, part) == found
    profile, share = measure_profile(prediction, 0)
    assert share == 4 / 16
    assert (profile.counts == 4 * 16 * 16).all()


def test_plain_data_has_no_infinities():
    assert to_plain({"a": (np.nan, np.float32(1.234567), np.int64(3), None, "x", True)}) == {
        "a": [None, 1.2346, 3, None, "x", True]
    }


@pytest.fixture
def run(tmp_path, stored) -> Path:
    """Write a volume, and a prediction of a part of it that begins at z 10, y 8, x 4."""
    raw = np.pad(make_raw(), ((10, 2), (8, 8), (4, 12)), mode="reflect")
    where = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": (0.0, 0.0, 0.0)}
    write_store(tmp_path / "raw.zarr", raw, **where)
    box = [[0, 0, 0], list(raw.shape)]
    description = {"name": "cells", "shape_zyx": list(raw.shape), "labels": None, **where}
    description["raw"] = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": "uint8"}
    write_description(tmp_path / "volume.json", description)
    offset = [a * size for a, size in zip((10, 8, 4), VOXEL_NM, strict=True)]
    attributes = {
        **finish(stored).described.plain,
        "voxel_size_zyx_nm": VOXEL_NM,
        "offset_zyx_nm": offset,
        "source": {"level": None, "resampled": False},
        "region": {"box_zyx_vx": [[10, 8, 4], [58, 72, 68]], "crops_zyx_vx": [], "mask": {"source": None}},
    }
    stored[:, *finish(stored).blocks[7].slices] = 0
    place = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": offset, "chunk_zyx": (16, 32, 32)}
    write_store(tmp_path / "affinities.zarr", stored, attributes=attributes, **place)
    return tmp_path


def test_positions_are_those_of_the_volume(run):
    prediction = open_finished(run / "volume.json", run / "affinities.zarr")
    found = check_prediction(prediction)
    assert found["empty_blocks"] == [{"block": 7, "box_zyx_vx": [[26, 40, 36], [42, 72, 68]]}]
    assert found["crossing_zyx_vx"] == [26, 40, 36]
    assert found["block_zyx_vx"] == list(BLOCK)
    np.testing.assert_array_equal(prediction.read_raw(Box.of_shape(SHAPE)), make_raw())


def test_raw_is_read_at_the_voxel_size_that_was_predicted(tmp_path, stored):
    where = {"voxel_size_zyx_nm": (16.0, 4.0, 4.0), "offset_zyx_nm": (0.0, 0.0, 0.0)}
    raw = make_raw().repeat(2, 1).repeat(2, 2)
    write_store(tmp_path / "raw.zarr", raw, **where)
    entry = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], list(raw.shape)], "dtype": "uint8"}
    description = {"name": "cells", "shape_zyx": list(raw.shape), "labels": None, "raw": entry, **where}
    write_description(tmp_path / "volume.json", description)
    place = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": (0.0, 2.0, 2.0)}
    told = {"source": {"level": None, "resampled": True}, **place}
    write_store(tmp_path / "affinities.zarr", stored, attributes={**finish(stored).described.plain, **told}, **place)
    prediction = open_finished(tmp_path / "volume.json", tmp_path / "affinities.zarr")
    assert prediction.raw.shape_zyx == SHAPE
    np.testing.assert_allclose(prediction.read_raw(Box.of_shape(SHAPE)), make_raw(), atol=1)
    assert warn(prediction) == []


def test_a_file_that_was_lost_is_found(run):
    [lost, *_] = sorted(path for path in (run / "affinities.zarr" / "s0" / "c").rglob("*") if path.is_file())
    lost.unlink()
    assert warn(open_finished(run / "volume.json", run / "affinities.zarr"))[0][0] in ("empty blocks", "constant")


def test_a_prediction_that_does_not_lie_in_the_volume_is_refused(run):
    path = run / "volume.json"
    description = json.loads(path.read_text())
    description["raw"]["box_zyx_vx"] = [[0, 0, 0], [40, 80, 80]]
    path.write_text(json.dumps(description))
    with pytest.raises(DataError, match=r"does not lie in the volume .* expected a box of .*48, 64, 64"):
        open_finished(path, run / "affinities.zarr")
    (run / "affinities.zarr" / "zarr.json").unlink()
    with pytest.raises(MissingDataError, match="is not finished"):
        open_finished(path, run / "affinities.zarr")


@pytest.mark.slow("starts a process that draws")
def test_the_script_writes_numbers_and_picture_without_torch(run):
    command = f"""
import sys, importlib
from pathlib import Path
sys.path.insert(0, {str(SCRIPTS)!r})
folder = Path({str(run)!r})
importlib.import_module("check_prediction").main(
    volume=folder / "volume.json", affinities=folder / "affinities.zarr" / "zarr.json",
    numbers=folder / "check.json", figure=folder / "check.png", title="default",
)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", command], check=True, timeout=300)
    assert (run / "check.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run / "check.json").read_text())["empty_blocks"][0]["block"] == 7
