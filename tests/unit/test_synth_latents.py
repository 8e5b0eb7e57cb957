"""Latents: how they are made by any number of jobs, kept, refused and normalised."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_examples import grey, make_volumes, synth_settings

from connectomake.errors import ConfigError, DataError, MissingDataError
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.checkpoints import load_autoencoder, save_autoencoder
from connectomake.synth.encode import encode_latents, list_tasks, list_turns, turn_array
from connectomake.synth.examples import Example, read_example, read_map, read_table
from connectomake.synth.latents import Normalisation, measure_normalisation, read_latents
from connectomake.synth.listing import list_examples
from connectomake.synth.tiles import pad_to_multiple

CFG = synth_settings(latents={"turns": 3, "batch": 5}, labels={"kind": "conditional", "distance_nm": 30})
NM = (10.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of an autoencoder, a table of 3 + 3 examples, and their latents."""
    folder = tmp_path_factory.mktemp("latents")
    volumes = [("a", "train", grey(0, (8, 8, 24)), NM), ("b", "validate", grey(1, (8, 8, 24)), NM)]
    list_examples(CFG, folder / "examples.tsv", make_volumes(folder, *volumes))
    save(folder / "model.ckpt", seed=0)
    encode(folder, folder / "latents")
    return folder


def save(path, seed, cfg=CFG):
    torch.manual_seed(seed)
    model = PatchVolumeAutoencoder(cfg.autoencoder, cfg.image_channels)
    model.codebook.codes.copy_(torch.randn_like(model.codebook.codes) / 20)
    return save_autoencoder(path, model, {"cfg": cfg.model_dump(mode="json")})


def encode(folder, latents, job=0, jobs=1, cfg=CFG, checkpoint="model.ckpt"):
    marker = latents / f"{job}-of-{jobs}.json"
    encode_latents(folder / "examples.tsv", folder / checkpoint, cfg, latents, job, jobs, marker, device="cpu")
    return json.loads(marker.read_text())


def hash_of(folder):
    return load_autoencoder(folder / "model.ckpt")[1]["hash"]


def bytes_below(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".zarr" in str(path)
    }


def found(made):
    return read_latents(made / "latents", hash_of(made), read_table(made / "examples.tsv"))


def test_latents_are_those_of_the_encoder_in_every_turn(made):
    model, _ = load_autoencoder(made / "model.ckpt")
    latents = found(made)
    assert [(entry.example.role, entry.turn) for entry in latents] == [
        ("learn", turn) for _ in range(3) for turn in range(3)
    ] + [("hold", 0)] * 3
    for entry in latents[:4]:
        turn = list_turns(entry.example)[entry.turn]
        image = torch.from_numpy(turn_array(turn, read_example(entry.example, CFG)))
        with torch.inference_mode():
            z = model.encode(pad_to_multiple(image, CFG.multiple_zyx_vx)[None])[0].numpy()
        np.testing.assert_allclose(entry.read(), z, atol=1e-6)
        assert entry.shape == z.shape == (3, 4, 4, 4)
        assert entry.shape_zyx == (4, 4, 4)
        np.testing.assert_array_equal(entry.read_map() == 0, turn_array(turn, read_map(entry.example, CFG)) == 0)
        np.testing.assert_allclose(
            entry.read_map(), turn_array(turn, read_map(entry.example, CFG)), atol=0.5 / 127 + 1e-6
        )
    low, high = latents[0].attributes["codebook"]
    outside = np.mean([(latents[0].read() < low) | (latents[0].read() > high)])
    assert latents[0].attributes["outside_share"] == pytest.approx(outside)
    assert 0 < outside < 1


@pytest.mark.parametrize("jobs", [2, 7])
def test_any_number_of_jobs_makes_the_same_files(made, tmp_path, jobs):
    for job in reversed(range(jobs)):
        encode(made, tmp_path, job, jobs)
    assert bytes_below(tmp_path) == bytes_below(made / "latents")


def test_no_job_beyond_the_last_one(made, tmp_path):
    with pytest.raises(DataError, match="no such job; expected 0 to 1; got 2"):
        encode(made, tmp_path, 2, 2)


def test_finished_stores_are_kept_and_those_of_other_settings_made_anew(made, tmp_path, monkeypatch):
    first = encode(made, tmp_path)
    inodes = {path: path.stat().st_ino for path in tmp_path.glob("*.zarr")}
    (tmp_path / "all_learn_00001.zarr" / "zarr.json").unlink()
    assert encode(made, tmp_path) == first
    changed = {path.name for path in inodes if path.stat().st_ino != inodes[path]}
    assert changed == {"all_learn_00001.zarr"}
    save(made / "other.ckpt", seed=1)
    assert encode(made, tmp_path, checkpoint="other.ckpt")["autoencoder"] != first["autoencoder"]
    assert not any(path.stat().st_ino == inodes[path] for path in inodes)


