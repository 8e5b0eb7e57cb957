"""The generated challenge lies as the real one does: layout, attributes, places in nm, tables, and equal bytes."""

from __future__ import annotations

import hashlib
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import zarr

from connectomake.cellmap.classes import INSTANCE_CLASSES, read_class_table
from connectomake.cellmap.manifest import group_by_crop, read_manifest
from connectomake.cellmap.tree import labels_group, list_crops, raw_group
from connectomake.config.settings.data_cellmap import GENERATED_CLASSES, CellmapConfig
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.errors import ConfigError, DataError
from connectomake.phantom.challenge.make import make_challenge
from connectomake.phantom.phantom import make_phantom
from connectomake.stage import bind_flags
from make_challenge import Phantoms, main

TINY = {
    "neurites": {"radius_nm": 46, "radius_range_nm": [40, 70], "roughness_nm": 10},
    "organelles": {
        "mitochondrion_radius_nm": [20, 50],
        "mitochondrion_length_nm": [60, 160],
        "mitochondrion_every_nm": 200,
        "vesicles_every_nm": 300,
        "vesicle_count": [4, 10],
    },
}
PHANTOMS = {
    "cubes": PhantomConfig(shape_zyx=(40, 72, 41), **TINY),
    "bricks": PhantomConfig(shape_zyx=(26, 40, 48), voxel_size_zyx_nm=(13.92, 8, 8), **TINY),
}
CROPS = {
    "iso": {
        "crop1": {"start_zyx_vx": [3, 12, 5], "shape_zyx_vx": [16, 20, 24]},
        "crop2": {
            "start_zyx_vx": [24, 12, 25],
            "shape_zyx_vx": [12, 10, 13],
            "label_scale": 0.5,
            "unknown_share": 0.3,
        },
        "crop3": {
            "start_zyx_vx": [1, 2, 3],
            "shape_zyx_vx": [20, 18, 22],
            "label_scale": 2,
            "not_annotated": ["mito", "cyto"],
        },
        "crop4": {"start_zyx_vx": [2, 64, 33], "shape_zyx_vx": [8, 8, 8]},
        "crop9": {"start_zyx_vx": [20, 0, 21], "shape_zyx_vx": [20, 16, 20], "label_scale": 4, "test": True},
    },
    "aniso": {
        "crop5": {"start_zyx_vx": [0, 0, 0], "shape_zyx_vx": [12, 14, 16], "label_scale": 0.5},
        "crop8": {"start_zyx_vx": [9, 20, 20], "shape_zyx_vx": [14, 16, 24], "label_scale": 2, "test": True},
    },
}
DATASETS = {
    "iso": {"phantom": "cubes", "seed": 1, "levels": 3, "crops": CROPS["iso"]},
    "aniso": {"phantom": "bricks", "seed": 2, "levels": 2, "first_level": 1, "crops": CROPS["aniso"]},
}
CFG = {"generate": DATASETS, "voxel_size_zyx_nm": [8, 8, 8], "classes": ["mito"]}
AXES = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge")
    make_challenge(CellmapConfig.model_validate(CFG), PHANTOMS, folder)
    return folder


@pytest.fixture(scope="module")
def phantoms() -> dict:
    return {name: make_phantom(PHANTOMS[values["phantom"]], values["seed"]) for name, values in DATASETS.items()}


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def crops() -> list[tuple[str, str]]:
    return [(dataset, crop) for dataset, of in CROPS.items() for crop in of]


def open_class(made: Path, dataset: str, crop: str, name: str) -> np.ndarray:
    is_test = CROPS[dataset][crop].get("test")
    path = made / "truth.zarr" / crop / name if is_test else labels_group(made / "tree", dataset, crop) / name / "s0"
    return zarr.open_array(path, mode="r")[...]


def grid_of(made: Path, crop: str) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    rows = [*read_manifest(made / "test_crop_manifest.csv"), *read_manifest(made / "train_crop_manifest.csv")]
    grid = group_by_crop(rows)[crop][0].grid
    return np.array(grid.offset_zyx_nm), np.array(grid.voxel_size_zyx_nm), grid.shape_zyx


