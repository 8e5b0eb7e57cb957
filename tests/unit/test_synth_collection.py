"""Files of a collection, by class, learnt from or held out."""

import json

import pytest

from connectomake.config.settings.data import CollectionConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.synth.collection import list_files


def make(folder, **classes):
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:03d}.nii.gz").touch()
    return CollectionConfig(path=str(folder))


def held(files, name):
    return sorted(path.name for path, of, role in files if of == name and role == "hold")


@pytest.mark.parametrize(("count", "share", "expected"), [(2, 0.1, 1), (2, 0.9, 1), (20, 0.1, 2), (10, 0.25, 3)])
def test_a_share_of_each_class_is_held_out_and_at_least_one(tmp_path, count, share, expected):
    make(tmp_path, ct=count, mr=4)
    files = list_files(CollectionConfig(path=str(tmp_path), held_out=share))
    assert len(files) == count + 4
    assert len(held(files, "ct")) == expected


def test_which_are_held_out_goes_by_seed_and_name_alone(tmp_path):
    make(tmp_path / "a", ct=12)
    (tmp_path / "b" / "ct").mkdir(parents=True)
    for number in reversed(range(12)):  # another order on the disk
        (tmp_path / "b" / "ct" / f"{number:03d}.nii.gz").touch()
    drawn = [held(list_files(CollectionConfig(path=str(tmp_path / f))), "ct") for f in "ab"]
    assert drawn[0] == drawn[1]
    others = {tuple(held(list_files(CollectionConfig(path=str(tmp_path / "a"), seed=seed)), "ct")) for seed in range(8)}
    assert len(others) > 1


def test_a_json_file_names_folders_that_start_from_it(tmp_path):
    make(tmp_path / "data", ct=2, more=3, mr=2)
    (tmp_path / "data" / "ct.json").write_text(json.dumps({"CT": ["ct", str(tmp_path / "data" / "more")], "MR": "mr"}))
    files = list_files(CollectionConfig(path="ct.json"), folder=str(tmp_path / "data"))
    assert [name for _, name, _ in files] == ["CT"] * 5 + ["MR"] * 2


def test_a_file_that_two_folders_of_a_class_share_counts_once(tmp_path):
    make(tmp_path, ct=3)
    (tmp_path / "c.json").write_text('{"ct": ["ct", "./ct/../ct"]}')
    assert len(list_files(CollectionConfig(path=str(tmp_path / "c.json")))) == 3


def test_a_file_in_two_classes_is_refused(tmp_path):
    make(tmp_path, ct=3)
    (tmp_path / "c.json").write_text('{"a": "ct", "b": "ct"}')
    with pytest.raises(DataError, match=r"000.nii.gz belongs to two classes, 'a' and 'b'"):
        list_files(CollectionConfig(path=str(tmp_path / "c.json")))


@pytest.mark.parametrize("text", ["[]", "{}", '{"a": 1}', '{"a": []}', '{"a": [1]}'])
def test_a_json_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match="names no classes"):
        list_files(CollectionConfig(path=str(tmp_path / "c.json")))


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingDataError, match=r"no collection .*nowhere; correct collection.path"):
        list_files(CollectionConfig(path="nowhere"), folder=str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty is empty; expected a folder of files for each class"):
        list_files(CollectionConfig(path=str(tmp_path / "empty")))
    (tmp_path / "c.json").write_text('{"ct": "gone"}')
    with pytest.raises(MissingDataError, match=r"class 'ct' .* has no folder .*gone"):
        list_files(CollectionConfig(path=str(tmp_path / "c.json")))


def test_folders_without_such_files_and_single_files_are_refused(tmp_path):
    make(tmp_path, ct=1)
    with pytest.raises(DataError, match=r"'ct' .*single file.*one to hold out"):
        list_files(CollectionConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match=r"no files in .*ct; expected names like \*.tif; correct the folder"):
        list_files(CollectionConfig(path=str(tmp_path), pattern="*.tif"))
