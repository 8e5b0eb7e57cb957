"""Crops of a challenge become volumes of a data config; what is not there, or does not suit, is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.cellmap.tree import labels_group, raw_group
from connectomake.config.engine.variant import Variant
from connectomake.config.engine.variants import load_run
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

CROPS = {"jrc_a": ("crop1", "crop2"), "jrc_b": ("crop10", "crop9")}
GRID = CropGrid((10, 10, 10), (8.0, 8.0, 8.0), (4.0, 4.0, 4.0))
CHALLENGE = {"voxel_size_zyx_nm": [8, 8, 8], "classes": ["mito", "nuc"]}
TRAIN = {"targets": {"affinity": None, "classes": {"named": ["mito"]}}, "losses": [{"loss": "bce"}]}
Load = Callable[..., Variant]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a project, a tree of empty crops beside it, and a manifest."""
    for name in [f"{stage}/default.yaml" for stage in STAGES if stage != "train"]:
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for dataset, crops in CROPS.items():
        raw_group(tmp_path / "tree", dataset).mkdir(parents=True)
        for crop in crops:
            labels_group(tmp_path / "tree", dataset, crop).mkdir(parents=True)
    raw_group(tmp_path / "tree", "jrc_c").mkdir(parents=True)
    write_manifest(tmp_path / "manifest.csv", [ManifestRow("crop30", "jrc_c", name, GRID) for name in ("mito", "er")])
    return tmp_path


@pytest.fixture
def load(root: Path) -> Load:
    """Return a function that loads an experiment whose data are those of the tree, with some settings changed."""

    def load_one(
        cellmap: dict[str, Any] | None = None, split: dict[str, Any] | None = None, **stages: dict[str, Any]
    ) -> Variant:
        data = {"folder": str(root), "cellmap": {"tree": "tree", **CHALLENGE, **(cellmap or {})}, "missing": "ask me"}
        written = {"data": data, "split": split or {"method": "classes"}, "train": TRAIN} | stages
        for stage, settings in written.items():
            path = root / "config" / stage / "mine.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(repr(settings).replace("None", "null"))
        (variant,) = load_run({"experiments": {"mine": dict.fromkeys(written, "mine")}}, root)
        return variant

    return load_one


def roles(variant: Variant) -> dict[str, str]:
    return {name: volume.role for name, volume in variant.settings["data"].volumes.items()}


def test_every_crop_of_the_tree_and_of_the_manifest_becomes_a_volume(load: Load, root: Path) -> None:
    variant = load({"manifest": "manifest.csv"})
    learnt = ["jrc_a.crop1", "jrc_a.crop2", "jrc_b.crop9", "jrc_b.crop10"]
    assert roles(variant) == dict.fromkeys(learnt, "train") | {"jrc_c.crop30": "predict"}
    assert variant.settings["data"].segmented == ["jrc_c.crop30"]
    crop = variant.settings["data"].volumes["jrc_b.crop9"]
    assert (crop.crop, crop.source) == ("jrc_b/crop9", "jrc_b")
    assert crop.labels == str(labels_group(root / "tree", "jrc_b", "crop9"))
    assert crop.raw == str(raw_group(root / "tree", "jrc_b"))


def test_crops_can_be_chosen_and_left_out(load: Load) -> None:
    assert list(roles(load({"datasets": ["jrc_a"]}))) == ["jrc_a.crop1", "jrc_a.crop2"]
    assert list(roles(load({"crops": ["crop2", "crop9"]}))) == ["jrc_a.crop2", "jrc_b.crop9"]
    assert list(roles(load({"skip_crops": ["crop1", "crop9", "crop10"]}))) == ["jrc_a.crop2"]


def test_the_ids_of_results_are_those_of_the_settings_not_of_the_crops(load: Load) -> None:
    variant = load()
    assert variant.ids["data"] == "mine"
    assert variant.chain("submit") == "mine/mine/mine/default/default"