def levels_of(*levels: tuple[list[float], list[float]]) -> list[dict]:
    return [
        {
            "version": "0.4",
            "name": "",
            "axes": AXES,
            "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}],
            "datasets": [
                {
                    "path": f"s{k}",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": scale},
                        {"type": "translation", "translation": translation},
                    ],
                }
                for k, (scale, translation) in enumerate(levels)
            ],
        }
    ]


def test_images_say_where_their_levels_lie(made: Path) -> None:
    for dataset, levels in {
        "iso": [([8.0] * 3, [0.0] * 3), ([16.0] * 3, [4.0] * 3), ([32.0] * 3, [12.0] * 3)],
        "aniso": [([13.92, 8.0, 8.0], [0.0] * 3), ([27.84, 16.0, 16.0], [6.96, 4.0, 4.0])],
    }.items():
        assert read(raw_group(made / "tree", dataset), ".zattrs") == {"multiscales": levels_of(*levels)}


def test_labels_say_where_they_lie_and_what_their_numbers_mean(made: Path) -> None:
    crop = labels_group(made / "tree", "iso", "crop2")
    # Half voxels of 8 nm whose first corner is that of voxel 24, 12, 25: (24 - 0.5) * 8 + 2, ...
    levels = levels_of(
        ([4.0] * 3, [190.0, 94.0, 198.0]), ([8.0] * 3, [192.0, 96.0, 200.0]), ([16.0] * 3, [196.0, 100.0, 204.0])
    )
    semantic = {"type": "semantic_segmentation", "encoding": {"absent": 0, "present": 1, "unknown": 255}}
    instance = {"type": "instance_segmentation", "encoding": {"absent": 0, "unknown": 255}}
    for name, kind in {"pm": semantic, "mito": instance}.items():
        meaning = {"class_name": name, "annotation_type": kind}
        assert read(crop / name, ".zattrs") == {"multiscales": levels, "cellmap": {"annotation": meaning}}
    assert read(crop, ".zattrs") == {"cellmap": {"annotation": {"class_names": list(GENERATED_CLASSES)}}}
    assert read(crop / "all", ".zattrs") == {"multiscales": levels}


def test_everything_is_zarr_2_with_a_group_at_every_step(made: Path) -> None:
    for dataset, crop in (("iso", "crop1"), ("aniso", "crop5")):
        container = made / "tree" / dataset / f"{dataset}.zarr"
        for folder in (raw_group(made / "tree", dataset), labels_group(made / "tree", dataset, crop) / "pm"):
            steps = [
                container / part for part in (folder.relative_to(container), *folder.relative_to(container).parents)
            ]
            assert len(steps) > 3
            assert all(read(step, ".zgroup") == {"zarr_format": 2} for step in steps)
    assert read(made / "truth.zarr" / "crop9", ".zgroup") == {"zarr_format": 2}
    arrays = [json.loads(file.read_text()) for file in made.rglob(".zarray")]
    assert {(a["zarr_format"], a["dimension_separator"], a["order"]) for a in arrays} == {(2, "/", "C")}
    assert not list(made.rglob("zarr.json"))
    assert all(a["compressor"] for a in arrays)


