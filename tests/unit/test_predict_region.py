"""What is wanted of a volume: boxes and crops in voxels or nm, and a mask of any voxel size."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_volume import write_description

from connectomake.config.settings.predict_regions import RegionConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.regions.choose import choose_region
from connectomake.regions.crop_table import EDGES, read_crops
from connectomake.volumes import mask as mask_module
from connectomake.volumes.contract import Record
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.mask import Mask
from connectomake.volumes.region import Region
from connectomake.volumes.scale import open_working
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

SHAPE, SIZE, OFFSET = (12, 20, 24), (20.0, 10.0, 10.0), (100.0, -40.0, 7.0)


@pytest.fixture
def volume(tmp_path):
    raw = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    write_store(tmp_path / "raw.zarr", raw, voxel_size_zyx_nm=SIZE, offset_zyx_nm=OFFSET)
    return open_volume(tmp_path / "raw.zarr")


def choose(volume, working=None, folder="", **keys):
    return choose_region(RegionConfig(**keys), volume, working or volume, name="left", folder=str(folder))


def write_mask(path, values, size=SIZE, offset=OFFSET):
    write_store(path, np.asarray(values), voxel_size_zyx_nm=size, offset_zyx_nm=offset)
    return str(path)


def look_up(values, size, offset, voxel, voxel_size, voxel_offset):
    """The mask at a voxel, by its definition: the nearest voxel of the mask, if it has one that reaches there."""
    index = []
    for n, s, o, i, vs, vo in zip(values.shape, size, offset, voxel, voxel_size, voxel_offset, strict=True):
        place = vo + i * vs
        near = int(np.argmin([abs(o + j * s - place) - 1e-9 * j for j in range(n)]))
        if abs(o + near * s - place) > s / 2:
            return False
        index.append(near)
    return bool(values[tuple(index)])


def test_the_whole_volume_by_default(volume):
    region = choose_region(None, volume, volume)
    assert region.box == Box.of_shape(SHAPE)
    assert region.is_box
    assert region.mask(region.box) is None
    assert (region.voxel_size_zyx_nm, region.offset_zyx_nm) == (SIZE, OFFSET)


def test_a_box_in_voxels_and_the_same_in_nm(volume):
    in_voxels = choose(volume, box_zyx_vx=((2, 3, 4), (8, 9, 20)))
    assert in_voxels.box == Box((2, 3, 4), (8, 9, 20))
    assert in_voxels.offset_zyx_nm == (140, -10, 47)
    # The voxels whose centres lie in it: a start at a centre takes it, a stop at one does not.
    assert choose(volume, box_zyx_nm=((140, -10, 47), (260, 50, 207))) == in_voxels
    assert choose(volume, box_zyx_nm=((120.1, -19.9, 37.1), (259, 49, 206))) == in_voxels


def test_a_box_is_carried_over_by_position(volume, tmp_path):
    """On voxels of twice the size, whose first centre lies half a fine voxel further."""
    coarse = [n // 2 for n in SHAPE]
    write_store(
        tmp_path / "coarse.zarr",
        np.zeros(coarse, np.uint8),
        voxel_size_zyx_nm=[2 * s for s in SIZE],
        offset_zyx_nm=[o + s / 2 for o, s in zip(OFFSET, SIZE, strict=True)],
    )
    region = choose(volume, open_volume(tmp_path / "coarse.zarr"), box_zyx_vx=((2, 4, 8), (8, 10, 20)))
    assert region.box == Box((1, 2, 4), (4, 5, 10))
    assert region.offset_zyx_nm == (100 + 10 + 40, -40 + 5 + 2 * 20, 7 + 5 + 4 * 20)


def test_a_box_on_resampled_voxels(volume, tmp_path):
    entry = {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], SHAPE], "dtype": "uint16"}
    described = {
        "name": "v",
        "shape_zyx": SHAPE,
        "voxel_size_zyx_nm": SIZE,
        "offset_zyx_nm": OFFSET,
        "raw": entry,
        "settings": {},
    }
    write_description(tmp_path / "volume.json", described)
    working = open_working(IngestedVolume.read(tmp_path / "volume.json"), None, (20.0, 20.0, 20.0))
    region = choose(volume, working, box_zyx_vx=((2, 4, 8), (8, 10, 20)))
    assert region.box == Box((2, 2, 4), (8, 5, 10))


def test_what_reaches_out_is_cut_and_what_lies_outside_refused(volume, caplog):
    with caplog.at_level(logging.WARNING):
        region = choose(volume, box_zyx_vx=((-3, 0, 0), (4, 99, 4)))
    assert region.box == Box((0, 0, 0), (4, 20, 4))
    assert "predict.regions.left.box_zyx_vx reaches out of the volume; it is cut to [0, 0, 0] to [4, 20, 4]" in (
        caplog.text
    )
    with pytest.raises(DataError, match=r"left\.box_zyx_vx does not lie in the volume; expected a part of \[0, 0, 0\]"):
        choose(volume, box_zyx_vx=((12, 0, 0), (14, 4, 4)))
    with pytest.raises(DataError, match=r"left\.crops_zyx_nm\[1\] does not lie in the volume.*90\.0.* to \[330\.0"):
        choose(volume, crops_zyx_nm=(((100, -40, 7), (200, 0, 50)), ((900, 0, 0), (950, 90, 90))))
    with pytest.raises(DataError, match="box_zyx_nm holds no centre of a voxel"):
        choose(volume, box_zyx_nm=((101, -39, 8), (119, -31, 16)))


def test_crops_have_a_hull_and_the_box_cuts_them(volume, caplog):
    crops = (((0, 0, 0), (2, 4, 4)), ((6, 8, 10), (8, 12, 20)), ((10, 18, 20), (12, 20, 24)))
    region = choose(volume, crops_zyx_vx=crops)
    assert region.box == Box((0, 0, 0), (12, 20, 24))
    wanted = region.mask(region.box)
    assert wanted.sum() == 2 * 4 * 4 + 2 * 4 * 10 + 2 * 2 * 4
    assert wanted[6:8, 8:12, 10:20].all()
    assert region.mask(Box((6, 8, 10), (8, 12, 20))) is None
    assert not region.touches(Box((2, 0, 0), (6, 20, 24)))
    with caplog.at_level(logging.WARNING):
        cut = choose(volume, crops_zyx_vx=crops, box_zyx_vx=((1, 0, 0), (7, 20, 24)))
    assert cut.crops == (Box((1, 0, 0), (2, 4, 4)), Box((6, 8, 10), (7, 12, 20)))
    assert cut.box == Box((1, 0, 0), (7, 12, 20))
    assert "1 of 3 crops lie outside of the box" in caplog.text
    with pytest.raises(DataError, match="none of the 3 crops lies in the box"):
        choose(volume, crops_zyx_vx=crops, box_zyx_vx=((2, 0, 0), (6, 20, 24)))


ROW = {"name": "a", "z_start": 100, "y_start": -40, "x_start": 7, "z_stop": 140, "y_stop": 0, "x_stop": 47}


def write_crops(path, *rows):
    names = list(rows[0]) if rows else ["name", *EDGES]
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_crops_from_a_table(volume, tmp_path):
    write_crops(tmp_path / "crops.tsv", {**ROW, "class": "mito"}, {**ROW, "name": "b", "z_stop": 121, "class": "er"})
    region = choose(volume, folder=tmp_path, crops_file="crops.tsv")
    assert region.crops == (Box((0, 0, 0), (2, 4, 4)), Box((0, 0, 0), (2, 4, 4)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{k: v for k, v in ROW.items() if k != "y_stop"}], r"no table of crops.*lacks columns: y_stop"),
        ([ROW, {**ROW, "name": "b", "z_stop": "ten"}], r"row 2 \(b\): z_stop is no position; .*got 'ten'"),
        ([{**ROW, "x_start": "nan"}], r"row 1 \(a\): x_start is no position"),
        ([ROW, {**ROW, "y_start": ""}], r"row 2 \(a\) has the name of row 1"),
        ([ROW, {**ROW, "name": "b", "y_start": ""}], r"row 2 \(b\): y_start is no position; .*got ''"),
        ([ROW, {**ROW, "name": " "}], "row 2 has no name"),
        ([{**ROW, "z_stop": 100}], r"row 1 \(a\) is empty"),
        ([], "holds no crops"),
    ],
)
def test_a_table_that_cannot_be_meant_names_the_row(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_crops(write_crops(tmp_path / "crops.tsv", *rows))


def test_a_crop_of_a_table_outside_names_the_row(volume, tmp_path):
    write_crops(tmp_path / "crops.tsv", ROW, {**ROW, "name": "far", "z_start": 1e6, "z_stop": 2e6})
    with pytest.raises(DataError, match=r"crops\.tsv, row 2 \(far\) does not lie in the volume"):
        choose(volume, folder=tmp_path, crops_file="crops.tsv")
    with pytest.raises(MissingDataError, match=r"no table .*none\.tsv"):
        choose(volume, folder=tmp_path, crops_file="none.tsv")


sizes = st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5])
boxes = st.tuples(*[st.tuples(st.integers(-3, 9), st.integers(1, 9)) for _ in range(3)]).map(
    lambda axes: Box(tuple(a for a, _ in axes), tuple(a + n for a, n in axes))
)


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.tuples(sizes, sizes, sizes),
    st.tuples(*[st.sampled_from([-4.0, 0.0, 0.3, 5.0])] * 3),
    st.lists(boxes, max_size=2),
    st.booleans(),
)
def test_masks_by_their_definition(tmp_path_factory, data, size, offset, crops, large):
    folder = tmp_path_factory.mktemp("mask")
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 2, shape).astype(np.uint8)
    source = write_mask(folder / "m.zarr", values, size, offset)
    whole, voxel_size, first = Box((1, 0, 2), (7, 6, 8)), (1.0, 1.5, 1.0), (0.25, 0.1, -2.05)
    kept = tuple(crop.intersect(whole) for crop in crops if crop.intersect(whole).size)
    region = Region(whole, kept, Mask(source, "", size, offset), voxel_size, first)
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(mask_module, "SMALL_VX", 0)
            patch.setattr(mask_module, "LARGEST_READ_VX", 8)
        asked = data.draw(boxes)
        found, touched = region.mask(asked), region.touches(asked)
    expected = np.zeros(asked.shape_zyx, bool)
    for index in np.ndindex(*expected.shape):
        voxel = np.add(index, asked.start_zyx)
        inside = [box.contains(Box(voxel, voxel + 1)) for box in (kept or (whole,))]
        if whole.contains(Box(voxel, voxel + 1)) and any(inside):
            expected[index] = look_up(values, size, offset, voxel - whole.start_zyx, voxel_size, first)
    if found is None:
        assert expected.all()
    else:
        np.testing.assert_array_equal(found, expected)
    assert touched == expected.any()


def test_a_coarse_mask_over_a_huge_volume_is_asked_at_once(tmp_path):
    values = np.zeros((10, 10, 10), np.uint8)
    values[5, 5, 5] = 1
    source = write_mask(tmp_path / "m.zarr", values, (1e6,) * 3, (0,) * 3)
    region = Region(Box.of_shape((100_000,) * 3), (), Mask(source, "", (1e6,) * 3, (0,) * 3), (100.0,) * 3, (0.0,) * 3)
    assert region.touches(region.box)
    assert region.touches(Box((54_990,) * 3, (55_010,) * 3))
    assert not region.touches(Box((55_000,) * 3, (100_000,) * 3))
    assert region.mask(Box((54_998,) * 3, (55_002,) * 3)).sum() == 8


def test_the_settings_hold_the_region(volume, tmp_path):
    write_mask(tmp_path / "m.zarr", np.ones((3, 5, 6), np.uint8), (80, 40, 40))
    region = choose(volume, folder=tmp_path, crops_zyx_vx=(((0, 1, 2), (3, 4, 5)),), mask="m.zarr")
    held = region.as_settings()
    found = Region.of_record(Record(json.loads(json.dumps(held)), "plan.json", "plan it again"))
    assert found.place_at(SIZE, region.offset_zyx_nm) == region
    assert held["mask"]["source"] == str(tmp_path / "m.zarr")


def test_a_mask_whose_file_is_silent_is_that_of_the_volume(volume, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "masks.h5", "w") as file:
        file["same"] = np.ones(SHAPE, bool)
        file["other"] = np.ones((3, 4, 5), bool)
        file["many"] = np.ones((2, *SHAPE), bool)
    region = choose(volume, folder=tmp_path, mask="masks.h5::same")
    assert (region.stencil.voxel_size_zyx_nm, region.stencil.offset_zyx_nm) == (SIZE, OFFSET)
    assert region.mask(region.box) is None
    with pytest.raises(DataError, match=r"does not say how large its voxels are.*the shape \(12, 20, 24\)"):
        choose(volume, folder=tmp_path, mask="masks.h5::other")
    with pytest.raises(DataError, match="has channels"):
        choose(volume, folder=tmp_path, mask="masks.h5::many")


def test_a_mask_that_wants_nothing_is_refused(volume, tmp_path):
    values = np.zeros(SHAPE, np.uint8)
    values[:, :, 12:] = 1
    write_mask(tmp_path / "half.zarr", values)
    write_mask(tmp_path / "far.zarr", values, offset=(1e5, 0, 0))
    with pytest.raises(DataError, match=r"left\.mask is 0 in all that is predicted"):
        choose(volume, folder=tmp_path, mask="half.zarr", box_zyx_vx=((0, 0, 0), (12, 20, 12)))
    with pytest.raises(DataError, match=r"left\.mask does not reach what is predicted.*got .*far\.zarr.*99990"):
        choose(volume, folder=tmp_path, mask="far.zarr")
    with pytest.raises(MissingDataError):
        choose(volume, folder=tmp_path, mask="none.zarr")


def test_another_mask_has_another_fingerprint(volume, tmp_path):
    prints = []
    for name, changed in (("a", ()), ("b", (5, 10, 12)), ("c", ())):
        values = np.ones(SHAPE, np.uint8)
        if changed:
            values[changed] = 0
        write_mask(tmp_path / f"{name}.zarr", values)
        prints.append(choose(volume, folder=tmp_path, mask=f"{name}.zarr").stencil.fingerprint)
    assert prints[0] == prints[2] != prints[1]
