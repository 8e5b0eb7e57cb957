"""Each channel by its own activation: in the network's output, in the store, and in what decoders read."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import small_prediction
import torch
from small_prediction import change
from small_volume import write_description
from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.decode.channels import Channels
from connectomake.decode.maps import as_floats
from connectomake.decode.whole import decode_store
from connectomake.errors import DataError, ResumeMismatchError
from connectomake.geometry import BlockGrid, Box
from connectomake.models.activation import activate
from connectomake.predict.finish import finish_prediction
from connectomake.predict.network import members
from connectomake.predict.network.evaluate import Ensemble, Predictor
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.volumes.grey_values import measure_grey_values
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.store import read_attributes, write_store
from connectomake.volumes.volume import open_volume

CHANNELS = [
    Channel("affinity z+1", "affinity", (1, 0, 0)),
    Channel("binary", "binary"),
    Channel("distance", "distance", activation="tanh", binary=False),
    *(Channel(name, "classes", activation="softmax") for name in ("background", "mito", "er")),
    Channel("free", "free", activation="identity", binary=False),
]
KINDS = ["sigmoid", "sigmoid", "tanh", "softmax", "softmax", "softmax", "identity"]
WINDOW = (4, 8, 8)
SHAPE = (6, 12, 20)
CFG = PredictConfig(block_zyx_vx=(8, 8, 8), chunk_zyx_vx=(4, 4, 4), precision="float32", device="cpu")


class Slopes(nn.Module):
    """Gives each channel another multiple of its input."""

    def forward(self, x):
        return torch.cat([3 * x, -x, 0.8 * x, x - 1, -2 * x, 0.5 * x, 0.3 * x + 0.3], 1)


def draw_raw(seed=0):
    return np.random.default_rng(seed).integers(0, 255, SHAPE).astype(np.uint8)


def make_recipe(**options):
    return Recipe(**{"mean": 120.0, "std": 60.0, "channels": tuple(range(7)), "outputs": tuple(CHANNELS), **options})


def predict(recipe, core=None):
    grid = WindowGrid(SHAPE, WINDOW, 0.5)
    core = Box.of_shape(SHAPE) if core is None else core
    at = grid.hull(core)
    predictor = Predictor(Slopes().eval(), recipe, device=torch.device("cpu"))
    sliding = SlidingWindow(Ensemble([predictor]), grid)
    return sliding.predict(draw_raw()[None, *at.slices].copy(), at, core)


def test_activations_by_hand():
    logits = torch.randn(2, 7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = activate(logits, CHANNELS)
    for part, expected in [
        (slice(0, 2), torch.sigmoid(logits[:, :2])),
        (slice(2, 3), torch.tanh(logits[:, 2:3])),
        (slice(3, 6), torch.softmax(logits[:, 3:6], 1)),
        (slice(6, 7), logits[:, 6:]),
    ]:
        torch.testing.assert_close(found[:, part], expected, rtol=0, atol=0)
    two = [Channel(name, target, activation="softmax") for target in ("a", "b") for name in "pq"]
    torch.testing.assert_close(activate(logits[:, :4], two)[:, 2:], logits[:, 2:4].softmax(1), rtol=0, atol=0)


def test_values_are_stored_by_their_range():
    """The network looks at single voxels, so that blending changes nothing."""
    x = (torch.from_numpy(draw_raw())[None, None].float() - 120) / 60
    values = activate(Slopes()(x), CHANNELS)[0].numpy().astype(float)
    values[2] = (values[2] + 1) / 2
    expected = 255 * values.clip(0, 1)
    found = predict(make_recipe())
    assert np.abs(found - expected).max() <= 0.5 + 1e-3
    assert (np.ptp(found.reshape(7, -1), axis=1) > 100).all()


@pytest.mark.parametrize("kept", [(4,), (5, 3), (2, 4, 0), (6, 1), (5, 2, 3, 0)])
def test_some_channels_are_those_of_all(kept):
    np.testing.assert_array_equal(predict(make_recipe(channels=kept)), predict(make_recipe())[list(kept)])


def test_scaling_is_of_sigmoid_channels_alone():
    plain, scaled = predict(make_recipe()), predict(make_recipe(activation="scaled_sigmoid"))
    np.testing.assert_array_equal(plain[2:], scaled[2:])
    assert (np.ptp(scaled[:2].reshape(2, -1).astype(int), axis=1) < np.ptp(plain[:2].reshape(2, -1), axis=1)).all()
    assert make_recipe(activation="scaled_sigmoid").activations[:3] == ("scaled_sigmoid", "scaled_sigmoid", "tanh")


@pytest.mark.parametrize("activation", ["sigmoid", "scaled_sigmoid"])
def test_affinities_do_not_depend_on_what_else_is_predicted(activation):
    options = {"channels": (1, 0), "activation": activation}
    np.testing.assert_array_equal(predict(make_recipe(**options)), predict(make_recipe(outputs=(), **options)))


def test_the_block_does_not_change_a_bit():
    recipe = make_recipe(channels=(2, 4, 0, 6))
    whole, found = predict(recipe), np.zeros((4, *SHAPE), np.uint8)
    for core in BlockGrid(SHAPE, (3, 5, 7)):
        found[:, *core.slices] = predict(recipe, core)
    np.testing.assert_array_equal(found, whole)


def test_distances_come_back_as_they_were():
    distances = np.linspace(-1, 1, 1001, dtype=np.float32)
    stored = np.round(127.5 * (distances + 1)).astype(np.uint8)
    found = as_floats(stored, activation="tanh")
    assert found.dtype == np.float32
    assert np.abs(found - distances).max() <= 1 / 255 + 1e-6
    assert (found.min(), found.max()) == (-1, 1)
    np.testing.assert_array_equal(as_floats(distances, activation="tanh"), distances)
    np.testing.assert_array_equal(as_floats(stored), stored / np.float32(255))


def make_meta(channels=CHANNELS, **options):
    plain = [channel.as_dict() for channel in channels]
    return small_prediction.make_meta(plain, **{"window_zyx": WINDOW, "hash": "0123abcd"} | options)


@pytest.fixture
def loaded(monkeypatch):
    """What loading the checkpoint gives; to be changed by a test."""
    given = SimpleNamespace(network=Slopes().eval(), meta=make_meta())
    monkeypatch.setattr(members, "load_meta", lambda path: given.meta)
    monkeypatch.setattr(members, "load_checkpoint", lambda path: (given.network, given.meta))
    threads = torch.get_num_threads()
    yield given
    torch.set_num_threads(threads)


def write_volume(folder, raw):
    write_store(folder / "raw.zarr", raw, voxel_size_zyx_nm=(20, 9, 9), chunk_zyx=(4, 8, 8))
    description = {
        "name": "small",
        "voxel_size_zyx_nm": [20, 9, 9],
        "offset_zyx_nm": [0, 0, 0],
        "shape_zyx": SHAPE,
        "raw": {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], SHAPE], "dtype": "uint8"},
        "labels": None,
    }
    return write_description(folder / "volume.json", description)


def predict_store(volume, store, cfg=CFG, jobs=2):
    finish_prediction(small_prediction.predict(volume, ["model.ckpt"], store, cfg, jobs), store)
    return open_volume(store).read()


def test_the_store_says_how_each_channel_was_activated(tmp_path, loaded):
    volume = write_volume(tmp_path, draw_raw())
    found = predict_store(volume, tmp_path / "a.zarr")
    np.testing.assert_array_equal(found, predict(make_recipe()))
    attributes = read_attributes(tmp_path / "a.zarr")
    assert (attributes["activation"], attributes["activations"]) == ("sigmoid", KINDS)
    cfg = change(CFG, activation="scaled_sigmoid", channels=(4, 2, 0))
    part = predict_store(volume, tmp_path / "b.zarr", cfg)
    assert read_attributes(tmp_path / "b.zarr")["activations"] == ["softmax", "tanh", "scaled_sigmoid"]
    np.testing.assert_array_equal(part[:2], found[[4, 2]])
    channels = Channels.of_prediction(Prediction.read(tmp_path / "b.zarr")).pick([1, 0])
    assert (channels.names, channels.activations) == (("distance", "mito"), ("tanh", "softmax"))


def test_older_checkpoints_have_channels_of_affinities_alone(tmp_path, loaded):
    volume = write_volume(tmp_path, draw_raw())
    first = predict_store(volume, tmp_path / "a.zarr", change(CFG, channels=2))
    keys = ("name", "offset_zyx_vx", "activation")
    older = [{key: channel[key] for key in keys} for channel in loaded.meta.channels[:2]]
    loaded.meta = replace(loaded.meta, channels=older)
    np.testing.assert_array_equal(predict_store(volume, tmp_path / "b.zarr"), first)


def test_each_volume_may_be_normalised_by_itself(tmp_path, loaded):
    """Brighter and of more contrast, it looks the same to the network, from whichever job."""
    raw = draw_raw()
    (tmp_path / "other").mkdir()
    volumes = [write_volume(tmp_path, raw // 4), write_volume(tmp_path / "other", raw // 4 * 3 + 20)]
    loaded.meta = make_meta(normalisation={"mean": 0.0, "std": 1.0, "each": "each_volume"})
    found = [predict_store(volume, tmp_path / f"{n}.zarr", jobs=n + 1) for n, volume in enumerate(volumes)]
    np.testing.assert_array_equal(*found)
    mean, std = measure_grey_values(open_volume(tmp_path / "other/raw.zarr"))
    assert read_attributes(tmp_path / "1.zarr")["normalisation"] == {"mean": mean, "std": std}
    loaded.meta = make_meta()
    assert (predict_store(volumes[0], tmp_path / "c.zarr") != found[0]).any()


def test_a_flat_volume_cannot_be_normalised_by_itself(tmp_path, loaded):
    loaded.meta = make_meta(normalisation={"mean": 0.0, "std": 1.0, "each": "each_volume"})
    with pytest.raises(DataError, match=r"raw\.zarr.*cannot be normalised"):
        predict_store(write_volume(tmp_path, np.full(SHAPE, 7, np.uint8)), tmp_path / "a.zarr")


def test_other_activations_are_other_settings(tmp_path, loaded):
    volume = write_volume(tmp_path, draw_raw())
    small_prediction.predict(volume, ["model.ckpt"], tmp_path / "a.zarr", CFG, jobs=9, order=[0])
    loaded.meta.channels[2]["activation"] = "identity"
    with pytest.raises(ResumeMismatchError, match="activations"):
        small_prediction.plan(volume, ["model.ckpt"], tmp_path / "a.zarr", CFG)


def decode(store, labels, **settings):
    decode_store(store, labels, DecodeConfig.model_validate(settings))
    return open_volume(labels).read()


def test_the_watershed_reads_distances_from_minus_one_to_one(tmp_path, loaded):
    """Two objects with a valley between them: negative, but 0.35 if it were read as a probability."""
    depth = np.full(SHAPE, -1.0)
    depth[:, 2:10, 2:9] = depth[:, 2:10, 11:18] = 0.9
    depth[:, 2:10, 9:11] = -0.3
    channels = TargetsConfig.model_validate({"affinity": None, "binary": {}, "distance": {}}).channels
    channels.append(Channel("contour", "contour"))
    loaded.meta = make_meta(channels, normalisation={"mean": 100.0, "std": 100.0})
    loaded.network = Distances().eval()
    volume = write_volume(tmp_path, np.round(100 * (depth + 1)).astype(np.uint8))
    predict_store(volume, tmp_path / "a.zarr")
    own = {"method": "binary_contour_distance", "seed_distance": 0.5, "foreground_distance": -0.2}
    labels = decode(tmp_path / "a.zarr", tmp_path / "l.zarr", decoder="seeded_watershed", seeded_watershed=own)
    assert np.unique(labels).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(labels > 0, depth > 0)


class Distances(nn.Module):
    """Says that its input is the distance, that all is foreground, and that there is no contour."""

    def forward(self, x):
        return torch.cat([torch.full_like(x, 9), torch.atanh(x.clamp(-0.999, 0.999)), torch.full_like(x, -9)], 1)


def test_exclusive_classes_decode_by_the_most_probable(tmp_path, loaded):
    volume = write_volume(tmp_path, draw_raw())
    predict_store(volume, tmp_path / "a.zarr", change(CFG, channels=(3, 4, 5)))
    labels = decode(tmp_path / "a.zarr", tmp_path / "l.zarr", decoder="semantic", semantic={"method": "argmax"})
    found = predict(make_recipe())[3:6]
    expected = np.where(found[1:].max(0) > 127.5, 1 + found[1:].argmax(0), 0)
    np.testing.assert_array_equal(labels, expected)
    assert np.unique(labels).size == 3
