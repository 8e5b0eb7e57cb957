"""What stages read of each other: typed, read and written in one place; what is wrong with a file is one line."""

import ast
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_volume import CROP, MADE, describe_volume, write_description

from connectomake.cellmap.manifest import CropGrid
from connectomake.decode.blocks.stitched import Stitched
from connectomake.errors import ConnectomakeError, DataError, MissingDataError
from connectomake.files import read_json, write_json
from connectomake.geometry import Box
from connectomake.volumes import ingested, prediction, segmentation
from connectomake.volumes.contract import Record, mark_version
from connectomake.volumes.decoded_crop import DecodedClass, DecodedCrop
from connectomake.volumes.generated import GeneratedStore
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.mask import Mask
from connectomake.volumes.prediction import Prediction, WorkingLevel
from connectomake.volumes.region import Region
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.store import create_store, read_attributes, write_store

SCRIPTS = Path(__file__).parents[2] / "scripts"
CONTRACTS = (
    "contract",
    "ingested",
    "ingested_crop",
    "prediction",
    "segmentation",
    "generated",
    "decoded_crop",
    "prediction_needs",
    "region",
)
GRID_KEYS = ("shape_zyx", "voxel_size_zyx_nm", "offset_zyx_nm")

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
SIDES = st.tuples(*[st.integers(1, 2**40)] * 3)
PLACES = st.tuples(*[st.floats(-1e9, 1e9)] * 3)
SIZES = st.tuples(*[st.floats(1e-3, 1e6)] * 3)


def entries(**parts):
    """Draw a mapping with its keys in this order, which Hypothesis does not keep."""
    return st.fixed_dictionaries(parts).map(lambda found: {key: found[key] for key in parts})


STATES = entries(**dict.fromkeys(("present", "absent", "unknown"), st.integers(0, 2**50)))


@st.composite
def boxes(draw):
    start = draw(st.tuples(*[st.integers(0, 99)] * 3))
    return [list(start), [a + n for a, n in zip(start, draw(SIDES), strict=True)]]


ARRAYS = entries(source=NAMES, axes=NAMES, box_zyx_vx=boxes(), dtype=NAMES)
SEEN = entries(source=NAMES, start=SIDES, stop=SIDES)
ORIGINS = entries(
    **{
        "folder": NAMES,
        "raw": st.none() | NAMES,
        "axes": st.none() | NAMES,
        "box_zyx_vx": st.none() | boxes(),
        "crop": st.none() | NAMES,
        "swc_unit_nm": st.floats(1e-3, 1e3),
        "of a version to come": st.integers(),
    }
)
CROPS = entries(
    **{
        "dataset": NAMES,
        "crop": NAMES,
        "shape_zyx": SIDES,
        "voxel_size_zyx_nm": SIZES,
        "offset_zyx_nm": PLACES,
        "classes": st.lists(NAMES, max_size=3),
        "raw_group": st.none() | NAMES,
        "labels_group": st.none() | NAMES,
        "level": NAMES,
        "resampled": st.booleans(),
        "voxels": st.dictionaries(NAMES, STATES, max_size=3),
    }
)
CODES = st.none() | st.lists(st.text("01u", min_size=2, max_size=2), max_size=4).map(
    lambda states: {"classes": ["a", "b"], "states": states}
)


@st.composite
def volumes(draw):
    """Draw the content of a volume.json, in the order in which it is written."""
    told = {"name": draw(NAMES), "role": draw(st.sampled_from(["train", "validate", "test", "predict"]))}
    told |= {"weight": draw(st.floats(1e-3, 1e3)), "shape_zyx": draw(SIDES), "voxel_size_zyx_nm": draw(SIZES)}
    told |= {"offset_zyx_nm": draw(PLACES), "raw": draw(ARRAYS), "labels": draw(st.none() | ARRAYS)}
    if draw(st.booleans()):
        told["seen"] = draw(st.lists(SEEN, max_size=2))
    if draw(st.booleans()):
        told |= {"crop": draw(CROPS), "codes": draw(CODES)}
    return told | {"settings": draw(ORIGINS)}


@settings(max_examples=30)
@given(told=volumes())
def test_a_volume_that_is_read_and_written_has_the_same_bytes(tmp_path_factory, told):
    path = tmp_path_factory.mktemp("volume") / "volume.json"
    write_json(path, told)
    volume = IngestedVolume.read(path)
    replace(volume, path=path.with_name("again.json")).write()
    assert path.with_name("again.json").read_bytes() == path.read_bytes()
    assert replace(IngestedVolume.read(path.with_name("again.json")), path=path) == volume


