"""The search by optuna: it resumes, it gives the same again, and it does not mix trials of two searches."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from small_volume import write_description

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import Choices, TuneConfig
from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import MissingPackageError, ResumeMismatchError
from connectomake.targets.affinity import affinities_of_labels
from connectomake.tune.decoding import tune_decoding
from connectomake.tune.optuna_search import search_best
from connectomake.tune.results import write_results
from connectomake.volumes.store import write_store

UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
SPACE = {"a.x": (0.0, 1.0), "n": (1, 9), "kind": Choices(choices=("round", "square"))}


class Hill:
    """A number that is highest at x 0.7, n 4, round; dies after so many calls."""

    def __init__(self, calls=10**6):
        self.left = calls
        self.seen = []

    def __call__(self, candidate):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append(dict(candidate))
        value = -abs(candidate["a.x"] - 0.7) - abs(candidate["n"] - 4) - (candidate["kind"] == "square")
        return (float("nan") if candidate["n"] == 9 else value), [{"score": value}]


@needs_optuna
def test_a_search_finds_the_hill_and_stays_in_its_space():
    hill = Hill()
    candidates, remembered = search_best(SPACE, hill, 40, 0, True, {})
    assert [c["trial"] for c in candidates] == list(range(1, 41))
    assert [{k: v for k, v in c.items() if k != "trial"} for c in candidates] == hill.seen
    assert all(0 <= c["a.x"] <= 1 and 1 <= c["n"] <= 9 and isinstance(c["n"], int) for c in candidates)
    assert {c["kind"] for c in candidates} == {"round", "square"}
    assert max(found[0]["score"] for found in remembered) > -0.5


@needs_optuna
def test_a_killed_search_goes_on_where_it_stopped_and_ends_as_if_it_had_not_been_killed(tmp_path):
    journal = tmp_path / "run" / "study.journal"
    with pytest.raises(KeyboardInterrupt):
        search_best(SPACE, Hill(calls=13), 25, 1, True, {"decode": {"k": 1}}, journal)
    hill = Hill()
    resumed = search_best(SPACE, hill, 25, 1, True, {"decode": {"k": 1}}, journal)
    assert len(hill.seen) == 12
    assert resumed == search_best(SPACE, Hill(), 25, 1, True, {"decode": {"k": 1}})
    again = Hill(calls=0)
    assert search_best(SPACE, again, 25, 1, True, {"decode": {"k": 1}}, journal) == resumed
    assert len(search_best(SPACE, Hill(), 26, 1, True, {"decode": {"k": 1}}, journal)[0]) == 26


@needs_optuna
@pytest.mark.parametrize("now", [{"k": 2, "m": 0}, {"k": 1}, {"k": 1, "m": 0, "z": 5}])
def test_trials_of_another_search_are_refused(tmp_path, now):
    journal = tmp_path / "study.journal"
    search_best(SPACE, Hill(), 2, 0, True, {"decode": {"k": 1, "m": 0}}, journal)
    differs = next(key for key in ("k", "m", "z") if now.get(key) != {"k": 1, "m": 0}.get(key))
    with pytest.raises(ResumeMismatchError, match=rf"other settings: decode.{differs} was .*remove"):
        search_best(SPACE, Hill(), 2, 0, True, {"decode": now}, journal)


def test_a_missing_package_is_told_with_a_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match="pip install optuna, or take method: thresholds"):
        search_best(SPACE, Hill(), 2, 0, True, {})


def make_volume(folder):
    """Write two slabs that touch, with a leak of 0.6 and crumbs in between; to be measured on voxels."""
    truth = np.ones((8, 8, 16), np.uint8)
    truth[:, :, 7:9] = 0
    truth[:, :, 9:] = 2
    values = 0.9 * affinities_of_labels(truth, UNITS)[0]
    values[2, 3, 3, 6:9] = 0.6
    values[1, :, :, 7:9] = 0.7
    store, place = folder / "affinities.zarr", folder / "ingest"
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": "source", "checkpoint_hash": "abc"}
    write_store(store, values.astype(np.float32), voxel_size_zyx_nm=(30, 9, 9), attributes=attributes)
    write_store(place / "labels.zarr", truth, voxel_size_zyx_nm=(30, 9, 9))
    labels = {"source": "labels.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], truth.shape], "dtype": "uint8"}
    described = {"name": "slabs", "role": "validate", "shape_zyx": truth.shape, "voxel_size_zyx_nm": [30, 9, 9]}
    write_description(place / "volume.json", described | {"offset_zyx_nm": [0, 0, 0], "labels": labels})
    return store, place / "volume.json"


@needs_optuna
def test_several_knobs_of_a_decoder_are_tuned_at_once(tmp_path):
    store, volume = make_volume(tmp_path)
    tune = TuneConfig(
        criterion="adapted_rand_error",
        method="optuna",
        search={"threshold": [0.3, 0.85], "min_size_vx": [0, 40], "fill": {"choices": ["none", "watershed"]}},
        trials=12,
    )
    out = {}
    for attempt in ("first", "second"):
        study = tmp_path / attempt / "study.journal"
        tuned = tune_decoding([store], [volume], [], DecodeConfig(tune=tune), MeasureConfig(), study=study)
        names = [tmp_path / attempt / name for name in ("best.yaml", "tune.tsv", "tune.png")]
        write_results(tuned, *names)
        out[attempt] = [name.read_bytes() for name in names]
    assert out["first"] == out["second"]
    assert list(tuned.best) == ["threshold", "min_size_vx", "fill"]
    assert tuned.value == min(tuned.table["adapted_rand_error"]) == 0
    assert tuned.best["threshold"] > 0.6
    changed = tune.model_copy(update={"seed": 5})
    with pytest.raises(ResumeMismatchError, match=r"tune\.seed was 0, is now 5"):
        tune_decoding([store], [volume], [], DecodeConfig(tune=changed), MeasureConfig(), study=study)
