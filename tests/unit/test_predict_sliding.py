import errno
import os
import shutil
import time

import numpy as np
import pytest
import torch
from torch import nn

from connectomake.errors import ConfigError, ConnectomakeError, ModelError
from connectomake.geometry import BlockGrid, Box
from connectomake.models.device import choose_device, choose_memory_format
from connectomake.pipeline import run_overlapped
from connectomake.predict.network import evaluate
from connectomake.predict.network.evaluate import Ensemble, Predictor
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid, blending_weights, reflect_pad
from connectomake.predict.windows.sliding import SlidingWindow, as_torch_can

CPU = torch.device("cpu")
WINDOW = (8, 12, 16)


def make_network(inputs=1, outputs=3, kernel=3, groups=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(inputs, 4, kernel, padding=kernel // 2),
        nn.InstanceNorm3d(4),
        nn.GELU(),
        nn.Conv3d(4, 4, kernel, padding=kernel // 2, groups=groups),
        nn.Conv3d(4, outputs, 1),
    ).eval()


def make_raw(shape_zyx, channels=1, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, 255, (channels, *shape_zyx)).astype(dtype)


def make_recipe(**options):
    return Recipe(**{"mean": 100.0, "std": 50.0, "channels": (0, 1, 2), **options})


def make_ensemble(network, recipe, **options):
    return Ensemble([Predictor(network, recipe, device=CPU, **options)])


def predict_whole(network, raw, recipe, window=WINDOW, overlap=0.5, batch=1, **options):
    grid = WindowGrid(raw.shape[1:], window, overlap)
    whole = Box.of_shape(grid.shape_zyx)
    sliding = SlidingWindow(make_ensemble(network, recipe, **options), grid, batch=batch)
    return sliding.predict(reflect_pad(raw, whole, grid.hull(whole)), grid.hull(whole), whole)


def predict_by_hand(network, raw, recipe, window, overlap, scale=1.0):
    """Blend in float64, window by window, over the padded whole: no grid of blocks, no boxes."""
    grid = WindowGrid(raw.shape[1:], window, overlap)
    before = [max(0, -starts[0]) for starts in grid.starts_zyx]
    after = [max(0, starts[-1] + w - n) for starts, w, n in zip(grid.starts_zyx, window, grid.shape_zyx, strict=True)]
    padded = np.pad(raw, [(0, 0), *zip(before, after, strict=True)], mode="reflect")
    values = np.zeros((len(recipe.channels), *padded.shape[1:]))
    weight = np.zeros(padded.shape[1:])
    weights = blending_weights(window, recipe.blending).astype(float)
    for i in range(len(grid)):
        part = tuple(slice(a + b, a + b + w) for a, b, w in zip(grid[i].start_zyx, before, window, strict=True))
        normalised = (padded[:, *part].astype(np.float32) - np.float32(recipe.mean)) / np.float32(recipe.std)
        with torch.inference_mode():
            logits = network(torch.from_numpy(normalised)[None])[0].numpy().astype(float)[list(recipe.channels)]
        values[:, *part] += weights / (1 + np.exp(-scale * logits))
        weight[part] += weights
    inside = tuple(slice(b, b + n) for b, n in zip(before, grid.shape_zyx, strict=True))
    return (values / weight)[:, *inside]


@pytest.mark.parametrize("blending", ["gaussian", "distance", "constant"])
@pytest.mark.parametrize(
    ("shape_zyx", "overlap"), [((20, 30, 40), 0.5), ((16, 12, 33), 0.25), ((8, 12, 16), 0.5), ((3, 30, 1), 0.5)]
)
def test_equals_a_plain_reference(blending, shape_zyx, overlap):
    network, raw, recipe = make_network(), make_raw(shape_zyx), make_recipe(blending=blending)
    found = predict_whole(network, raw, recipe, overlap=overlap)
    expected = predict_by_hand(network, raw, recipe, WINDOW, overlap)
    assert found.dtype == np.uint8
    assert found.shape == (3, *shape_zyx)
    assert np.abs(255 * expected - found).max() <= 0.5 + 1e-3
    assert np.ptp(found) > 20  # the network says something


def test_scaled_sigmoid_and_chosen_channels():
    network, raw = make_network(), make_raw((12, 20, 20))
    recipe = make_recipe(activation="scaled_sigmoid", channels=(2, 0))
    expected = predict_by_hand(network, raw, recipe, WINDOW, 0.5, scale=0.2)
    assert np.abs(255 * expected - predict_whole(network, raw, recipe)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
@pytest.mark.parametrize("block_zyx", [(5, 7, 9), (8, 12, 16), (40, 40, 40), (1, 40, 3)])
def test_the_block_does_not_change_a_bit(groups, block_zyx):
    network, raw = make_network(groups=groups), make_raw((19, 30, 33))
    grid = WindowGrid(raw.shape[1:], WINDOW, 0.5)
    whole = predict_whole(network, raw, make_recipe())
    sliding = SlidingWindow(make_ensemble(network, make_recipe()), grid)
    found = np.zeros_like(whole)
    for core in reversed(list(BlockGrid(grid.shape_zyx, block_zyx))):
        at = grid.hull(core)
        found[:, *core.slices] = sliding.predict(np.ascontiguousarray(raw[:, *at.slices]), at, core)
    np.testing.assert_array_equal(found, whole)


def test_several_input_channels():
    network, raw = make_network(inputs=2), make_raw((12, 20, 20), channels=2)
    expected = predict_by_hand(network, raw, make_recipe(), WINDOW, 0.5)
    assert np.abs(255 * expected - predict_whole(network, raw, make_recipe())).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64, ">u2"])
def test_every_type_of_raw_gives_the_same(dtype):
    network, raw = make_network(), make_raw((8, 20, 20))
    typed = raw.astype(dtype)
    typed.flags.writeable = False
    np.testing.assert_array_equal(
        predict_whole(network, typed, make_recipe()), predict_whole(network, raw, make_recipe())
    )


def test_raw_is_not_modified():
    raw = make_raw((8, 20, 20), dtype=np.float32)
    before = raw.copy()
    predict_whole(make_network(), raw, make_recipe())
    np.testing.assert_array_equal(raw, before)
    assert as_torch_can(raw) is raw


def test_bfloat16_is_close():
    network, raw = make_network(), make_raw((12, 20, 20))
    exact = predict_whole(network, raw, make_recipe()).astype(int)
    rough = predict_whole(network, raw, make_recipe(), dtype=torch.bfloat16).astype(int)
    assert 0 < np.abs(exact - rough).max() <= 6


class Recorder(nn.Module):
    """Says what it was given; runs out of memory above some batch."""

    def __init__(self, most=99, answer=None, error=None):
        super().__init__()
        self.most, self.answer, self.sizes = most, answer, []
        self.error = error or torch.OutOfMemoryError("no room")

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        self.sizes.append(len(x))
        return self.answer(x) if self.answer else torch.cat([x, -x, x], 1)


def test_batches_are_of_one_shape():
    raw, recorder = make_raw((8, 12, 56)), Recorder()
    one = predict_whole(recorder, raw, make_recipe())
    assert recorder.sizes == [1] * 6
    recorder.sizes = []
    np.testing.assert_array_equal(predict_whole(recorder, raw, make_recipe(), batch=4), one)
    assert recorder.sizes == [4, 4]


@pytest.mark.parametrize("error", [None, RuntimeError("FIND was unable to find an engine to execute this computation")])
def test_out_of_memory_halves_the_batch_and_goes_on(caplog, error):
    raw, recorder = make_raw((8, 12, 64)), Recorder(most=2, error=error)
    one = predict_whole(Recorder(), raw, make_recipe())
    np.testing.assert_array_equal(predict_whole(recorder, raw, make_recipe(), batch=8), one)
    assert set(recorder.sizes) == {2}
    assert [r.message for r in caplog.records] == [
        f"the GPU's memory does not suffice; going on with {n} windows at once (predict.batch)" for n in (4, 2)
    ]


def test_another_error_is_raised_at_once():
    recorder = Recorder(most=2, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="do not match"):
        predict_whole(recorder, make_raw((8, 12, 64)), make_recipe(), batch=8)


def test_out_of_memory_at_one_window_is_raised():
    with pytest.raises(torch.OutOfMemoryError):
        predict_whole(Recorder(most=0), make_raw(WINDOW), make_recipe(), batch=2)


@pytest.mark.parametrize(
    "answer",
    [lambda x: x[:, :1], lambda x: torch.cat([x] * 3, 1)[..., 1:], lambda x: [x], lambda x: x[0]],
    ids=["few channels", "small", "list", "no batch"],
)
def test_an_output_of_another_shape_is_refused(answer):
    with pytest.raises(ModelError, match=r"at least 3 channels, 8, 12, 16\)"):
        predict_whole(Recorder(answer=answer), make_raw(WINDOW), make_recipe())


@pytest.mark.parametrize(("dtype", "hint"), [(torch.float32, "diverged"), (torch.float16, "bfloat16")])
def test_nan_is_refused(dtype, hint):
    def one_nan(x):
        out = torch.cat([x, x, x], 1)
        out[0, 2, 1, 2, 3] = float("nan")
        return out

    with pytest.raises(ModelError, match=f"NaN.*{hint}"):
        predict_whole(Recorder(answer=one_nan), make_raw((20, 20, 20)), make_recipe(), dtype=dtype)


def test_infinite_logits_are_certain_answers():
    recorder = Recorder(answer=lambda x: torch.where(x > 0, torch.inf, -torch.inf).expand(-1, 3, -1, -1, -1))
    raw = make_raw(WINDOW)
    expected = np.where(raw > 100, 255, 0)[[0, 0, 0]]
    np.testing.assert_array_equal(predict_whole(recorder, raw, make_recipe()), expected)


def test_layout_suits_the_network():
    assert choose_memory_format(make_network()) == torch.channels_last_3d
    assert choose_memory_format(make_network(groups=4)) == torch.contiguous_format


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(ConfigError, match="device: auto"):
        choose_device("cuda")


def test_float16_keeps_values_as_they_are():
    network, raw = make_network(), make_raw((8, 20, 20))
    found = predict_whole(network, raw, make_recipe(dtype="float16"))
    expected = predict_by_hand(network, raw, make_recipe(), WINDOW, 0.5)
    assert found.dtype == np.float16
    assert np.abs(expected - found).max() <= 2**-11


def test_an_ensemble_is_the_mean_of_values():
    networks, raw = [make_network(), make_network(kernel=1)], make_raw((8, 20, 20))
    recipes = [make_recipe(), make_recipe(mean=80.0, std=20.0)]
    members = [Predictor(network, recipe, device=CPU) for network, recipe in zip(networks, recipes, strict=True)]
    grid, whole = WindowGrid(raw.shape[1:], WINDOW, 0.5), Box.of_shape(raw.shape[1:])
    found = SlidingWindow(Ensemble(members), grid).predict(raw, whole, whole)
    each = [predict_by_hand(network, raw, r, WINDOW, 0.5) for network, r in zip(networks, recipes, strict=True)]
    assert np.abs(255 * np.mean(each, 0) - found).max() <= 0.5 + 1e-3


@pytest.mark.slow("loads torch's compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, when it imports its compiler
def test_a_compiled_network_says_the_same():
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("there is no C++ compiler")
    network, raw = make_network(), make_raw((8, 12, 32))
    exact = predict_whole(network, raw, make_recipe()).astype(int)
    compiled = predict_whole(network, raw, make_recipe(), compile="default").astype(int)
    assert np.abs(exact - compiled).max() <= 1


def test_a_network_that_cannot_be_compiled_is_said(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def fail(*_):
        raise BackendCompilerFailed(fail, RuntimeError("no compiler"), None)

    monkeypatch.setattr(evaluate, "compile_network", lambda network, mode: fail)
    with pytest.raises(ConnectomakeError, match=r"torch\.compile failed.*set predict\.compile: no"):
        predict_whole(make_network(), make_raw(WINDOW), make_recipe(), compile="default")


def test_time_of_the_network_is_counted():
    ensemble = make_ensemble(Recorder(answer=lambda x: time.sleep(0.02) or torch.cat([x] * 3, 1)), make_recipe())
    for _ in range(3):
        ensemble(torch.zeros((1, 1, *WINDOW)))
    assert 0.06 <= ensemble.seconds < 10


def test_sums_too_large_for_the_gpu_are_kept_in_the_hosts_memory(monkeypatch, caplog):
    """Places alone: there need be no GPU."""
    sliding = SlidingWindow(make_ensemble(make_network(), make_recipe()), WindowGrid((64, 64, 64), WINDOW, 0.5))
    sliding.device = torch.device("cuda")
    needed = 4 * 4 * 64**3
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * needed, 9 * needed))
    assert sliding._choose_place(Box.of_shape((64, 64, 64))) == torch.device("cuda")
    with caplog.at_level("INFO"):
        assert sliding._choose_place(Box.of_shape((64, 64, 65))) == CPU
    assert "the host's memory" in caplog.text


def test_pipeline_keeps_order_and_overlaps():
    events = []
    run_overlapped(
        [1, 2, 3],
        lambda i: events.append(("read", i)) or i * 10,
        lambda i, loaded: events.append(("compute", i)) or (i, loaded),
        lambda i, result: events.append(("write", i, result)),
    )
    assert [e for e in events if e[0] == "write"] == [("write", i, (i, 10 * i)) for i in (1, 2, 3)]
    assert [e for e in events if e[0] == "read"] == [("read", i) for i in (1, 2, 3)]
    run_overlapped([], None, None, None)


def test_pipeline_reads_ahead_while_it_computes():
    import threading

    second_read = threading.Event()

    def read(i):
        if i == 2:
            second_read.set()

    run_overlapped([1, 2], read, lambda i, _: second_read.wait(30) or pytest.fail("no read ahead"), lambda i, _: None)


def test_pipeline_writes_what_was_computed_before_an_error():
    written = []

    def compute(i, _):
        if i == 2:
            raise ModelError("broken")

    with pytest.raises(ModelError, match="broken"):
        run_overlapped([1, 2, 3], lambda i: None, compute, lambda i, _: written.append(i))
    assert written == [1]


def test_pipeline_raises_the_error_of_the_writer():
    def write(i, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        run_overlapped([1], lambda i: None, lambda i, _: None, write)
