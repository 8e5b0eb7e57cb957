"""The numbers of a generator as a whole: with known copies and noise in place of what it made."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_generator import SIZE, settings, write_generator, write_volume
from small_synthesis import COURSES, write_course

from connectomake.errors import ConfigError, DataError, MissingDataError, ModelError
from connectomake.files import write_json
from connectomake.geometry import Box
from connectomake.synth.checkpoints import load_autoencoder, save_autoencoder
from connectomake.synth.encode import encode_latents
from connectomake.synth.examples import Example, read_example, write_table
from connectomake.synth.intensity import to_disk, to_network
from connectomake.synth.metrics.features import FeatureReader
from connectomake.synth.metrics.measure_generator import generation_metrics
from connectomake.synth.stores import write_volume as write_made

SHAPES = ((16, 16, 16), (8, 16, 16))
GREY = (100.0, 300.0)
COUNTS = {SHAPES[0]: {"learn": 3, "hold": 2}, SHAPES[1]: {"learn": 1, "hold": 1}}


def list_small_examples(folder):
    """Write a volume of each class, and give its examples: of the smaller shape, `thin` has one of each role."""
    found = []
    for seed, name in enumerate(("thick", "thin")):
        source, x = write_volume(folder, name, seed, (16, 16, 16 * 7)), 0
        for shape in SHAPES[: 1 + seed]:
            for role, count in COUNTS[shape].items():
                for number in range(count):
                    box = Box.of_shape(shape).shift((0, 0, 16 * x))
                    key = f"{name}_{role}_{shape[0]}_{number}"
                    found.append(Example(key, name, name, role, source, box, shape, SIZE, GREY, "uint16"))
                    x += 1
    return found


def make(folder, example, name, cfg, image, labels):
    """Write a volume as `generate` does."""
    notes = {"synthetic": True, "class": example.class_name, "intensity": GREY}
    stored = labels if cfg.labels.kind != "none" else None
    write_made(folder / "volumes" / name, to_disk(image, GREY, "uint16"), stored, SIZE, notes, ("zarr",))
    return {"name": name}


def prepare(folder, cfg):
    """Write all that `generation_metrics` reads: `thick` volumes are copies of learnt ones, `thin` ones are noise."""
    examples = list_small_examples(folder)
    write_table(folder / "examples.tsv", examples)
    stage1 = write_generator(folder, cfg)["autoencoder"]
    model, meta = load_autoencoder(stage1)
    with torch.no_grad():
        model.decoder[-1].weight.mul_(0.25)
    save_autoencoder(folder / "stage2.ckpt", model, {"cfg": meta["cfg"]})
    own = (folder / "latents", 0, 1, folder / "latents" / "0-of-1.json")
    encode_latents(folder / "examples.tsv", folder / "stage2.ckpt", cfg, *own, device="cpu")
    rng, markers = np.random.default_rng(0), [[], []]
    for number, example in enumerate(e for e in examples if e.role == "learn"):
        noise = rng.uniform(-1, 1, example.shape_zyx_vx).astype(np.float32)
        labels = np.kron(rng.integers(1, 9, [n // 8 for n in noise.shape], np.uint32), np.ones((8, 8, 8), np.uint32))
        image = read_example(example, cfg)[0] if example.class_name == "thick" else noise
        markers[number % 2].append(make(folder, example, f"{example.class_name}_{number}", cfg, image, labels))
    for number, made in enumerate(markers):
        write_json(folder / "volumes" / f"{number}-of-2.json", {"volumes": made})
    return SimpleNamespace(folder=folder, cfg=cfg, stage1=stage1, examples=examples)


def measure(made, **changes):
    """Call `generation_metrics` with what was prepared, but for what is changed."""
    own = made.folder
    names = {"table": "metrics.tsv", "numbers": "metrics.json", "samples": "samples.npz"}
    given = {
        "examples": own / "examples.tsv",
        "stage1": made.stage1,
        "stage2": own / "stage2.ckpt",
        "latents": own / "latents",
        "volumes": sorted((own / "volumes").glob("*.json")),
        "folder": own / "volumes",
        "cfg": made.cfg,
    }
    return generation_metrics(**given | {key: own / name for key, name in names.items()} | changes)


def small_settings(kind, **sections):
    return settings(kind, examples={"shapes_zyx_vx": SHAPES}, **sections)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Measure a generator without labels; give what was prepared, and its rows by class, shape and metric."""
    found = prepare(tmp_path_factory.mktemp("metrics"), small_settings("none"))
    found.rows = {(row.class_name, row.shape_zyx_vx, row.metric): row for row in measure(found)}
    return found


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """Prepare a generator that makes volumes with labels."""
    tiles = {"generate": {"decode_zyx_vx": [16, 16, 8]}}
    return prepare(tmp_path_factory.mktemp("joint"), small_settings("joint", **tiles))