def test_what_a_volume_holds_has_its_types(tmp_path):
    told = describe_volume(
        {
            "crop": {"classes": ["mito"], "voxels": {"mito": {"present": 3}}, "labels_group": "../x"},
            "codes": {"classes": ["mito"], "states": ["1", "u"]},
            "seen": [{"source": "/a::s0", "start": [0, 1, 2], "stop": [3, 4, 5]}],
            "voxel_size_zyx_nm": [8, 4, 4],
        }
    )
    write_json(tmp_path / "volume.json", told)
    volume = IngestedVolume.read(tmp_path / "volume.json")
    assert volume.shape_zyx == (8, 8, 8)
    assert volume.voxel_size_zyx_nm == (8.0, 4.0, 4.0)
    assert volume.raw.box_zyx_vx == Box.of_shape((8, 8, 8))
    assert volume.is_generated
    assert volume.seen[0].box_zyx_vx == Box((0, 1, 2), (3, 4, 5))
    assert (volume.crop.classes, volume.crop.voxels["mito"]["present"]) == (("mito",), 3)
    assert volume.codes.states == ("1", "u")
    assert volume.skeletons == tmp_path / "skeletons.npz"
    with pytest.raises(DataError, match="the volume small has no labels; give their path"):
        volume.open_labels()


def test_a_volume_is_opened_once(tmp_path):
    where = {"voxel_size_zyx_nm": (8.0, 8.0, 8.0), "offset_zyx_nm": (1.0, 2.0, 3.0)}
    write_store(tmp_path / "raw.zarr", np.zeros((8, 8, 8), np.uint8), **where)
    volume = IngestedVolume.read(write_description(tmp_path / "volume.json", where))
    assert volume.open_raw() is volume.open_raw()
    assert volume.open_raw().offset_zyx_nm == (1.0, 2.0, 3.0)
    assert volume == IngestedVolume.read(volume.path)
    assert pickle.loads(pickle.dumps(volume)).open_raw().shape_zyx == (8, 8, 8)


SETTINGS = {
    "volume": {"fingerprint": "f", "shape_zyx": [9, 9, 9], "dtype": "uint8"},
    "source": {"level": "s1", "resampled": True},
    "region": {
        "box_zyx_vx": [[0, 0, 0], [4, 5, 6]],
        "crops_zyx_vx": [[[0, 0, 0], [1, 1, 1]]],
        "mask": {"source": None, "fingerprint": None},
    },
    "voxel_size_zyx_nm": [8.0, 8.0, 8.0],
    "offset_zyx_nm": [1.0, 2.0, 3.0],
    "checkpoint_hash": "cafe",
    "edge_convention": "source",
    "block_zyx_vx": [4, 4, 4],
    "channels": ["x", "binary"],
    "offsets_zyx_vx": [[0, 0, 1], None],
    "activations": ["sigmoid", "tanh"],
    "blending": "gaussian",
    "dtype": "uint8",
    "pyramid": True,
    "chunk_zyx_vx": [2, 2, 2],
}
LABELS = {
    "decoder": "affinity_cc",
    "threshold": 0.5,
    "n_objects": 3,
    "settings": {"decoder": "affinity_cc"},
    "checkpoint_hash": "cafe",
    "region": SETTINGS["region"],
    "source": SETTINGS["source"],
}
OLDEST = {"offsets_zyx_vx": [[0, 0, 1], None], "edge_convention": "source"}


def make_array(path: Path) -> Path:
    place = {"voxel_size_zyx_nm": (8.0, 8.0, 8.0), "offset_zyx_nm": (1.0, 2.0, 3.0)}
    create_store(path, shape=(2, 4, 5, 6), dtype=np.uint8, **place)
    return path


def test_a_prediction_is_read_as_it_was_written(tmp_path):
    Prediction.of_plain(SETTINGS, "plan.json").write(make_array(tmp_path / "a.zarr"))
    assert read_attributes(tmp_path / "a.zarr") == SETTINGS
    found = Prediction.read(tmp_path / "a.zarr")
    assert found == Prediction.of_plain(SETTINGS, "plan.json")
    assert found.offsets_zyx_vx == ((0, 0, 1), None)
    assert (found.channels, found.activations) == (("x", "binary"), ("sigmoid", "tanh"))
    assert found.level == WorkingLevel("s1", is_resampled=True)
    assert found.region.as_settings() == SETTINGS["region"]
    assert (found.block_zyx_vx, found.chunk_zyx_vx, found.has_pyramid) == ((4, 4, 4), (2, 2, 2), True)


