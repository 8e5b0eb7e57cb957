"""Trees that are damaged, foreign or half downloaded: what is wrong is named, and what can be read is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import small_tree as tree
import zarr

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json
from connectomake.ingest.checks import check_source
from connectomake.ingest.crops.ingest import ingest_crop
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.scale import list_levels

RNG = np.random.default_rng(4)
EM = RNG.integers(0, 256, (40, 40, 40), dtype=np.uint8)
LABELS = RNG.choice(np.array([0, 1, 255], np.uint8), (10, 10, 10))
SIZE = (4.0, 4.0, 4.0)
GRID = CropGrid((20, 20, 20), SIZE, (16.0, 16.0, 16.0))


class Challenge:
    """A tree of one dataset, of 4, 8 and 16 nm, and one crop of 8 nm from voxel 4 of the finest level on."""

    def __init__(self, folder: Path, size: tuple = SIZE, gt: tuple = (8, 8, 8), corner: tuple = (14, 14, 14)) -> None:
        self.folder = folder
        self.em = tree.write_em(folder, "jrc_a", EM, size)
        self.crop = tree.write_class(folder, "jrc_a", "crop7", "mito", LABELS, gt, corner, levels=2)
        self.volume_json = folder / "out" / "volume.json"

    def ingest(
        self, wanted: tuple[float, ...] = (8, 8, 8), classes: tuple[str, ...] = ("mito",), **options: Any
    ) -> dict:
        role = options.pop("role", "train")
        labels = str(self.crop) if role == "train" else None
        crop = options.pop("crop", "jrc_a/crop7")
        source = VolumeSource(role=role, raw=str(self.em), labels=labels, crop=crop)
        cfg = CellmapConfig(tree=str(self.folder), voxel_size_zyx_nm=wanted, classes=classes)
        ingest_crop(source, cfg, name="jrc_a.crop7", volume_json=self.volume_json, **options)
        return read_json(self.volume_json)


@pytest.fixture
def challenge(tmp_path: Path) -> Challenge:
    return Challenge(tmp_path)


def datasets_of(attributes: dict) -> list[dict]:
    return attributes["multiscales"][0]["datasets"]


def drop_translations(attributes: dict) -> None:
    for level in datasets_of(attributes):
        level["coordinateTransformations"] = level["coordinateTransformations"][:1]


def translate_whole(attributes: dict) -> None:
    drop_translations(attributes)
    attributes["multiscales"][0]["coordinateTransformations"] = [{"type": "translation", "translation": [14.0] * 3}]


def put_translations_first(attributes: dict) -> None:
    for level in datasets_of(attributes):
        level["coordinateTransformations"].reverse()


def scale_whole(attributes: dict) -> None:
    attributes["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}]


def keep_finest_translation(attributes: dict) -> None:
    for level in datasets_of(attributes)[1:]:
        level["coordinateTransformations"].pop()


@pytest.mark.parametrize("change", [drop_translations, put_translations_first, keep_finest_translation])
def test_images_lie_where_they_lay(challenge: Challenge, change: Any) -> None:
    """Without translations the first voxel lies at 0, and all levels have one corner."""
    expected = challenge.ingest()["raw"]
    tree.edit(challenge.em, change)
    assert challenge.ingest()["raw"] == expected
    assert expected["box_zyx_vx"] == [[2, 2, 2], [12, 12, 12]]


def test_transformations_of_the_whole_image_count(challenge: Challenge) -> None:
    tree.edit(challenge.em, translate_whole)  # the first voxel of s0 at 14: its corner at 12, that of the crop at 14
    assert challenge.ingest(wanted=SIZE)["crop"]["resampled"]
    tree.edit(
        challenge.em, lambda a: a["multiscales"][0]["coordinateTransformations"][0].update(translation=[16.0] * 3)
    )
    said = challenge.ingest(wanted=SIZE)
    assert (said["raw"]["box_zyx_vx"][0], said["crop"]["resampled"]) == ([0, 0, 0], False)
    tree.edit(challenge.em, scale_whole)  # voxels of 8, 16 and 32 nm
    assert challenge.ingest(wanted=(16, 16, 16))["crop"]["level"] == "s1"


@pytest.mark.parametrize("part", ["crop", "em"])
def test_axes_in_another_order_are_put_in_order(challenge: Challenge, part: str) -> None:
    challenge.ingest()
    expected = (
        IngestedVolume.read(challenge.volume_json).open_raw().read(),
        IngestedVolume.read(challenge.volume_json).open_labels().read(),
    )
    group = challenge.em if part == "em" else challenge.crop / "mito"
    tree.edit(group, lambda a: a["multiscales"][0]["axes"].reverse())
    for level in datasets_of(read_json(group / ".zattrs")):
        array = zarr.open_array(group / level["path"], mode="r+")
        array[...] = np.asarray(array[...]).transpose()
    challenge.ingest()
    np.testing.assert_array_equal(IngestedVolume.read(challenge.volume_json).open_raw().read(), expected[0])
    np.testing.assert_array_equal(IngestedVolume.read(challenge.volume_json).open_labels().read(), expected[1])


def unname(attributes: dict) -> None:
    for axis, name in zip(attributes["multiscales"][0]["axes"], ("a", "b", "c"), strict=True):
        axis["name"] = name


def make_zarr3(group: Path) -> None:
    shutil.rmtree(group)
    zarr.create_group(group, zarr_format=3)


def make_array(group: Path) -> None:
    shutil.rmtree(group)
    zarr.create_array(group, shape=(4, 4, 4), chunks=(4, 4, 4), dtype="uint8", zarr_format=2)


CHANGES = {
    "axes without names": (unname, "does not say which axis is z, y and x"),
    "no axes": (lambda a: a["multiscales"][0].pop("axes"), "does not say which axis is z, y and x; got axes None"),
    "no unit": (lambda a: a["multiscales"][0]["axes"][1].pop("unit"), "does not say how large the voxels of s0 are"),
    "no scale": (lambda a: datasets_of(a)[0]["coordinateTransformations"].pop(0), "how large the voxels of s0"),
    "no size": (lambda a: datasets_of(a)[0]["coordinateTransformations"][0].update(scale=[8, 0, 8]), "a scale above 0"),
    "two numbers": (lambda a: datasets_of(a)[0]["coordinateTransformations"][0].update(scale=[8, 8]), "cannot be read"),
    "no levels": (lambda a: datasets_of(a).clear(), "the multiscales in .* cannot be read"),
    "no paths": (lambda a: datasets_of(a)[0].pop("path"), "the multiscales in .* cannot be read"),
    "no multiscales": (lambda a: a.pop("multiscales"), "its .zattrs hold no multiscales"),
}


@pytest.mark.parametrize("part", ["em", "crop"])
@pytest.mark.parametrize("name", CHANGES)
def test_metadata_that_are_unclear_are_refused(challenge: Challenge, name: str, part: str) -> None:
    change, message = CHANGES[name]
    group = challenge.em if part == "em" else challenge.crop / "mito"
    tree.edit(group, change)
    with pytest.raises(DataError, match=message) as caught:
        challenge.ingest()
    assert str(group) in str(caught.value)
    assert not challenge.volume_json.exists()


@pytest.mark.parametrize("part", ["em", "crop"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (make_zarr3, "it is Zarr 3"),
        (make_array, "it is a single array"),
        (lambda group: (group / ".zattrs").unlink(), "there is no .zattrs in it"),
        (lambda group: (group / ".zattrs").write_text("[1]"), "its .zattrs hold no multiscales"),
    ],
)
def test_foreign_zarr_is_refused(challenge: Challenge, make: Any, what: str, part: str) -> None:
    group = challenge.em if part == "em" else challenge.crop / "mito"
    make(group)
    with pytest.raises(DataError, match=f"cannot be read; expected a Zarr 2 group .*; got {what}"):
        challenge.ingest()


def test_a_level_with_missing_chunks_is_passed_over(challenge: Challenge, caplog: pytest.LogCaptureFixture) -> None:
    (challenge.em / "s1/0/0/0").unlink()
    said = challenge.ingest()
    assert said["crop"]["level"] == "s0"
    assert "s1 (8 x 8 x 8 nm)" in caplog.text
    assert "1 of the 1 chunks that jrc_a/crop7 needs are missing" in caplog.text
    mean = EM[4:24, 4:24, 4:24].reshape(10, 2, 10, 2, 10, 2).mean((1, 3, 5))
    np.testing.assert_allclose(IngestedVolume.read(challenge.volume_json).open_raw().read(), mean, atol=0.501)


def test_chunks_beyond_the_crop_need_not_be_there(challenge: Challenge) -> None:
    for chunk in ("1/1/1", "0/0/1"):
        (challenge.em / "s1" / chunk).unlink()
    assert challenge.ingest()["crop"]["level"] == "s1"


@pytest.mark.parametrize("wanted", [(3.48, 4, 4), (6.96, 8, 8)])
def test_positions_that_files_round_reach_into_no_other_chunk(tmp_path: Path, wanted: tuple) -> None:
    """The crop begins with a chunk, but for 0.005 nm: the chunk before is not needed."""
    size = (3.48, 4.0, 4.0)
    challenge = Challenge(tmp_path, size, size, (16 * 3.48 - 1.74 - 0.005, 62.0, 62.0))
    for level in (1, 2):
        shutil.rmtree(challenge.em / f"s{level}")
    (challenge.em / "s0/0/1/1").unlink()
    said = challenge.ingest(wanted=wanted)
    assert said["crop"]["level"] == "s0"
    expected = EM[16:26, 16:26, 16:26]
    if said["crop"]["resampled"]:
        expected = expected.reshape(5, 2, 5, 2, 5, 2).mean((1, 3, 5))
    np.testing.assert_allclose(IngestedVolume.read(challenge.volume_json).open_raw().read(), expected, atol=1.5)


def test_zeros_that_are_there_are_zeros(challenge: Challenge, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(challenge.em)
    tree.write_em(challenge.folder, "jrc_a", np.zeros_like(EM), SIZE)
    assert challenge.ingest()["crop"]["level"] == "s1"
    assert not IngestedVolume.read(challenge.volume_json).open_raw().read().any()
    assert "in this crop are 0: is that right?" in caplog.text


def test_no_level_with_all_chunks_says_how_to_download(challenge: Challenge) -> None:
    (challenge.em / "s0/0/0/0").unlink()
    (challenge.em / "s1/0/0/0").unlink()
    shutil.rmtree(challenge.em / "s2")
    with pytest.raises(MissingDataError, match="holds all of jrc_a/crop7") as caught:
        challenge.ingest()
    for part in (
        "s0 (4 x 4 x 4 nm): 1 of the 8 chunks",
        "s1 (8",
        "s2 (16 x 16 x 16 nm): it is not there",
        "--crops 7 ",
    ):
        assert part in str(caught.value)
    assert "csc fetch-data" in str(caught.value)
    assert not challenge.volume_json.exists()


def test_chunks_named_with_dots(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path)
    shutil.rmtree(challenge.em)
    tree.write_em(tmp_path, "jrc_a", EM, SIZE, separator=".")
    assert challenge.ingest()["crop"]["level"] == "s1"
    (challenge.em / "s1/0.0.0").unlink()
    assert challenge.ingest()["crop"]["level"] == "s0"


@pytest.mark.parametrize("part", ["em/s1", "crop/mito/s0"])
@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_a_chunk_that_is_cut_short_is_named(challenge: Challenge, part: str, keep: int) -> None:
    """Blosc reads beyond the end of such a chunk where data did not compress."""
    group, _, inside = part.partition("/")
    chunk = getattr(challenge, group) / inside / "0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"the chunk .*{inside}/0/0/0 is cut short; expected \d+ bytes; got \d+"):
        challenge.ingest()
    assert not challenge.volume_json.exists()


@pytest.mark.parametrize("compressor", [tree.BLOSC, numcodecs.GZip(1), numcodecs.Zlib(1), numcodecs.LZMA(), None])
def test_a_damaged_chunk_is_named(tmp_path: Path, compressor: Any) -> None:
    challenge = Challenge(tmp_path)
    shutil.rmtree(challenge.em)
    tree.write_em(tmp_path, "jrc_a", EM, SIZE, compressor=compressor)
    chunk = challenge.em / "s1/0/0/0"
    content = chunk.read_bytes()
    # What a Blosc buffer says about its length is left as it is.
    chunk.write_bytes(b"\x00" * 12 + content[12:] if compressor == tree.BLOSC else content[:200])
    with pytest.raises(DataError, match=r"s1 at .* cannot be decoded .*a chunk there is damaged"):
        challenge.ingest()
    assert not challenge.volume_json.exists()


@pytest.mark.parametrize("shift", [(-32, 0, 0), (0, 0, 200), (1e6, 1e6, 1e6)])
def test_a_crop_outside_its_images_is_named_with_both_boxes(challenge: Challenge, shift: tuple) -> None:
    def move(attributes: dict) -> None:
        for level in datasets_of(attributes):
            step = level["coordinateTransformations"][1]
            step["translation"] = list(np.add(step["translation"], shift))

    tree.edit(challenge.crop / "mito", move)
    low = [float(14 + s) for s in shift]
    with pytest.raises(DataError, match="jrc_a/crop7 does not lie in its images") as caught:
        challenge.ingest()
    assert f"within {[-2.0] * 3} to {[158.0] * 3}" in str(caught.value)
    assert f"got {low} to {[n + 80.0 for n in low]}" in str(caught.value)


def test_a_level_of_labels_that_is_not_there(challenge: Challenge, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(challenge.crop / "mito/s0")
    said = challenge.ingest()["crop"]
    assert said["shape_zyx"] == [5, 5, 5]
    assert "the finest level s0 of" in caplog.text
    shutil.rmtree(challenge.crop / "mito/s1")
    with pytest.raises(MissingDataError, match=r"none of the levels that .*mito.* lists is there; got s0, s1"):
        challenge.ingest()


def test_labels_that_are_no_labels(challenge: Challenge) -> None:
    shutil.rmtree(challenge.crop / "mito")
    with pytest.raises(MissingDataError, match="there are no labels in"):
        challenge.ingest()
    tree.write_class(challenge.folder, "jrc_a", "crop7", "mito", LABELS.astype("float32"), (8, 8, 8), (14, 14, 14))
    with pytest.raises(DataError, match="are not integers; expected 0, 1, ids; got float32"):
        challenge.ingest()


@pytest.mark.parametrize("annotation", [{"encoding": [1]}, {"encoding": {"unknown": "x"}}, [1]])
def test_an_annotation_that_cannot_be_read(challenge: Challenge, annotation: Any) -> None:
    tree.edit(challenge.crop / "mito", lambda a: a["cellmap"]["annotation"].update(annotation_type=annotation))
    with pytest.raises(DataError, match=r"mito/\.zattrs: .* cannot be read"):
        challenge.ingest()


def test_images_of_another_type_are_refused(challenge: Challenge) -> None:
    shutil.rmtree(challenge.em)
    tree.write_em(challenge.folder, "jrc_a", EM.astype("float32"), SIZE)
    with pytest.raises(DataError, match="holds no images; expected uint8 or uint16; got float32"):
        challenge.ingest()


def test_a_slip_of_the_pen_in_a_class_is_named(challenge: Challenge, caplog: pytest.LogCaptureFixture) -> None:
    challenge.ingest(classes=("mito", "mitto"))
    assert "no class is called 'mitto'" in caplog.text
    assert "did you mean 'mito'?" in caplog.text
    (challenge.folder / "classes.csv").write_text('mito,1,""\nnucleus,2,""\n')
    caplog.clear()
    challenge.ingest(classes=("mito", "nucleus"), class_table=challenge.folder / "classes.csv")
    assert "no class is called" not in caplog.text
    write_manifest(challenge.folder / "m.csv", [ManifestRow("crop7", "jrc_a", "nucleos", GRID)])
    files = {"manifest": challenge.folder / "m.csv", "class_table": challenge.folder / "classes.csv"}
    challenge.ingest(role="predict", **files)
    assert "no class is called 'nucleos' in the table of classes; did you mean 'nucleus'?" in caplog.text


def test_a_crop_to_submit_has_the_voxels_and_classes_of_the_manifest(challenge: Challenge) -> None:
    manifest = challenge.folder / "manifest.csv"
    write_manifest(manifest, [ManifestRow("crop7", "jrc_a", name, GRID) for name in ("nuc", "mito", "cell")])
    said = challenge.ingest(wanted=SIZE, role="predict", manifest=manifest)
    assert said["crop"]["classes"] == ["nuc", "mito", "cell"]
    assert (said["crop"]["shape_zyx"], said["crop"]["offset_zyx_nm"]) == ([20, 20, 20], [16.0, 16.0, 16.0])
    assert (said["labels"], said["codes"], said["crop"]["voxels"]) == (None, None, {})
    np.testing.assert_array_equal(IngestedVolume.read(challenge.volume_json).open_raw().read(), EM[4:24, 4:24, 4:24])
    with pytest.raises(DataError, match="no manifest says which voxels"):
        challenge.ingest(role="predict")
    with pytest.raises(DataError, match=r"manifest\.csv has no crop77; did you mean 'crop7'\?"):
        challenge.ingest(role="predict", manifest=manifest, crop="jrc_a/crop77")
    with pytest.raises(DataError, match="in another dataset; expected jrc_b; got jrc_a"):
        challenge.ingest(role="predict", manifest=manifest, crop="jrc_b/crop7")


def test_what_lay_there_before_does_not_stay(challenge: Challenge) -> None:
    challenge.ingest(wanted=(2, 2, 2))
    manifest = challenge.folder / "manifest.csv"
    write_manifest(manifest, [ManifestRow("crop7", "jrc_a", "mito", GRID)])
    challenge.ingest(wanted=SIZE, role="predict", manifest=manifest)
    left = [path for path in challenge.volume_json.parent.rglob("*") if path.is_file()]
    assert left == [challenge.volume_json]


def test_a_generated_tree_is_linked_so_that_results_can_move(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path / "results" / "tree")
    em, crop = (str(group.relative_to(challenge.folder)) for group in (challenge.em, challenge.crop))
    source = VolumeSource(role="train", raw=em, labels=crop, crop="jrc_a/crop7")
    cfg = CellmapConfig(tree="x", voxel_size_zyx_nm=(8, 8, 8), classes=("mito",))
    volume_json = tmp_path / "results/ingest/volume.json"
    ingest_crop(source, cfg, name="a", volume_json=volume_json, folder=str(challenge.folder))
    expected = IngestedVolume.read(volume_json).open_raw().read()
    shutil.move(tmp_path / "results", tmp_path / "moved")
    moved = tmp_path / "moved/ingest/volume.json"
    np.testing.assert_array_equal(IngestedVolume.read(moved).open_raw().read(), expected)
    said = read_json(moved)["crop"]
    assert (moved.parent / said["labels_group"] / "mito").is_dir()
    assert (moved.parent / said["raw_group"] / "s0").is_dir()


def test_other_levels_of_a_crop_are_not_offered_to_networks(challenge: Challenge) -> None:
    challenge.ingest()
    assert [level.name for level in list_levels(IngestedVolume.read(challenge.volume_json))] == [None]


def test_folders_are_looked_for_before_anything_runs(challenge: Challenge) -> None:
    em, crop = str(challenge.em), str(challenge.crop)
    assert check_source(VolumeSource(role="train", raw=em, labels=crop, crop="jrc_a/crop7"), "", "key") is None
    wrong = VolumeSource(role="predict", raw=em.replace("jrc_a", "jrc_b"), crop="jrc_b/crop7")
    with pytest.raises(
        MissingDataError, match=r"key: the images of jrc_b/crop7 do not exist: .*did you mean .*jrc_a\?"
    ):
        check_source(wrong, "", "key")
    wrong = VolumeSource(role="train", raw=em, labels=crop + "8", crop="jrc_a/crop78")
    with pytest.raises(MissingDataError, match=r"the labels of jrc_a/crop78 do not exist: .*did you mean .*crop7\?"):
        check_source(wrong, "", "key")


def test_metadata_that_are_no_json(challenge: Challenge) -> None:
    (challenge.em / ".zattrs").write_text(json.dumps({"multiscales": [1]})[:-4])
    with pytest.raises(DataError, match="is not valid JSON"):
        challenge.ingest()
