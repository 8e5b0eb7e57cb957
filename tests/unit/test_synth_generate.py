"""Generated volumes: each its own seed, whatever else is made; finished ones stay; what made them is told."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_generator import CLASSES, SHAPE, SIZE, settings, write_examples, write_generator

from connectomake.config.engine.fill_generated import GeneratedVolume
from connectomake.errors import ConfigError, DataError, ModelError
from connectomake.files import read_json
from connectomake.synth import generate as module
from connectomake.synth.conditions import warp_example
from connectomake.synth.examples import read_table
from connectomake.synth.generate import generate, look_of, seed_of
from connectomake.synth.stores import NIFTI, describe_seen
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume

NAMES = ["thick_0", "thick_1", "thin_0", "thin_1"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def make(examples, tmp_path_factory):
    """Return a function that makes volumes into a folder, by the generator of a kind."""
    generators = {kind: tmp_path_factory.mktemp(kind) for kind in ("none", "joint", "conditional")}
    paths = {kind: write_generator(folder, settings(kind)) for kind, folder in generators.items()}

    def run(folder: Path, kind="none", job=0, jobs=1, **sections):
        marker, cfg = folder / f"{job}-of-{jobs}.json", settings(kind, **sections)
        generate(**paths[kind], cfg=cfg, folder=folder, job=job, jobs=jobs, marker=marker, examples=examples)
        return read_json(marker)

    return run


@pytest.fixture(scope="module")
def made(make, tmp_path_factory):
    """Make volumes of each kind in one job."""
    folders = {kind: tmp_path_factory.mktemp("made") for kind in ("none", "joint", "conditional")}
    for kind, folder in folders.items():
        make(folder, kind, generate={"formats": ["zarr", "nifti"]})
    return folders


def read_all(folder):
    """Return the bytes of all files of the volumes."""
    files = [path for name in NAMES for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_image(folder, name, part="raw.zarr"):
    return np.asarray(open_volume(str(folder / name / part)).read())


@pytest.mark.parametrize("kind", ["joint", "conditional"])
def test_jobs_make_no_difference(make, made, kind, tmp_path):
    both = {"formats": ["zarr", "nifti"]}
    shares = [[v["name"] for v in make(tmp_path, kind, job, 3, generate=both)["volumes"]] for job in (2, 0, 1)]
    assert shares == [["thin_0"], ["thick_0", "thin_1"], ["thick_1"]]
    assert read_all(tmp_path) == read_all(made[kind])


def test_volumes_differ_and_do_not_depend_on_what_else_is_made(make, made, tmp_path):
    images = [read_image(made["none"], name) for name in NAMES]
    assert len({image.tobytes() for image in images}) == len(NAMES)
    make(tmp_path, generate={"volumes": 1})
    np.testing.assert_array_equal(read_image(tmp_path, "thin_0"), images[2])
    make(tmp_path, generate={"volumes": 1, "seed": 1})
    assert (read_image(tmp_path, "thin_0") != images[2]).any()


def test_seeds_are_those_of_class_shape_and_number():
    volumes = [
        GeneratedVolume("x", name, shape, number)
        for name in CLASSES for shape in (SHAPE, (16, 16, 32)) for number in range(20)
    ]  # fmt: skip
    assert len({seed_of(seed, volume, part) for seed in (0, 1) for volume in volumes for part in (0, 1)}) == 320
    assert seed_of(0, volumes[0], 0) == seed_of(0, GeneratedVolume("y", "thick", SHAPE, 0), 0)


def test_images_have_the_grey_values_of_those_learnt_from(made):
    for kind, folder in made.items():
        image = read_image(folder, "thin_0")
        assert (image.shape, image.dtype) == (SHAPE, np.uint16), kind
        assert image.min() >= 100
        assert image.max() <= 300
        assert image.std() > 1


def test_attributes_tell_what_made_a_volume(made, examples):
    own = made["joint"] / "thin_1"
    noted = read_attributes(own / "raw.zarr")
    assert noted == read_attributes(own / "labels.zarr")
    assert (noted["synthetic"], noted["class"], noted["shape_zyx"]) == (True, "thin", list(SHAPE))
    assert noted["settings"]["generate"]["steps"] == 4
    assert read_json(made["joint"] / "0-of-1.json")["generator"] == noted["generator"]
    assert {len(value) for value in noted["generator"].values()} == {64}
    folder = examples.parent.resolve()
    assert noted["seen"] == [
        {"source": f"{folder / name / 'raw.zarr'}", "start": [0, 0, 0], "stop": [16, 16, 32]} for name in CLASSES
    ]


def test_nifti_holds_the_same_volume_with_its_voxel_size(made):
    volume = open_volume(str(made["none"] / "thin_0" / NIFTI))
    assert volume.voxel_size_zyx_nm == pytest.approx(SIZE)
    np.testing.assert_array_equal(np.asarray(volume.read()), read_image(made["none"], "thin_0"))


def test_conditional_labels_are_those_that_the_image_was_made_for(made, examples):
    folder = made["conditional"]
    noted = read_attributes(folder / "thin_1" / "raw.zarr")
    (source,) = [e for e in read_table(examples) if e.role == "learn" and e.as_settings() == noted["labels_of"]]
    seed = seed_of(0, GeneratedVolume("thin_1", "thin", SHAPE, 1), 1)
    labels = read_image(folder, "thin_1", "labels.zarr")
    np.testing.assert_array_equal(labels, warp_example(source, SHAPE, 60.0, seed))
    assert noted["labels_of"] != read_attributes(folder / "thin_0" / "raw.zarr")["labels_of"]


def test_a_killed_job_goes_on_to_the_same_bytes(make, made, tmp_path, monkeypatch):
    shutil.copytree(made["joint"], tmp_path, dirs_exist_ok=True)
    for name in ("thick_1", "thin_0"):
        shutil.rmtree(tmp_path / name)
    own, calls = module.write_volume, []

    def die_half_way(folder, image, labels, *rest):
        calls.append(folder.name)
        own(folder, image, labels, *rest)
        if folder.name == "thick_1":
            (folder / "raw.zarr" / "zarr.json").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_volume", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "joint", generate={"formats": ["zarr", "nifti"]})
    monkeypatch.setattr(module, "write_volume", lambda folder, *rest: (calls.append(folder.name), own(folder, *rest)))
    make(tmp_path, "joint", generate={"formats": ["zarr", "nifti"]})
    assert calls == ["thick_1", "thick_1", "thin_0"], "finished volumes are kept"
    assert read_all(tmp_path) == read_all(made["joint"])


def test_other_settings_make_volumes_anew(make, made, tmp_path):
    shutil.copytree(made["joint"], tmp_path, dirs_exist_ok=True)
    before = read_image(tmp_path, "thin_0")
    make(tmp_path, "joint", generate={"steps": 5})
    assert (read_image(tmp_path, "thin_0") != before).any()
    assert not (tmp_path / "thin_0" / NIFTI).exists()
    assert read_attributes(tmp_path / "thin_0" / "labels.zarr")["settings"]["generate"]["steps"] == 5


@pytest.mark.parametrize("kind", ["codebook", "std"])
def test_samples_are_clipped_only_where_latents_lie_within_the_codebook(examples, tmp_path, monkeypatch, kind):
    cfg, asked = settings(generate={"sampler": "ddpm", "volumes": 1}), []

    def sample(self, model, noise, y, condition, how, clip, generators):
        asked.append((how, clip, y.tolist()))
        return torch.zeros_like(noise)

    monkeypatch.setattr("connectomake.synth.diffusion.Diffusion.sample", sample)
    paths = write_generator(tmp_path, cfg, normalisation=kind)
    generate(**paths, cfg=cfg, folder=tmp_path, job=0, jobs=1, marker=tmp_path / "m.json", examples=examples)
    assert asked == [(cfg.generate, kind == "codebook", [number]) for number in (0, 1)]


def test_decoding_in_tiles_gives_about_the_same(make, made, tmp_path):
    make(tmp_path, generate={"decode_zyx_vx": [8, 16, 16], "overlap": 0.5})
    whole, tiled = (read_image(folder, "thin_0").astype(float) for folder in (made["none"], tmp_path))
    assert (whole != tiled).any()
    assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.5


def test_what_learns_from_generated_volumes_has_seen_what_they_were_made_from(examples):
    learnt = [example for example in read_table(examples) if example.role == "learn"][:1]
    told = read_json(learnt[0].source)
    (entry,) = describe_seen(learnt)
    assert (entry["start"], entry["stop"]) == ([0, 0, 0], [16, 16, 16])
    other = {"source": "/a.h5::raw", "start": [1, 2, 3], "stop": [4, 5, 6]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectomake.volumes.contract.read_json", lambda path: told | {"seen": [other]})
        assert describe_seen(learnt) == sorted([entry, other], key=lambda e: e["source"])


def test_a_class_looks_as_the_middle_of_its_examples(examples):
    learnt = read_table(examples)[:3]
    ranges = ((0.0, 200.0), (100.0, 300.0), (20.0, 1000.0))
    look = look_of(
        [replace(e, intensity=r, dtype=t) for e, r, t in zip(learnt, ranges, ("uint8", "uint16", "uint8"), strict=True)]
    )
    assert (look.voxel_size_zyx_nm, look.intensity, look.dtype) == (SIZE, (20.0, 300.0), np.uint16)


def test_an_autoencoder_that_the_latents_are_not_of_is_refused(examples, tmp_path):
    cfg = settings()
    paths, others = (write_generator(tmp_path, cfg), tmp_path / "other")
    others.mkdir()
    paths["autoencoder"] = write_generator(others, cfg, seed=1)["autoencoder"]
    with pytest.raises(ModelError, match=r"of another autoencoder.* expected hash [0-9a-f]{64}; got [0-9a-f]{64}"):
        generate(**paths, cfg=cfg, folder=tmp_path, job=0, jobs=1, marker=tmp_path / "m", examples=examples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diffusion": {"timesteps": 40}}, r"another diffusion.timesteps; expected 20; got 40"),
        ({"autoencoder": {"codes": 8}}, "another autoencoder"),
        ({"kind": "joint"}, "another labels.kind; expected none; got joint"),
    ],
)
def test_settings_that_the_training_did_not_have_are_refused(examples, tmp_path, changes, message):
    paths, cfg = write_generator(tmp_path, settings()), settings(**changes)
    with pytest.raises(ConfigError, match=message):
        generate(**paths, cfg=cfg, folder=tmp_path, job=0, jobs=1, marker=tmp_path / "m", examples=examples)


def test_examples_of_other_classes_and_jobs_that_are_none_are_refused(make, examples, tmp_path):
    with pytest.raises(DataError, match="no such job; expected 0 to 1; got 2"):
        make(tmp_path, job=2, jobs=2)
    lines = examples.read_text().splitlines()
    (tmp_path / "other.tsv").write_text("\n".join(line for line in lines if "thin" not in line) + "\n")
    cfg, paths = settings(), write_generator(tmp_path, settings())
    with pytest.raises(DataError, match="expected classes thick, thin; got thick"):
        generate(
            **paths, cfg=cfg, folder=tmp_path, job=0, jobs=1, marker=tmp_path / "m", examples=tmp_path / "other.tsv"
        )