def test_stores_of_older_versions_are_read():
    """They name one activation or none, no channels, no region, and have one level."""
    found = Prediction.of_plain(OLDEST, "a.zarr")
    assert found.activations == ("sigmoid", "sigmoid")
    assert len(found.channels) == 2
    assert (found.region, found.level, found.has_pyramid, found.block_zyx_vx) == (None, None, False, None)
    scaled = Prediction.of_plain({**OLDEST, "activation": "scaled_sigmoid"}, "a.zarr")
    assert scaled.activations == ("scaled_sigmoid",) * 2
    assert Segmentation.of_plain({}, "labels.zarr").region is None


def test_labels_say_what_they_were_made_of(tmp_path):
    described = {"decoder": "affinity_cc", "threshold": 0.5, "n_objects": 3, "settings": {"decoder": "affinity_cc"}}
    made = Segmentation.of_prediction(Prediction.of_plain(SETTINGS, "a.zarr"), **described)
    made.write(make_array(tmp_path / "labels.zarr"))
    assert json.dumps(read_attributes(tmp_path / "labels.zarr")) == json.dumps(LABELS)
    assert Segmentation.read(tmp_path / "labels.zarr") == made
    bare = Segmentation.of_prediction(Prediction.of_plain(OLDEST, "a.zarr"), **described)
    assert not {"region", "source"} & bare.attributes.keys()


def test_a_mask_and_crops_are_read_as_they_were_written():
    mask = Mask("/m.zarr", "f", (20.0, 20.0, 20.0), (1.5, 2.0, 3.0))
    region = Region(Box((1, 2, 3), (9, 9, 9)), (Box((1, 2, 3), (4, 4, 4)),), mask)
    plain = json.loads(json.dumps(region.as_settings()))
    assert Region.of_record(Record(plain, "a.zarr", "again")) == region


def test_a_generated_store_says_what_it_is(tmp_path):
    notes = {"class": "thin", "intensity": [0, 200], "seen": [{"source": "/a", "start": [0, 0, 0], "stop": [1, 2, 3]}]}
    write_store(tmp_path / "a.zarr", np.zeros((2, 2, 2), np.uint8), voxel_size_zyx_nm=(8, 8, 8), attributes=notes)
    found = GeneratedStore.read(tmp_path / "a.zarr")
    assert (found.class_name, found.intensity) == ("thin", (0.0, 200.0))
    assert found.seen[0].box_zyx_vx == Box.of_shape((1, 2, 3))
    write_store(tmp_path / "b.zarr", np.zeros((2, 2, 2), np.uint8), voxel_size_zyx_nm=(8, 8, 8), attributes={"seed": 1})
    assert GeneratedStore.read(tmp_path / "b.zarr") == GeneratedStore("", None, None)


def test_a_decoded_crop_is_read_as_it_was_written(tmp_path):
    grid = CropGrid((8, 9, 10), (4.0, 2.0, 2.0), (100.0, 51.0, 1.0))
    classes = {"mito": DecodedClass(True, True, "uint16", 7, 3), "er": DecodedClass(False, False, "uint8", 0, None)}
    crop = DecodedCrop(tmp_path / "crop.json", "crop7", "jrc_a", "crop7", grid, classes, "cafe")
    crop.write()
    assert DecodedCrop.read(crop.path) == crop
    assert crop.array_of("er") == tmp_path / "crop7" / "er"
    assert crop.array_of("nuc") is None
    told = read_json(crop.path)
    assert list(told) == ["crop", "dataset", "folder", *GRID_KEYS, "classes", "settings_hash"]
    assert told["classes"]["mito"] == MADE | {"instances": True, "dtype": "uint16", "voxels": 7, "objects": 3}
    for key in ("crop", "dataset", "folder", *GRID_KEYS, "classes", *(f"classes.mito.{name}" for name in MADE)):
        if key != "classes.mito.objects":
            write_json(crop.path, change(told, key, drop=True))
            with pytest.raises(DataError) as error:
                DecodedCrop.read(crop.path)
            assert one_line(error).startswith(f"{crop.path}: {key} is missing; expected ")
            assert str(error.value).endswith("delete it and run decode_crop again")


def test_what_stitching_left_behind_is_read_as_it_was_written(tmp_path):
    stitched = Stitched("ids.npy", (0, 3, 5), np.dtype(np.uint8), 4)
    stitched.write(tmp_path / "stitched.json")
    assert read_json(tmp_path / "stitched.json") == {
        "table": "ids.npy",
        "base": [0, 3, 5],
        "dtype": "uint8",
        "n_objects": 4,
    }
    assert Stitched.read(tmp_path / "stitched.json") == stitched
    for key in ("table", "base", "dtype", "n_objects"):
        write_json(tmp_path / "bad.json", change(read_json(tmp_path / "stitched.json"), key, drop=True))
        with pytest.raises(DataError, match=rf"bad\.json: {key} is missing; expected .*run stitch_blocks again"):
            Stitched.read(tmp_path / "bad.json")


