"""The table of examples, and how one is read."""

import dataclasses

import numpy as np
import pytest
from small_examples import blocks, grey, make_nifti, make_volumes, synth_settings

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.synth.distance import distance_map
from connectomake.synth.examples import Example as Piece
from connectomake.synth.examples import classes_of, read_example, read_labels, read_map, read_table, write_table

NM = (10.0, 10.0, 10.0)


def piece(source, **changes):
    known = Piece(
        "all_learn_00000", "v", "all", "learn", source, Box((0, 4, 0), (8, 12, 8)), (8, 8, 8), NM, (0.0, 255.0), "uint8"
    )
    return dataclasses.replace(known, **changes)


@pytest.fixture(scope="module")
def volume_json(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    make_volumes(folder, ("v", "train", grey(0), NM))
    return folder / "v" / "volume.json"


def test_a_table_comes_back_as_it_was(tmp_path, volume_json):
    odd = piece(
        volume_json, key="b_hold_00000", class_name="b", role="hold", volume='a "b", c', intensity=(0.1, 1e-3 + 1)
    )
    examples = [piece(volume_json), odd, piece(volume_json, voxel_size_zyx_nm=(40.0, 1 / 3, 4.0))]
    write_table(tmp_path / "examples.tsv", examples)
    assert read_table(tmp_path / "examples.tsv") == examples
    assert classes_of(examples) == ["all", "b"]


@pytest.mark.parametrize(
    ("column", "value"), [("role", "train"), ("shape_zyx_vx", "4,8,8"), ("intensity", "5,5"), ("dtype", "colour")]
)
def test_a_row_that_makes_no_sense_is_refused(tmp_path, volume_json, column, value):
    write_table(tmp_path / "t.tsv", [piece(volume_json)])
    header, row = (line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines())
    row[header.index(column)] = value
    (tmp_path / "t.tsv").write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
    with pytest.raises(DataError, match=r"t.tsv, row 1 .*run list_examples again"):
        read_table(tmp_path / "t.tsv")


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(MissingDataError, match=r"no table .*x.tsv"):
        read_table(tmp_path / "x.tsv")


def test_an_image_is_read_in_its_box(volume_json):
    found = read_example(piece(volume_json), synth_settings())
    assert found.shape == (1, 8, 8, 8)
    np.testing.assert_allclose(found[0], grey(0)[:8, 4:12, :8] / 127.5 - 1, atol=1e-6)


def test_joint_examples_have_the_map_of_their_labels_beside_it(volume_json):
    cfg = synth_settings(labels={"kind": "joint", "distance_nm": 30})
    found = read_example(piece(volume_json, box=Box((4, 0, 4), (12, 8, 12))), cfg)
    assert found.shape == (2, 8, 8, 8)
    np.testing.assert_array_equal(found[1], distance_map(blocks()[4:12, :8, 4:12], NM, 30))
    np.testing.assert_array_equal(found[1, :, 0], -1)


@pytest.mark.parametrize("side", [3, 5, 8])
def test_a_whole_volume_is_padded_by_reflection_at_its_ends(volume_json, side):
    example = piece(volume_json, box=Box((0, 0, 0), (side, 8, 8)))
    image, map_ = read_example(example, synth_settings())[0], read_map(example, synth_settings())[0]
    there_and_back = [*range(side), *range(side - 2, 0, -1)] * 3
    for found in (image, map_):
        assert found.shape == (8, 8, 8)
        np.testing.assert_array_equal(found, found[there_and_back[:8]])
    np.testing.assert_array_equal(read_labels(example), blocks()[:side, :8, :8])


def test_files_of_a_collection_are_read_in_z_y_x_and_have_no_labels(tmp_path):
    array = grey(1, (9, 12, 11))
    make_nifti(tmp_path / "a.nii.gz", array)
    example = piece(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_example(example, synth_settings())[0], array[:8, 4:12, :8] / 127.5 - 1, atol=1e-6)
    with pytest.raises(DataError, match="has no labels"):
        read_map(example, synth_settings())