def images(made, role, class_name, shape=SHAPES[0]):
    wanted = (role, class_name, shape)
    chosen = [e for e in made.examples if (e.role, e.class_name, e.shape_zyx_vx) == wanted]
    return [read_example(example, made.cfg)[0] for example in chosen]


def test_table_and_json_hold_the_same_numbers(made):
    with (made.folder / "metrics.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    said = json.loads((made.folder / "metrics.json").read_text())
    assert (said["features"], said["made"], said["held_out"]) == ("FD-AE", 7, 5)
    assert [{key: "" if v is None else str(v) for key, v in row.items()} for row in said["rows"]] == table
    assert len(made.rows) == len(table) == 4 * 6 + 2 + 3 * 8
    assert all(row.better in ("higher", "lower", "none") and row.features for row in made.rows.values())


def test_copies_are_found_by_their_latents(made):
    copies, noise = (made.rows[name, "16x16x16", "nearest_latent"] for name in ("thick", "thin"))
    assert copies.value == pytest.approx(0, abs=1e-5)
    assert copies.reference > 0.01
    assert noise.value > 0.01
    assert (copies.n, copies.n_reference) == (3, 2)


def test_noise_is_further_from_real_volumes_than_these_are_from_each_other(made):
    for metric in ("frechet_distance", "rbf_mmd"):
        copies, noise = (made.rows[name, "16x16x16", metric] for name in ("thick", "thin"))
        assert copies.value == pytest.approx(copies.reference, rel=1e-4)  # all that was learnt, and all of it copied
        assert noise.value > noise.reference
        assert copies.features.startswith("FD-AE, 8 features")


def test_grey_values_are_those_of_the_volumes(made):
    real = images(made, "hold", "thin")
    mean, std, gradient = (made.rows["thin", "16x16x16", name] for name in ("mean", "std", "gradient"))
    assert mean.reference == pytest.approx(np.mean([r.mean() for r in real]), rel=1e-5)
    assert std.reference == pytest.approx(np.mean([r.std() for r in real]), rel=1e-5)
    assert std.value == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert gradient.value > 5 * gradient.reference


def test_stages_are_scored_by_whole_reconstructions(made):
    for stage, path in (("stage1", made.stage1), ("stage2", made.folder / "stage2.ckpt")):
        model, found = load_autoencoder(path)[0], []
        for real in images(made, "hold", "thick"):
            with torch.inference_mode():
                out = model.reconstruct(torch.from_numpy(real)[None, None])[0, 0].numpy().clip(-1, 1)
            found.append(10 * np.log10(4 / np.square(out - real).mean()))
        assert made.rows["thick", "16x16x16", f"{stage}_psnr_db"].value == pytest.approx(np.mean(found), rel=1e-4)
    assert made.rows["*", "*", "stage1_psnr_db"].n == 5
    assert 0 < made.rows["*", "*", "used_codes"].value <= 1
    assert 1 <= made.rows["*", "*", "code_perplexity"].value <= 16


def test_too_few_volumes_of_a_shape_leave_numbers_empty(made):
    for metric in ("frechet_distance", "rbf_mmd", "ms_ssim"):
        assert np.isnan(made.rows["thin", "8x16x16", metric].value)
    assert np.isfinite(made.rows["thin", "8x16x16", "nearest_latent"].value)
    lines = (made.folder / "metrics.tsv").read_text().splitlines()
    assert "thin\t8x16x16\trbf_mmd\t\t1\t\t1\tFD-AE, 8 features\tlower" in lines


def test_samples_are_slices_of_the_volumes(made):
    with np.load(made.folder / "samples.npz") as file:
        samples = dict(file)
    about = json.loads(str(samples["about"]))
    assert [group["class"] for group in about["groups"]] == ["thick", "thin", "thin"]
    real = images(made, "hold", "thick")
    for axis, middle in (("z", [r[8] for r in real]), ("y", [r[:, 8] for r in real])):
        assert np.array_equal(samples[f"0/real/{axis}"], np.rint((np.stack(middle) + 1) * 127.5).astype(np.uint8))
    assert samples["1/made/z"].shape == (3, 16, 16)
    assert not any("labels" in name for name in samples)
    assert [known["class"] for known in about["reconstructions"]] == ["thick", "thin"]
    assert np.array_equal(samples["0/reconstruction/real/z"], real[0][8])


def test_volumes_with_labels_are_measured_and_drawn(joint):
    rows = measure(joint)
    copies = next(row for row in rows if (row.class_name, row.metric) == ("thick", "mean"))
    assert copies.value == pytest.approx(np.mean([r.mean() for r in images(joint, "learn", "thick")]), abs=0.01)
    with np.load(joint.folder / "samples.npz") as file:
        assert file["0/made_labels/z"].max() > 1
        assert file["0/real_labels/y"].shape == file["0/real/y"].shape
    from draw_synthesis import main

    courses = {name: joint.folder / f"{name}.csv" for name in COURSES}
    for name, path in courses.items():
        write_course(path, name)
    figures = {name: joint.folder / f"{name}.png" for name in ("synthesis", "reconstruction", "training")}
    given = {"samples": joint.folder / "samples.npz", "numbers": joint.folder / "metrics.json"}
    main(**given, **courses, **figures, page=joint.folder / "metrics.html")
    assert all(path.stat().st_size > 20_000 for path in figures.values())
    assert "FD-AE, 8 features" in (joint.folder / "metrics.html").read_text()


@pytest.mark.parametrize("cut", [(16, 16, 16), (8, 24, 16)])
def test_features_are_mean_and_deviation_of_the_encoders_maps(made, cut):
    model, _ = load_autoencoder(made.folder / "stage2.ckpt")
    reader = FeatureReader(model, made.cfg.metrics)
    x = torch.rand((1, 1, *cut), generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = []
    hook = model.encoder[-2].register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    with torch.inference_mode():
        z = model.encode(x)
    hook.remove()
    values = torch.cat(maps).movedim(1, 0).flatten(1).double().numpy()
    found = reader.read(x)
    assert np.array_equal(found.z.numpy(), z.numpy())
    assert found.features == pytest.approx(np.concatenate([values.mean(1), values.std(1)]), rel=1e-6)


def test_medicalnet_is_read_from_its_file(made, tmp_path):
    from connectomake.synth.perceptual_networks import MedicalNet

    file = tmp_path / "resnet_10_23dataset.pth"
    state = {f"module.{name}": value for name, value in MedicalNet().body.state_dict().items()}
    torch.save({"state_dict": state}, file)
    model, _ = load_autoencoder(made.folder / "stage2.ckpt")
    cfg = made.cfg.metrics.model_copy(update={"features": "medicalnet", "weights": str(file)})
    reader = FeatureReader(model, cfg)
    x = torch.rand((1, 1, 16, 16, 16)) * 2 - 1
    found = reader.read(x)
    assert reader.name == "MedicalNet ResNet-10"
    assert found.features.shape == (1024,)
    assert np.array_equal(found.features, reader.read(x).features)
    with pytest.raises(ConfigError, match=r"metrics\.weights"):
        FeatureReader(model, cfg.model_copy(update={"weights": str(tmp_path / "none.pth")}))


def test_what_does_not_belong_together_is_refused(made, tmp_path):
    model, meta = load_autoencoder(made.stage1)
    with torch.no_grad():
        model.encoder[0].bias.add_(1)
    save_autoencoder(tmp_path / "other.ckpt", model, {"cfg": meta["cfg"]})
    with pytest.raises(ModelError, match=r"does not go on from .*run autoencoder_stage2 again"):
        measure(made, stage1=tmp_path / "other.ckpt")
    with pytest.raises(DataError, match="of another autoencoder"):
        measure(made, stage2=made.stage1)
    write_json(tmp_path / "0-of-1.json", {"volumes": [{"name": "thick_99"}]})
    with pytest.raises(MissingDataError, match="thick_99"):
        measure(made, volumes=[tmp_path / "0-of-1.json"])
    write_table(tmp_path / "examples.tsv", [example for example in made.examples if example.role == "learn"])
    with pytest.raises(DataError, match="holds out no example"):
        measure(made, examples=tmp_path / "examples.tsv")


def test_volumes_come_back_as_they_were_made():
    image = np.linspace(-1, 1, 201, dtype=np.float32)
    assert to_network(to_disk(image, GREY, "uint16"), GREY) == pytest.approx(image, abs=1e-6)


def test_the_script_calls_it_with_what_the_rule_gives(made, monkeypatch, tmp_path):
    import generation_metrics as script

    names = ("table", "numbers", "samples")
    given = {
        "examples": made.folder / "examples.tsv",
        "stage1": made.stage1,
        "stage2": made.folder / "stage2.ckpt",
        "volumes": [Path(tmp_path / "0-of-1.json")],
        "folder": made.folder / "volumes",
        "latents_folder": made.folder / "latents",
    }
    write_json(given["volumes"][0], {"volumes": [{"name": f"thick_{number}"} for number in range(2)]})
    script.main(**given, **{name: tmp_path / name for name in names}, cfg=made.cfg, threads=1)
    assert (tmp_path / "table").read_text().startswith("class\tshape_zyx_vx\tmetric\tvalue\tn\treference\t")