def one_line(error: pytest.ExceptionInfo) -> str:
    assert isinstance(error.value, ConnectomakeError)
    text = str(error.value)
    assert "\n" not in text
    return text


FULL = describe_volume(
    {"labels": describe_volume({})["raw"], "crop": {"voxels": {"mito": {"present": 1}}}, "codes": None}
)
REQUIRED = ["name", "role", "weight", "shape_zyx", "voxel_size_zyx_nm", "offset_zyx_nm", "raw", "settings"]
REQUIRED += [f"{part}.{key}" for part in ("raw", "labels") for key in ("source", "axes", "box_zyx_vx", "dtype")]
REQUIRED += [f"crop.{key}" for key in CROP if not key.endswith("_group")]
OPTIONAL = ["labels", "codes", "crop.raw_group", "crop.labels_group", "settings.axes", "settings.box_zyx_vx"]
OPTIONAL += ["settings.swc_unit_nm", "crop.voxels.mito.present"]


def change(told: dict, keys: str, value: object = None, *, drop: bool = False) -> dict:
    """Copy plain data with one entry, of dotted keys, changed or dropped."""
    told = json.loads(json.dumps(told))
    *outer, last = keys.split(".")
    inner = told
    for key in outer:
        inner = inner.setdefault(key, {})
    if drop:
        del inner[last]
    else:
        inner[last] = value
    return told


@pytest.mark.parametrize("key", REQUIRED)
def test_a_volume_that_lacks_something_is_refused(tmp_path, key):
    (tmp_path / "volume.json").write_text(json.dumps(change(FULL, key, drop=True)))
    with pytest.raises(DataError) as error:
        IngestedVolume.read(tmp_path / "volume.json")
    said = one_line(error)
    assert said.startswith(f"{tmp_path / 'volume.json'}: {key} is missing; expected ")
    assert said.endswith("delete it and ingest the volume again")


@pytest.mark.parametrize("wrong", [7, "7", [7], {"a": 7}, True, [[1, 2], [3]], ["a", "b", "c"]])
@pytest.mark.parametrize("key", REQUIRED + OPTIONAL)
def test_a_volume_with_something_else_in_it_is_refused(tmp_path, key, wrong):
    """Where the value is of the type wanted, all is well; nothing but a DataError of one line is ever raised."""
    (tmp_path / "volume.json").write_text(json.dumps(change(FULL, key, wrong)))
    try:
        IngestedVolume.read(tmp_path / "volume.json")
    except DataError as error:
        said = str(error)
        assert "\n" not in said
        assert said.startswith(f"{tmp_path / 'volume.json'}: {key}")
        assert "; expected " in said
        assert "; got " in said
        assert said.endswith("delete it and ingest the volume again")
    else:
        allowed = {
            "settings": [{"a": 7}],
            "weight": [7],
            "settings.swc_unit_nm": [7],
            "crop.voxels.mito.present": [7],
            "crop.classes": [["a", "b", "c"]],
        }
        texts = ("name", "role", "source", "axes", "dtype", "dataset", "crop", "level", "raw_group", "labels_group")
        assert wrong in allowed.get(key, ["7"] if key.rpartition(".")[2] in texts else [True])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "a", ', "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[1, 2]", "has another content; expected key: value pairs; got"),
        ('{"schema": 2}', "schema: this version is not known; expected 1; got 2; update Connectomake, or delete it"),
        ('{"schema": "1"}', "schema: this version is not known; expected 1; got '1'; delete it"),
        ('{"schema": 0}', "schema: this version is not known; expected 1; got 0; delete it"),
    ],
)
def test_a_damaged_volume_json_is_one_line(tmp_path, text, problem):
    path = tmp_path / "volume.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        IngestedVolume.read(path)
    assert problem in one_line(error)
    assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(MissingDataError):
        IngestedVolume.read(path)


