"""Where the challenge's data lie: which folders are crops, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectomake.cellmap.tree import TreeCrop, labels_group, list_crops, raw_group
from connectomake.errors import MissingDataError


def test_groups_lie_as_in_the_challenge(tmp_path: Path) -> None:
    inside = tmp_path / "jrc_a" / "jrc_a.zarr" / "recon-1"
    assert raw_group(tmp_path, "jrc_a") == inside / "em" / "fibsem-uint8"
    assert labels_group(tmp_path, "jrc_a", "crop7") == inside / "labels" / "groundtruth" / "crop7"


def test_crops_are_listed_by_dataset_and_number(tmp_path: Path) -> None:
    for dataset, crop in (("jrc_b", "crop1"), ("jrc_a", "crop10"), ("jrc_a", "crop9"), ("jrc_a", "notes")):
        labels_group(tmp_path, dataset, crop).mkdir(parents=True)
    labels_group(tmp_path, "jrc_a", "crop8").touch()
    raw_group(tmp_path, "jrc_c").mkdir(parents=True)
    (tmp_path / "README").touch()
    found = list_crops(tmp_path)
    assert [(crop.dataset, crop.crop) for crop in found] == [
        ("jrc_a", "crop9"),
        ("jrc_a", "crop10"),
        ("jrc_b", "crop1"),
    ]
    raw, labels = raw_group(tmp_path, "jrc_b"), labels_group(tmp_path, "jrc_b", "crop1")
    assert found[-1] == TreeCrop("jrc_b", "crop1", str(raw), str(labels))


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_tree_without_crops_says_what_is_expected(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match=r"no crops in .*; expected .*DATASET\.zarr.*cropN; .*csc fetch-data"):
        list_crops(tmp_path / folder)