def test_a_split_of_the_users_gives_the_roles(load: Load, root: Path) -> None:
    raw, crops = (
        raw_group(root / "tree", "jrc_a"),
        [labels_group(root / "tree", "jrc_a", c) for c in ("crop1", "crop2")],
    )
    (root / "mine.csv").write_text(f'"train","{raw}","{crops[0]}/[mito]"\n"validate","{raw}","{crops[1]}/[mito]"\n')
    assert roles(load({"datasplit": "mine.csv"})) == {"jrc_a.crop1": "train", "jrc_a.crop2": "validate"}


def test_a_row_of_a_split_that_leads_nowhere_is_named(load: Load, root: Path) -> None:
    (root / "mine.csv").write_text(f'# mine\n"train","{root}/nowhere","{root}/tree/[mito]"\n')
    with pytest.raises(ConfigError, match=r"mine.csv, row 2.*nowhere"):
        load({"datasplit": "mine.csv"})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cellmap": {"tree": "elsewhere"}}, "elsewhere.*ask me"),
        ({"cellmap": {"tree": "$NOWHERE/tree"}}, r"mine.yaml: cellmap: \$NOWHERE/tree names.*not set.*ask me"),
        ({"cellmap": {"datasets": ["jrc_d"]}}, "cellmap.datasets.*jrc_d"),
        ({"cellmap": {"crops": ["crop3"]}}, "cellmap.crops.*crop3"),
        ({"cellmap": {"crops": ["234"]}}, "as in crop234"),
        ({"cellmap": {"classes": ["mito", "mito"]}}, "mito.*twice"),
        ({"cellmap": {"manifest": "none.csv"}}, "no manifest.*none.csv"),
        ({"cellmap": {"generate": {"a": {"crops": {}}}}}, "generate"),
        ({"split": {"method": "role"}}, "split.method: classes.*got role"),
        ({"train": {"targets": {}}}, "learnt by class.*got affinity"),
        ({"train": TRAIN | {"targets": {"affinity": None, "classes": {"named": ["mitos"]}}}}, "mitos.*mito"),
        ({"submit": {"class_objects": {"nucs": {}}}}, "class_objects"),
        ({"submit": {"class_threshold": {"ecs": 0.3}}}, "class_threshold: 'ecs' is not in"),
        ({"submit": {"class_threshold": {"mito": 0.3}}}, "class_objects.mito.threshold"),
    ],
)
def test_what_cannot_be_meant_is_one_line(load: Load, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(**changed)
    assert "\n" not in str(caught.value)


def test_a_crop_is_not_both_learnt_from_and_submitted(load: Load, root: Path) -> None:
    write_manifest(root / "both.csv", [ManifestRow("crop1", "jrc_a", "mito", GRID)])
    with pytest.raises(ConfigError, match=r"jrc_a.crop1 is learnt from and submitted.*skip_crops"):
        load({"manifest": "both.csv"})


def test_classes_of_crops_need_crops(load: Load) -> None:
    data = {"volumes": {"one": {"raw": "a.h5::raw", "labels": "a.h5::labels", "role": "train"}}}
    with pytest.raises(ConfigError, match=r"has no crops of a challenge.*classes.labels"):
        load(data=data, split={"method": "slab"})
    with pytest.raises(ConfigError, match=r"expected split.method: role, slab or blocks"):
        load(data=data, train={})


@pytest.mark.parametrize(("key", "data"), [("submit.threshold", "plain"), ("decode.threshold", "crops")])
def test_a_change_of_a_stage_that_is_not_gone_through_is_refused(load: Load, root: Path, key: str, data: str) -> None:
    load()
    (root / "config/data/plain.yaml").write_text("volumes: {one: {raw: a.h5::raw, labels: a.h5::labels, role: train}}")
    mine = {"data": "mine", "split": "mine", "train": "mine"} if data == "crops" else {"data": "plain"}
    (root / "config/train/default.yaml").write_text("")
    with pytest.raises(ConfigError, match=rf"{key} changes nothing"):
        load_run({"experiments": {"one": mine | {"override": {key: 0.3}}}}, root)
