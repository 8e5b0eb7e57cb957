"""The skeleton metrics equal those of funlib.evaluate and BANIS on the golden graphs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from connectomake.measure.skeleton_metrics import skeleton_metrics

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden_metrics"
COUNTS = ["n_splits", "n_mergers", "n_non0_mergers", "n_omitted", "n_merged_edges", "n_correct"]

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/data/golden_metrics is not there")


def load_cases() -> dict:
    return json.loads((GOLDEN / "expected.json").read_text())["cases"] if GOLDEN.is_dir() else {}


CASES = load_cases()


def measure(name: str) -> dict:
    with np.load(GOLDEN / CASES[name]["file"]) as arrays:
        position_zyx_nm = arrays["node_pos_nm"][:, ::-1]
        return skeleton_metrics(arrays["edges"], arrays["node_skeleton_id"], position_zyx_nm, arrays["node_segment_id"])


@pytest.mark.parametrize("name", CASES)
def test_every_number_equals_the_float64_reference(name: str) -> None:
    found = measure(name)
    reference = CASES[name]["reference_float64"]
    assert set(reference) <= set(found)
    for key, expected in reference.items():
        if expected is None:
            assert not np.isfinite(found[key]), key
        elif key in COUNTS:
            assert found[key] == expected, key
        elif key.startswith("voi"):
            assert found[key] == pytest.approx(expected, abs=1e-9), key
        else:
            assert found[key] == pytest.approx(expected, rel=1e-9), key


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_banis_own_within_its_float32(name: str) -> None:
    found = measure(name)
    compared = {k: v for k, v in CASES[name]["banis"].items() if v is not None and k != "adapted"}
    assert compared
    for key, expected in compared.items():
        tolerance = {"abs": 1e-9} if key.startswith("voi") else {"rel": 1e-4}
        assert found[key] == pytest.approx(expected, **tolerance), key


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["funlib"]["skeleton_lengths"]])
def test_the_table_of_skeletons_equals_funlibs_edges_and_lengths(name: str) -> None:
    table = measure(name)["per_skeleton"]
    row = {int(skeleton): i for i, skeleton in enumerate(table["skeleton_id"])}
    for skeleton, edges in CASES[name]["funlib"]["edges_per_skeleton"].items():
        i = row[int(skeleton)]
        assert table["n_splits"][i] == edges["split"]
        assert table["n_omitted"][i] == edges["omitted"]
    for skeleton, length in CASES[name]["funlib"]["skeleton_lengths"].items():
        assert table["length_nm"][row[int(skeleton)]] == pytest.approx(length, rel=1e-5)