def test_a_kill_leaves_no_half_store(made, tmp_path, monkeypatch):
    import zarr

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Group, "create_array", die)
        with pytest.raises(KeyboardInterrupt):
            encode(made, tmp_path)
    assert not list(tmp_path.iterdir())
    encode(made, tmp_path)
    assert bytes_below(tmp_path) == bytes_below(made / "latents")


def test_latents_of_another_autoencoder_are_refused(made):
    with pytest.raises(DataError, match=r"all_learn_00000.zarr are of another autoencoder; expected hash abcabc"):
        read_latents(made / "latents", "abcabc", read_table(made / "examples.tsv"))


def test_latents_of_another_table_are_refused(made):
    examples = read_table(made / "examples.tsv")
    moved = [dataclasses.replace(examples[0], intensity=(0.0, 200.0))]
    with pytest.raises(DataError, match=r"are of another piece .* run encode_latents again"):
        read_latents(made / "latents", hash_of(made), moved)
    more = [dataclasses.replace(examples[0], key="all_learn_00099")]
    with pytest.raises(MissingDataError, match=r"no latents .*all_learn_00099.zarr; run encode_latents"):
        read_latents(made / "latents", hash_of(made), more)


def test_an_autoencoder_of_other_settings_is_refused(made, tmp_path):
    other = CFG.model_copy(update={"labels": CFG.labels.model_copy(update={"kind": "joint"})})
    with pytest.raises(ConfigError, match=r"other settings of labels.kind; expected conditional; got joint"):
        encode(made, tmp_path, cfg=other)


def test_a_map_that_was_not_kept_is_told(made, tmp_path):
    plain = synth_settings()
    save(tmp_path / "model.ckpt", 0, plain)
    list_examples(plain, tmp_path / "examples.tsv", made / "split.tsv")
    encode(tmp_path, tmp_path / "latents", cfg=plain)
    with pytest.raises(MissingDataError, match="has no distance map"):
        found(tmp_path)[0].read_map()


def test_std_is_measured_on_what_is_learnt_from(made):
    latents = found(made)
    learnt = np.stack([entry.read() for entry in latents if entry.example.role == "learn"])
    norm = measure_normalisation(latents, "std")
    np.testing.assert_allclose(norm.offset, learnt.mean((0, 2, 3, 4)), rtol=1e-4)
    np.testing.assert_allclose(norm.scale, learnt.std((0, 2, 3, 4)), rtol=1e-4)
    assert not norm.clips
    np.testing.assert_allclose(norm.normalise(torch.from_numpy(learnt)).std((0, 2, 3, 4), correction=0), 1, atol=1e-4)


def test_the_codebook_spans_minus_one_to_one(made):
    codes = load_autoencoder(made / "model.ckpt")[0].codebook.codes
    norm = measure_normalisation(found(made), "codebook")
    inside = norm.normalise(codes.T[:, :, None, None])
    assert (float(inside.min()), float(inside.max())) == (pytest.approx(-1), pytest.approx(1))
    assert norm.clips


def test_latents_that_are_all_equal_are_refused(made):
    latents = found(made)
    flat = [
        dataclasses.replace(entry, attributes=dict(entry.attributes) | {"codebook": [1.0, 1.0]}) for entry in latents
    ]
    with pytest.raises(DataError, match="all are equal"):
        measure_normalisation(flat, "codebook")
    with pytest.raises(DataError, match="no latents to learn from"):
        measure_normalisation(latents[-1:], "std")


@given(
    st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    st.integers(0, 99),
)
def test_denormalise_is_the_inverse_of_normalise(offset, scale, seed):
    norm = Normalisation("std", tuple(offset), tuple(scale))
    again = Normalisation.from_plain(json.loads(json.dumps(norm.as_plain())))
    assert again == norm
    z = torch.randn((2, 3, 2, 3, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(again.denormalise(norm.normalise(z)), z)


@pytest.mark.parametrize(("shape", "nm", "count"), [((4, 6, 6), (40.0, 4.0, 4.0), 16), ((4, 6, 8), NM, 8)])
def test_turns_are_all_different_and_the_first_is_none(shape, nm, count):
    example = Example("k", "v", "c", "learn", Path("v"), None, shape, nm, (0.0, 1.0), "uint8")
    array = np.arange(np.prod(shape)).reshape(1, *shape)
    turned = [turn_array(turn, array) for turn in list_turns(example)]
    np.testing.assert_array_equal(turned[0], array)
    assert all(result.shape == array.shape for result in turned)
    assert len({result.tobytes() for result in turned}) == len(turned) == count
    assert len(list_tasks([example], 16)) == count
    assert list_tasks([dataclasses.replace(example, role="hold")], 16) == [
        (dataclasses.replace(example, role="hold"), 0, 1)
    ]


def test_voxels_of_unequal_sides_are_not_turned():
    example = Example("k", "v", "c", "learn", Path("v"), None, (4, 4, 4), (10.0, 10.0, 11.0), (0.0, 1.0), "uint8")
    assert len(list_turns(example)) == 8