def test_only_chunks_that_touch_a_crop_are_there_and_none_of_finer_levels(made: Path) -> None:
    chunk = 32
    for dataset, values in DATASETS.items():
        shape = PHANTOMS[values["phantom"]].shape_zyx
        for level in range(values["levels"]):
            folder = raw_group(made / "tree", dataset) / f"s{level}"
            assert read(folder, ".zarray")["shape"] == [-(-n // 2**level) for n in shape]
            touched = {
                tuple(np.array(voxel) // 2**level // chunk)
                for crop in values["crops"].values()
                for voxel in product(*(range(a, a + n) for a, n in zip(*list(crop.values())[:2], strict=True)))
            }
            there = {tuple(int(part) for part in f.relative_to(folder).parts) for f in folder.glob("[0-9]*/*/*")}
            assert there == (touched if level >= values.get("first_level", 0) else set())
    assert len(list((raw_group(made / "tree", "iso") / "s0").glob("[0-9]*/*/*"))) < 2 * 3 * 2


def test_levels_of_images_are_means(made: Path, phantoms: dict) -> None:
    fine, group = phantoms["iso"].raw, zarr.open_group(raw_group(made / "tree", "iso"), mode="r")
    np.testing.assert_array_equal(group["s0"][:, :32], fine[:, :32])
    coarse = group["s1"][...]
    for z, y, x in [(0, 0, 0), (5, 7, 3), (19, 9, 20)]:
        mean = fine[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
        assert coarse[z, y, x] == int(mean + 0.5)


@pytest.mark.parametrize(("dataset", "crop"), crops())
def test_labels_and_images_share_places_in_nm(made: Path, phantoms: dict, dataset: str, crop: str) -> None:
    """Look up, by nm alone, the voxels of the phantom that a label's voxel covers: it is what most of them are."""
    phantom, (offset, size, shape) = phantoms[dataset], grid_of(made, crop)
    transforms = read(raw_group(made / "tree", dataset), ".zattrs")["multiscales"][0]["datasets"][0]
    scale, first = (np.array(list(t.values())[1]) for t in transforms["coordinateTransformations"])
    cell = open_class(made, dataset, crop, "cell")
    mito = open_class(made, dataset, crop, "mito_mem") == 1
    mito |= open_class(made, dataset, crop, "mito_lum") == 1
    assert cell.shape == mito.shape == shape
    owner: dict[int, int] = {}
    for voxel in np.random.default_rng(0).integers(0, shape, (300, 3)):
        centre = offset + voxel * size
        low = np.floor((centre - size / 2 - first) / scale + 0.5 + 1e-6).astype(int)
        high = np.ceil((centre + size / 2 - first) / scale + 0.5 - 1e-6).astype(int)
        under = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        found = np.stack([phantom.labels[under].ravel(), phantom.organelles[under].ravel()], axis=1)
        kinds, votes = np.unique(found, axis=0, return_counts=True)
        most = kinds[votes == votes.max()].tolist()
        value = int(cell[tuple(voxel)])
        if value == 255:
            continue
        assert mito[tuple(voxel)] in [kind == 1 for _, kind in most]
        neurites = [label for label, _ in most]
        if len(neurites) == 1:
            assert owner.setdefault(value, neurites[0]) == neurites[0]
    assert len(owner) > 1
    assert mito.any()


def test_membranes_lie_where_another_neurite_is_near_also_beyond_the_crop(made: Path, phantoms: dict) -> None:
    labels, organelles = phantoms["iso"].labels.astype(int), phantoms["iso"].organelles
    padded = np.pad(labels, 1, mode="edge")
    near = labels == 0
    for step in product((-1, 0, 1), repeat=3):
        if sum(s * s for s in step) * 8**2 <= 12**2:
            near |= padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, labels.shape, strict=True))] != labels
    box = tuple(slice(a, a + n) for a, n in zip([3, 12, 5], [16, 20, 24], strict=True))
    expected = (near & (organelles == 0))[box]
    assert 0 < expected.mean() < 0.9
    np.testing.assert_array_equal(open_class(made, "iso", "crop1", "pm"), expected)


@pytest.mark.parametrize(("dataset", "crop"), crops())
def test_classes_are_the_unions_that_the_table_says(made: Path, dataset: str, crop: str) -> None:
    table = read_class_table(made / "classes.csv")
    assert tuple(table) == GENERATED_CLASSES
    hidden = CROPS[dataset][crop].get("not_annotated", [])
    arrays = {name: open_class(made, dataset, crop, name) for name in table if name not in hidden}
    unknown = arrays["cell"] == 255
    assert all(((values == 255) == unknown).all() for values in arrays.values())
    parts = {next(iter(ids)): arrays[name] for name, ids in table.items() if len(ids) == 1 and name in arrays}
    known = sum((values == 1).astype(int) for values in parts.values())
    assert known.max() == 1
    for name, ids in table.items():
        if name in arrays and ids <= set(parts):
            union = np.any([parts[part] == 1 for part in ids], axis=0)
            np.testing.assert_array_equal((arrays[name] > 0) & ~unknown, union)


@pytest.mark.parametrize(("dataset", "crop"), crops())
def test_each_object_has_a_number_and_is_in_one_piece(made: Path, dataset: str, crop: str) -> None:
    import cc3d

    assert {name for name in GENERATED_CLASSES if name in INSTANCE_CLASSES} == {"cell", "mito", "ves"}
    values = open_class(made, dataset, crop, "cell")
    assert values.dtype == np.uint16
    objects = np.where(values == 255, 0, values)
    assert cc3d.connected_components(objects, connectivity=6, return_N=True)[1] == len(np.unique(objects[objects > 0]))


def test_the_far_part_is_unknown_and_classes_that_are_not_annotated_have_no_group(made: Path) -> None:
    values = open_class(made, "iso", "crop2", "cyto")
    depth = len(values) - round(0.3 * len(values))
    assert set(np.unique(values[:depth])) == {0, 1}
    assert (values[depth:] == 255).all()
    names = {path.name for path in labels_group(made / "tree", "iso", "crop3").iterdir() if path.is_dir()}
    assert names == {*GENERATED_CLASSES, "all"} - {"mito", "cyto"}
    merged = zarr.open_array(labels_group(made / "tree", "iso", "crop3") / "all" / "s0", mode="r")[...]
    assert 3 not in merged  # cyto
    np.testing.assert_array_equal(merged == 5, open_class(made, "iso", "crop3", "mito_mem") == 1)


def test_complement_counts_are_those_of_the_array_at_every_level(made: Path) -> None:
    seen = 0
    for found in list_crops(made / "tree"):
        for name in read(Path(found.labels), ".zattrs")["cellmap"]["annotation"]["class_names"]:
            for folder in (Path(found.labels) / name).glob("s*"):
                notes = read(folder, ".zattrs")["cellmap"]["annotation"]
                values = zarr.open_array(folder, mode="r")[...]
                counts = {"absent": int((values == 0).sum()), "unknown": int((values == 255).sum())}
                assert notes["complement_counts"] == counts
                assert notes["class_name"] == name
                assert set(notes["annotation_type"]["encoding"]) >= set(counts)
                seen += 1
    assert seen == (9 + 9 + 7 + 9) * 3 + 9 * 2


def test_coarser_labels_say_what_most_of_their_voxels_are(made: Path) -> None:
    folder = labels_group(made / "tree", "iso", "crop1")
    arrays = {
        name: [zarr.open_array(folder / name / f"s{k}", mode="r")[...] for k in (0, 1)] for name in ("pm", "cell")
    }
    votes = [0, 0]
    fine, coarse = arrays["pm"]
    for voxel in product(*map(range, coarse.shape)):
        under = fine[tuple(slice(2 * v, 2 * v + 2) for v in voxel)]
        votes[int(coarse[voxel])] += int(under.sum()) - 4
    assert votes[0] < 0 < votes[1]
    assert set(np.unique(arrays["cell"][1])) <= set(np.unique(arrays["cell"][0]))


def test_manifests_give_the_voxels_of_the_arrays(made: Path) -> None:
    tests, train = (read_manifest(made / f"{kind}_crop_manifest.csv") for kind in ("test", "train"))
    assert {crop: tuple(row.label for row in rows) for crop, rows in group_by_crop(tests).items()} == {
        "crop9": GENERATED_CLASSES,
        "crop8": GENERATED_CLASSES,
    }
    for row in tests:
        folder = made / "truth.zarr" / row.crop / row.label
        assert read(folder, ".zattrs") == {
            "voxel_size": list(row.grid.voxel_size_zyx_nm),
            "translation": list(row.grid.offset_zyx_nm),
            "shape": list(row.grid.shape_zyx),
        }
        assert tuple(read(folder, ".zarray")["shape"]) == row.grid.shape_zyx
        assert not labels_group(made / "tree", row.dataset, row.crop).exists()
    for row in train:
        folder = labels_group(made / "tree", row.dataset, row.crop) / row.label
        finest = read(folder, ".zattrs")["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        assert tuple(finest[0]["scale"]) == row.grid.voxel_size_zyx_nm
        assert tuple(finest[1]["translation"]) == row.grid.offset_zyx_nm
        assert tuple(read(folder / "s0", ".zarray")["shape"]) == row.grid.shape_zyx
    assert [(row.label, row.crop) for row in train if row.crop == "crop3"] == [
        (name, "crop3") for name in GENERATED_CLASSES if name not in ("mito", "cyto")
    ]
    marker = read(made, "challenge.json")
    assert list(marker["crops"]) == ["crop5", "crop8", "crop1", "crop2", "crop3", "crop4", "crop9"]
    assert marker["crops"]["crop8"]["offset_zyx_nm"] == list(tests[0].grid.offset_zyx_nm)
    assert marker["datasets"]["aniso"]["voxel_size_zyx_nm"] == [13.92, 8.0, 8.0]


def digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and "provenance" not in file.parts)
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow("generates two challenges")
def test_the_script_writes_the_same_bytes_on_two_threads_and_over_an_old_challenge(made: Path, tmp_path: Path) -> None:
    presets = {name: phantom.model_dump(mode="json") for name, phantom in PHANTOMS.items()}
    (tmp_path / "cfg.yaml").write_text(json.dumps(CFG))
    (tmp_path / "phantoms.yaml").write_text(json.dumps(presets))
    out = tmp_path / "made"
    small = {"generate": {"old": DATASETS["iso"]}, "voxel_size_zyx_nm": [8, 8, 8], "classes": ["mito"]}
    for cfg, threads in ((small, "1"), (CFG, "2")):
        (tmp_path / "cfg.yaml").write_text(json.dumps(cfg))
        flags = {"--done": out / "challenge.json", "--config": tmp_path / "cfg.yaml", "--threads": threads}
        flags["--phantoms"] = tmp_path / "phantoms.yaml"
        main(**bind_flags(main, [str(part) for flag in flags.items() for part in flag]).arguments)
    assert digest(out) == digest(made)


def test_settings_of_phantoms_are_read_as_the_rule_gives_them() -> None:
    values = {"cubes": {"shape_zyx": [32, 32, 32]}}
    assert Phantoms.model_validate(values).root == {"cubes": PhantomConfig.model_validate(values["cubes"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phantom": "cube"}, r"cellmap\.generate\.iso\.phantom: .* did you mean 'cubes'\?"),
        ({"crops": {"crop1": {"start_zyx_vx": [30, 0, 0], "shape_zyx_vx": [16, 8, 8]}}}, "crop1 reaches out"),
        (
            {"crops": {"crop1": CROPS["iso"]["crop2"] | {"test": True}}},
            r"crops\.crop1: the truth of a crop to submit is whole",
        ),
        (
            {"crops": {"crop1": CROPS["iso"]["crop3"] | {"not_annotated": list(GENERATED_CLASSES)}}},
            "no class is annotated",
        ),
    ],
)
def test_what_cannot_be_made_is_said_with_its_key(tmp_path: Path, change: dict, message: str) -> None:
    cfg = CellmapConfig.model_validate(CFG | {"generate": {"iso": DATASETS["iso"] | change}})
    with pytest.raises(ConfigError, match=message):
        make_challenge(cfg, PHANTOMS, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_data_that_were_not_generated_are_not_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "tree" / "jrc_x" / "jrc_x.zarr" / ".zattrs"
    precious.parent.mkdir(parents=True)
    precious.write_text("{}")
    with pytest.raises(DataError, match=r"jrc_x\.zarr was not generated"):
        make_challenge(CellmapConfig.model_validate(CFG), PHANTOMS, tmp_path)
    assert precious.exists()