@pytest.mark.parametrize(
    "key", ["offsets_zyx_vx", "edge_convention", "region.box_zyx_vx", "region.mask", "source.resampled"]
)
def test_a_prediction_that_lacks_something_is_refused(key):
    with pytest.raises(DataError) as error:
        Prediction.of_plain(change(SETTINGS, key, drop=True), "a.zarr")
    assert one_line(error).startswith(f"a.zarr: {key} is missing; expected ")
    assert str(error.value).endswith("delete the store and predict again")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("edge_convention", "deepem", "unknown edge_convention; expected source or destination; got deepem"),
        ("offsets_zyx_vx", [[0, 1]], "offsets_zyx_vx: wrong value; expected a list with three whole numbers"),
        ("offsets_zyx_vx", 3, "offsets_zyx_vx: wrong value"),
        ("channels", [1, 2], "channels: wrong value; expected a list of texts; got [1, 2]"),
        ("activations", ["tanh"], "activations: wrong value; expected 2 names, one for each channel; got ['tanh']"),
        ("block_zyx_vx", [1.5, 2, 3], "block_zyx_vx: wrong value; expected three whole numbers z, y, x"),
        ("pyramid", "yes", "pyramid: wrong value; expected true or false; got 'yes'"),
        ("region.crops_zyx_vx", [[1]], "region.crops_zyx_vx: wrong value; expected a list of boxes"),
        ("source", "s1", "source: wrong value; expected key: value pairs; got 's1'"),
        ("schema", 2, "schema: this version is not known; expected 1; got 2; update Connectomake, or delete the store"),
    ],
)
def test_a_prediction_with_something_else_in_it_is_refused(key, value, problem):
    with pytest.raises(DataError) as error:
        Prediction.of_plain(change(SETTINGS, key, value), "a.zarr")
    assert one_line(error).startswith(f"a.zarr: {problem}")


@pytest.mark.parametrize(
    ("key", "value"), [("threshold", "high"), ("n_objects", 1.5), ("settings", 3), ("region", []), ("schema", 2)]
)
def test_labels_with_something_else_in_them_are_refused(key, value):
    with pytest.raises(DataError) as error:
        Segmentation.of_plain(change(LABELS, key, value), "labels.zarr")
    assert one_line(error).startswith(f"labels.zarr: {key}: ")


def test_a_version_is_written_from_the_second_on(tmp_path, monkeypatch):
    """A finished result must not run again for a mark that says what its absence says."""
    write_json(tmp_path / "volume.json", FULL)
    volume = IngestedVolume.read(tmp_path / "volume.json")
    volume.write()
    assert "schema" not in read_json(tmp_path / "volume.json")
    marked = change(SETTINGS, "schema", 1)
    assert Prediction.of_plain(marked, "a").settings_hash == Prediction.of_plain(SETTINGS, "a").settings_hash
    for module in (ingested, prediction, segmentation):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    volume.write()
    assert next(iter(read_json(tmp_path / "volume.json").items())) == ("schema", 2)
    assert IngestedVolume.read(tmp_path / "volume.json") == volume
    Prediction.of_plain(SETTINGS, "a").write(make_array(tmp_path / "a.zarr"))
    assert read_attributes(tmp_path / "a.zarr") == {"schema": 2, **SETTINGS}
    assert Prediction.read(tmp_path / "a.zarr").plain == SETTINGS
    assert mark_version({"a": 1}, 3) == {"schema": 3, "a": 1}


def test_contracts_load_nothing_heavy():
    modules = ", ".join(f"connectomake.volumes.{name}" for name in CONTRACTS)
    heavy = "{'torch', 'numba', 'snakemake', 'zarr', 'scipy'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


READERS = {f"volumes/{name}.py" for name in CONTRACTS} | {
    "volumes/mask.py",
    "predict/plan_file.py",
    "decode/blocks/stitched.py",
}
ATTRIBUTES = READERS | {"volumes/store.py", "synth/stores.py"}  # the latter compares them as a whole
KEYS = {"offsets_zyx_vx", "edge_convention", "crops_zyx_vx", "raw_group", "labels_group", "swc_unit_nm"}
KEYS |= {"codes", "seen", "checkpoint_hash", "activations", "chunk_zyx_vx", "most_minutes", "windows_computed"}


def key_of(node: ast.AST) -> str | None:
    """Return the key that an expression looks up in a mapping."""
    key: ast.AST | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        key = node.slice
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        key = node.args[0]
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None


def test_nobody_else_reads_these_files_by_keys():
    for file in sorted(SCRIPTS.rglob("*.py")):
        name = file.relative_to(SCRIPTS).as_posix().removeprefix("connectomake/")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            where = f"{file}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module == "connectomake.volumes.store":
                assert name in ATTRIBUTES or "read_attributes" not in {alias.name for alias in node.names}, where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_json":
                assert "volume" not in ast.unparse(node.args[0]), where
            assert name in READERS or key_of(node) not in KEYS, where
