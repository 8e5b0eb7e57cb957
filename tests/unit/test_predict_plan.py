"""What is decided before anything is predicted, and all that is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from by_hand import run_by_hand
from small_volume import write_description

from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_architectures import BasicUnetConfig
from connectomake.errors import ConfigError, DataError, MissingDataError, ModelError, ResumeMismatchError
from connectomake.geometry import Box
from connectomake.ledger import Ledger
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, save_checkpoint
from connectomake.models.registry import build_model
from connectomake.predict.plan import plan_prediction
from connectomake.predict.plan_file import read_plan, write_plan
from connectomake.predict.windows.grid import WindowGrid
from connectomake.train.normalisation import Normalisation, find_normalisation
from connectomake.train.volumes import LabelledBox
from connectomake.volumes.grey_values import measure_grey_values, sample_grey_values
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.store import create_store, finish_store, remove_store, write_store

SHAPE, SIZE, OFFSET = (24, 40, 36), (20.0, 9.0, 9.0), (5.0, 6.0, 7.0)
UNET = BasicUnetConfig(filters=(4, 4, 4, 8, 8, 4))
CHANNELS = [
    {"name": name, "target": "affinity", "offset_zyx_vx": offset, "activation": "sigmoid", "binary": True, "axes": ""}
    for name, offset in (("z1", [1, 0, 0]), ("y1", [0, 1, 0]), ("x1", [0, 0, 1]))
]
CFG = PredictConfig(block_zyx_vx=(16, 16, 16), chunk_zyx_vx=(8, 8, 8), precision="float32", device="cpu")


def change(cfg=CFG, **values):
    return PredictConfig.model_validate(cfg.model_dump() | values)


def write_volume(folder, raw=None, size=SIZE):
    raw = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8) if raw is None else raw
    write_store(folder / "raw.zarr", raw, voxel_size_zyx_nm=size, offset_zyx_nm=OFFSET)
    axes, shape = ("zyx" if raw.ndim == 3 else "czyx"), raw.shape[-3:]
    entry = {"source": "raw.zarr", "axes": axes, "box_zyx_vx": [[0, 0, 0], shape], "dtype": raw.dtype.name}
    settings = {"folder": "", "raw": None, "axes": None}
    described = {"name": "left", "shape_zyx": shape, "voxel_size_zyx_nm": size, "offset_zyx_nm": OFFSET}
    return write_description(folder / "volume.json", {**described, "raw": entry, "settings": settings})


def write_checkpoint(path, model=UNET, seed=0, **options):
    given = {
        "architecture": describe_architecture(model),
        "in_channels": 1,
        "channels": CHANNELS,
        "normalisation": {"mean": 120.0, "std": 60.0, "each": "together", "dtype": "uint8", "range": [2, 250]},
        "voxel_size_zyx_nm": SIZE,
        "window_zyx": (16, 32, 32),
        "divisor_zyx": (16, 16, 16),
    }
    torch.manual_seed(seed)
    meta = CheckpointMeta(**given | options)
    save_checkpoint(path, build_model(model, meta.in_channels, len(meta.channels)), meta)
    return path


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_volume(tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("trained") / "model.ckpt")


def plan(volume, *checkpoints, cfg=CFG, **options):
    return plan_prediction(volume, checkpoints, cfg, **{"name": "left", "folder": "", "store": None, **options})


def test_a_plan_is_read_as_it_was_written(tmp_path, volume, trained):
    write_store(tmp_path / "mask.zarr", np.ones((3, 5, 5), np.uint8), voxel_size_zyx_nm=[8 * s for s in SIZE])
    region = {"crops_zyx_vx": (((1, 2, 3), (9, 30, 30)), ((5, 5, 5), (20, 20, 20))), "mask": "mask.zarr"}
    cfg = change(regions={"left": region}, channels=(2, 0), margin_zyx_vx=(4, 0, 0), tta={"flip": ("x",)})
    made = plan(volume, trained, cfg=cfg, folder=str(tmp_path))
    write_plan(made, tmp_path / "plan.json")
    found = read_plan(tmp_path / "plan.json")
    assert found == made
    assert found.settings == made.settings
    assert found.region.box == Box((1, 2, 3), (20, 30, 30))
    assert found.blocks.shape_zyx == (19, 28, 27)
    assert found.windows == WindowGrid(SHAPE, (16, 32, 32), 0.5, (4, 0, 0))
    assert [channel.offset_zyx_vx for channel in found.recipes[0].kept] == [(0, 0, 1), (1, 0, 0)]
    assert found.open(IngestedVolume.read(volume)).shape_zyx == SHAPE


def test_the_settings_hold_all_that_decides_the_result(volume, trained):
    held = plan(volume, trained).settings.as_plain()
    assert held["channels"] == ["z1", "y1", "x1"]
    assert held["offsets_zyx_vx"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert held["normalisation"] == {"mean": 120, "std": 60}
    assert held["source"] == {"level": None, "resampled": False}
    assert held["region"] == {
        "box_zyx_vx": [[0, 0, 0], list(SHAPE)],
        "crops_zyx_vx": [],
        "mask": {"source": None, "fingerprint": None},
    }
    assert held["volume"]["shape_zyx"] == list(SHAPE)
    assert held["tta"] == {"flip": [], "rotate": [], "permute": [], "merge": "mean"}
    assert (held["voxel_size_zyx_nm"], held["offset_zyx_nm"]) == (list(SIZE), list(OFFSET))
    assert {"margin_zyx_vx", "dtype", "pyramid", "compile", "precision", "chunk_zyx_vx", "block_zyx_vx"} <= set(held)
    assert not PredictConfig.effort & set(held)
    other = plan(volume, trained, cfg=change(jobs=3, memory_gb=9, batch=2)).settings.as_plain()
    assert other == held


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text('{"settings": {}}')
    with pytest.raises(DataError, match=r"plan\.json: recipes is missing; .*plan_prediction again"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(MissingDataError):
        read_plan(tmp_path / "none.json")


def test_a_plan_that_lacks_something_is_refused(tmp_path, volume, trained):
    made = plan(volume, trained)
    write_plan(made, tmp_path / "plan.json")
    told = json.loads((tmp_path / "plan.json").read_text())
    tolerated = {"channels", "activations", "activation", "normalisation", "blending", "pyramid"}
    lacking = {f"settings.{key}": told | {"settings": {**told["settings"]}} for key in told["settings"]}
    for key, value in lacking.items():
        del value["settings"][key.removeprefix("settings.")]
    lacking |= {key: {name: told[name] for name in told if name != key} for key in told}
    for key, value in lacking.items():
        (tmp_path / "plan.json").write_text(json.dumps(value))
        if key.removeprefix("settings.") in tolerated:
            read_plan(tmp_path / "plan.json")
            continue
        with pytest.raises(DataError) as error:
            read_plan(tmp_path / "plan.json")
        assert str(error.value).startswith(f"{tmp_path / 'plan.json'}: {key} is missing; expected ")
        assert str(error.value).endswith("delete it and run plan_prediction again")
        assert "\n" not in str(error.value)
    tta = {"settings": told["settings"] | {"tta": {"flip": "upside down"}}}
    (tmp_path / "plan.json").write_text(json.dumps(told | tta))
    with pytest.raises(
        DataError, match=r"settings\.tta: wrong value; expected .*; got .*upside down.*; delete it and run"
    ):
        read_plan(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(json.dumps({"schema": 2, **told}))
    with pytest.raises(DataError, match="schema: this version is not known; expected 1; got 2; update Connectomake"):
        read_plan(tmp_path / "plan.json")


def test_an_ensemble_has_a_recipe_each(tmp_path, volume, trained):
    other = write_checkpoint(tmp_path / "b.ckpt", seed=1, normalisation={"mean": 100.0, "std": 50.0, "range": [0, 255]})
    made, turned = plan(volume, trained, other), plan(volume, other, trained)
    assert sorted((recipe.mean, recipe.std) for recipe in made.recipes) == [(100, 50), (120, 60)]
    assert made.settings.as_plain()["normalisation"] == [{"mean": r.mean, "std": r.std} for r in made.recipes]
    assert made == turned
    alone = plan(volume, trained)
    assert made.settings.checkpoint_hash != alone.settings.checkpoint_hash
    assert made.needs.flops == 2 * alone.needs.flops


@pytest.mark.parametrize(
    ("options", "trait", "values"),
    [
        ({"channels": CHANNELS[:2]}, "the number of channels", "23"),
        ({"channels": [{**c, "name": c["name"] + "a"} for c in CHANNELS]}, "the name of channel 0", ("z1", "z1a")),
        (
            {"channels": [*CHANNELS[:2], {**CHANNELS[2], "offset_zyx_vx": [0, 0, -1]}]},
            "the offset of channel 2",
            ("(0, 0, 1)", "(0, 0, -1)"),
        ),
        (
            {"channels": [*CHANNELS[:2], {**CHANNELS[2], "activation": "tanh"}]},
            "the activation of channel 2",
            ("sigmoid", "tanh"),
        ),
        ({"edge_convention": "destination"}, "the edge convention", ("source", "destination")),
        ({"voxel_size_zyx_nm": (20.0, 9.0, 9.5)}, "the voxel size", ("20 x 9 x 9 nm", "20 x 9 x 9.5 nm")),
        ({"in_channels": 2}, "the channels of the volume", "12"),
    ],
)
def test_an_ensemble_that_disagrees_is_refused(tmp_path, volume, trained, options, trait, values):
    other = write_checkpoint(tmp_path / "b.ckpt", **options)
    with pytest.raises(ModelError, match=f"cannot be averaged: they differ in {trait}") as raised:
        plan(volume, trained, other)
    assert all(str(word) in str(raised.value) for word in (trained, other))
    found = str(raised.value).partition("; expected ")[2]
    assert found.partition("; take")[0] in {"; got ".join(values), "; got ".join(values[::-1])}


def test_no_checkpoint_is_refused(volume, tmp_path):
    with pytest.raises(ModelError, match="no checkpoint to predict with"):
        plan(volume)
    with pytest.raises(MissingDataError, match=r"none\.ckpt"):
        plan(volume, tmp_path / "none.ckpt")


def test_a_volume_of_other_channels_is_refused(tmp_path, volume, trained):
    with pytest.raises(DataError, match=r"raw\.zarr.*b\.ckpt; expected 2 channels, as trained on; got 1"):
        plan(volume, write_checkpoint(tmp_path / "b.ckpt", in_channels=2))
    with pytest.raises(DataError, match=r"model\.ckpt; expected 1 channels.*got 2"):
        plan(write_volume(tmp_path, np.random.default_rng(0).integers(0, 255, (2, *SHAPE)).astype(np.uint8)), trained)


@pytest.mark.parametrize(("channels", "got"), [(4, "the first 4"), ((0, 3), r"\[0, 3\]")])
def test_channels_that_the_network_does_not_have_are_refused(volume, trained, channels, got):
    with pytest.raises(ConfigError, match=rf"predict\.channels.*expected some of 0 z1, 1 y1, 2 x1; got {got}"):
        plan(volume, trained, cfg=change(channels=channels))


def test_a_window_that_does_not_suit_is_refused_and_another_one_warned_of(volume, trained, caplog):
    with pytest.raises(ConfigError, match=r"\(predict\.window_zyx_vx\) do not suit the network .*leave it out"):
        plan(volume, trained, cfg=change(window_zyx_vx=(24, 33, 32)))
    with caplog.at_level(logging.WARNING):
        made = plan(volume, trained, cfg=change(window_zyx_vx=(16, 32, 16)))
    assert made.windows.window_zyx == (16, 32, 16)
    assert "windows of (16, 32, 16) voxels, but the network" in caplog.text
    assert "was trained with (16, 32, 32)" in caplog.text


def test_voxels_of_another_size_are_refused_unless_told(tmp_path, trained, caplog):
    volume = write_volume(tmp_path, size=(20.0, 9.0, 18.0))
    with pytest.raises(ConfigError, match=r"20 x 9 x 9 nm.*predict\.scale"):
        plan(volume, trained)
    with caplog.at_level(logging.WARNING):
        plan(volume, trained, cfg=change(scale="as_is"))
    assert "1 x 1 x 2 times the size" in caplog.text
    made = plan(volume, trained, cfg=change(scale="resample"))
    assert made.settings.as_plain()["source"] == {"level": None, "resampled": True}
    assert made.settings.voxel_size_zyx_nm == SIZE
    assert made.settings.shape_zyx == (24, 40, 72)
    assert made.open(IngestedVolume.read(volume)).shape_zyx == (24, 40, 72)
    # 5 % is near enough.
    near = write_volume(tmp_path / "near", size=(20.0, 9.4, 9.0))
    assert plan(near, trained).settings.voxel_size_zyx_nm == (20.0, 9.4, 9.0)


def test_a_small_volume_and_a_large_margin_are_warned_of(tmp_path, trained, caplog):
    volume = write_volume(tmp_path, np.random.default_rng(0).integers(0, 255, (10, 40, 40)).astype(np.uint8))
    with caplog.at_level(logging.WARNING):
        plan(volume, trained)
    assert "(10, 40, 40) voxels (z, y, x), is smaller than a window, (16, 32, 32)" in caplog.text
    assert "margin" not in caplog.text
    with caplog.at_level(logging.WARNING):
        plan(volume, trained, cfg=change(margin_zyx_vx=(10, 0, 0)))
    assert "predict.margin_zyx_vx [10, 0, 0] is more than the mirror image" in caplog.text


def test_turns_over_unequal_sides_are_refused(volume, trained):
    with pytest.raises(ConfigError, match=r"predict\.tta\.rotate exchanges z and x"):
        plan(volume, trained, cfg=change(tta={"rotate": ("zx",)}))


def test_grey_values_far_beyond_the_trained_ones_are_refused(tmp_path, trained, caplog):
    wide = np.random.default_rng(0).integers(0, 40_000, SHAPE).astype(np.uint16)
    with pytest.raises(DataError, match=r"raw\.zarr::s0 lie far beyond .*model\.ckpt.*2 to 250 \(uint8\).*\(uint16\)"):
        plan(write_volume(tmp_path / "wide", wide), trained)
    low = np.random.default_rng(0).integers(-30_000, 200, SHAPE).astype(np.int16)
    with pytest.raises(DataError, match="far beyond"):
        plan(write_volume(tmp_path / "low", low), trained)
    plan(write_volume(tmp_path / "somewhat", (wide // 100).astype(np.uint16)), trained)
    assert "grey values" not in caplog.text
    with caplog.at_level(logging.WARNING):
        plan(write_volume(tmp_path / "narrow", (wide // 5000).astype(np.uint16)), trained)
    assert "those that" in caplog.text
    assert "was trained on from 2 to 250 (uint8)" in caplog.text


def test_a_few_odd_voxels_are_no_range(tmp_path, trained):
    raw = np.random.default_rng(0).integers(0, 255, (64, 64, 64)).astype(np.uint16)
    raw[0, 0, :2] = 60_000
    assert plan(write_volume(tmp_path, raw), trained).settings.as_plain()["volume"]["dtype"] == "uint16"


def test_older_checkpoints_are_compared_by_mean(tmp_path, caplog):
    old = write_checkpoint(tmp_path / "old.ckpt", normalisation={"mean": 120.0, "std": 60.0})
    wide = np.random.default_rng(0).integers(0, 40_000, SHAPE).astype(np.uint16)
    with caplog.at_level(logging.WARNING):
        plan(write_volume(tmp_path / "same"), old)
        assert "standard deviations" not in caplog.text
        plan(write_volume(tmp_path / "wide", wide), old)
    assert "standard deviations from the 120 that" in caplog.text


def test_each_volume_by_itself_is_measured_once_for_all_jobs(tmp_path):
    each = write_checkpoint(tmp_path / "each.ckpt", normalisation={"mean": 1.0, "std": 2.0, "each": "each_volume"})
    raw = np.random.default_rng(0).integers(0, 40_000, SHAPE).astype(np.uint16)
    made = plan(write_volume(tmp_path / "wide", raw), each)
    assert made.settings.as_plain()["normalisation"] == pytest.approx({"mean": raw.mean(), "std": raw.std()})
    for value in (7.0, np.nan):
        flat = write_volume(tmp_path / str(value), np.full(SHAPE, value, np.float32))
        with pytest.raises(DataError, match=r"raw\.zarr::s0 cannot be normalised"):
            plan(flat, each)


def test_the_region_is_that_of_the_volume(volume, trained):
    regions = {"left": {"box_zyx_vx": ((0, 0, 0), (4, 4, 4))}, "right": {"box_zyx_vx": ((0, 0, 0), (8, 8, 8))}}
    assert plan(volume, trained, cfg=change(regions=regions)).region.box == Box.of_shape((4, 4, 4))
    assert plan(volume, trained, cfg=change(regions=regions), name="third").region.is_box
    with pytest.raises(DataError, match=r"predict\.regions\.left\.box_zyx_vx does not lie in the volume"):
        plan(volume, trained, cfg=change(regions={"left": {"box_zyx_vx": ((90, 0, 0), (94, 4, 4))}}))


def test_a_store_that_was_begun_keeps_its_blocks(tmp_path, volume, trained):
    store = tmp_path / "affinities.zarr"
    before = plan(volume, trained, store=store)
    assert not store.exists()
    Ledger(store / "ledger", before.settings.as_plain())
    again = plan(volume, trained, store=store, cfg=change(block_zyx_vx=(32, 32, 32), memory_gb=100))
    assert again.settings == before.settings
    assert again.blocks == before.blocks


def test_a_store_that_was_begun_otherwise_is_refused_at_once(tmp_path, volume, trained):
    store = tmp_path / "affinities.zarr"
    Ledger(store / "ledger", plan(volume, trained, store=store).settings.as_plain())
    with pytest.raises(ResumeMismatchError, match=r"affinities\.zarr was begun.*: overlap was 0\.5, is now 0\.25"):
        plan(volume, trained, store=store, cfg=change(overlap=0.25, block_zyx_vx=(32, 32, 32)))
    other = write_checkpoint(tmp_path / "b.ckpt", seed=1)
    with pytest.raises(ResumeMismatchError, match="checkpoint_hash was"):
        plan(volume, other, store=store)


def test_blocks_are_made_smaller_until_they_fit(tmp_path, trained, caplog):
    shape = (512, 512, 512)
    write_volume(tmp_path, np.zeros((1, 1, 1), np.uint8))
    remove_store(tmp_path / "raw.zarr")
    create_store(tmp_path / "raw.zarr", shape=shape, dtype="uint8", voxel_size_zyx_nm=SIZE, offset_zyx_nm=OFFSET)
    finish_store(tmp_path / "raw.zarr", attributes={})
    volume = tmp_path / "volume.json"
    described = json.loads(volume.read_text())
    described["raw"]["box_zyx_vx"] = [[0, 0, 0], shape]
    volume.write_text(json.dumps(described))
    cfg = change(block_zyx_vx=shape)
    with pytest.raises(ConfigError, match=r"predict\.memory_gb"):
        plan(volume, trained, cfg=change(cfg, memory_gb=0.01))
    assert plan(volume, trained, cfg=change(cfg, memory_gb=20)).blocks.block_zyx == shape
    with caplog.at_level(logging.INFO):
        made = plan(volume, trained, cfg=change(cfg, memory_gb=3))
    assert made.blocks.block_zyx < shape
    assert made.settings.block_zyx_vx == made.blocks.block_zyx
    assert made.needs.mem_mb <= 3000
    assert made.needs.memory_bytes.keys() >= {"activations", "raw", "sums", "output"}
    assert "GB of memory" in caplog.text
    assert f"3 channels, in {len(made.blocks)} blocks of {made.blocks.block_zyx}" in caplog.text
    Ledger(tmp_path / "a.zarr/ledger", plan(volume, trained, cfg=change(cfg, memory_gb=20)).settings.as_plain())
    assert plan(volume, trained, cfg=change(cfg, memory_gb=3), store=tmp_path / "a.zarr").blocks.block_zyx == shape
    assert "more than predict.memory_gb: 3; blocks that were begun stay as they are" in caplog.text


def test_the_needs_are_of_all_jobs(volume, trained):
    assert plan(volume, trained, cfg=change(jobs="auto")).needs == plan(volume, trained, cfg=change(jobs=1)).needs
    one, four = (plan(volume, trained, cfg=change(jobs=jobs)).needs for jobs in (1, 4))
    assert one.windows == four.windows == len(WindowGrid(SHAPE, (16, 32, 32), 0.5))
    assert one.windows_computed <= four.windows_computed
    flipped = plan(volume, trained, cfg=change(tta={"flip": ("z", "y")})).needs
    assert flipped.flops == 4 * one.flops


def test_training_records_the_grey_values_that_it_saw():
    raw = np.random.default_rng(0).integers(10, 211, (64, 64, 64)).astype(np.uint16)
    raw[0, 0, 0] = 9999
    labels = np.ones(raw.shape, np.uint32)
    boxes = [
        LabelledBox(f"{k}", values, labels, 1, raw.shape, (8.0, 8.0, 8.0), 1.0)
        for k, values in enumerate((raw[None], (raw[None] % 100).astype(np.uint8)))
    ]
    for cfg in (TrainConfig(), TrainConfig(raw_mean=0, raw_std=255)):
        told = find_normalisation(boxes, cfg).as_dict()
        assert told["dtype"] == "uint16"
        assert told["range"] == pytest.approx([0, 210], abs=1)
    assert (told["mean"], told["std"]) == (0, 255)
    assert Normalisation(1.0, 2.0).as_dict() == {"mean": 1, "std": 2, "each": "together"}
    assert sample_grey_values(raw)[:2] == measure_grey_values(raw)
    assert np.isnan(sample_grey_values(np.full((4, 4, 4), np.nan, np.float32))).all()


def test_the_script_writes_the_plan(tmp_path, volume, trained, monkeypatch, capsys):
    given = {"--volume": volume, "--checkpoints": trained, "--plan": tmp_path / "plan.json", "--name": "left"}
    flags = [word for pair in given.items() for word in pair]
    changes = ["--set", "device=cpu", "--set", "regions.left.box_zyx_vx=[[0,0,0],[8,9,10]]"]
    assert run_by_hand(monkeypatch, "plan_prediction", [*flags, *changes]) == 0
    assert read_plan(tmp_path / "plan.json").region.box == Box.of_shape((8, 9, 10))
    assert "GB of memory" in capsys.readouterr().err
