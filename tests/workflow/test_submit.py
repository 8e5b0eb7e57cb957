"""From a tree of crops to a checked, scored submission, by one command; the generated tree then serves as one's own."""

import csv
import json
import zipfile

import pytest
import yaml

pytestmark = pytest.mark.slow("starts Snakemake, which runs the miniature of the CellMap challenge")

SMALL = {
    "train.model.filters": [8, 8, 16],
    "train.max_steps": 12,
    "train.validate_every_steps": 6,
    "train.validate_patches": 4,
    "train.device": "cpu",
    "train.precision": "float32",
    "predict.device": "cpu",
}


def run_with(tmp_path, **config):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"results": str(tmp_path / "results"), **config}))
    return ("submit", "--configfile", path)


def test_a_submission_from_the_tree(snakemake, tmp_path):
    arguments = run_with(tmp_path, experiments="cellmap_mini", override=SMALL)
    told = snakemake(*arguments)
    assert told.returncode == 0, told.stderr
    (packed,) = (tmp_path / "results/submit").rglob("submission.zip")
    with zipfile.ZipFile(packed) as submission:
        arrays = {name for name in submission.namelist() if name.endswith(".zarray")}
    made = tmp_path / "results/phantom/challenge/cellmap_mini"
    with (made / "test_crop_manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert arrays == {f"crop{row['crop_name']}/{row['class_label']}/.zarray" for row in rows}
    assert json.loads(packed.with_name("submission.check.json").read_text())["verdict"] == "good"
    hidden, kept = (
        json.loads(packed.with_name(f"{part}.score.json").read_text()) for part in ("submission", "validation")
    )
    assert set(hidden["label_scores"]) == {row["class_label"] for row in rows}
    assert set(kept["label_scores"]) == {"mito", "ves", "pm", "cyto"}
    assert 0 <= kept["overall_score"] <= 1
    again = snakemake(*arguments, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
    packed_bytes = packed.read_bytes()
    packed.unlink()
    assert snakemake(*arguments).returncode == 0
    assert packed.read_bytes() == packed_bytes
    check_as_users(snakemake, tmp_path, made)


def check_as_users(snakemake, tmp_path, made):
    """Use the same tree as if it had been downloaded, with a split of the user's own, good and bad."""
    (written,) = (tmp_path / "results/split").rglob("datasplit.csv")
    rows = written.read_text().splitlines()
    changed = {
        "data.folder": str(made),
        "data.cellmap.tree": "tree",
        "data.cellmap.datasplit": "mine.csv",
        "data.cellmap.classes": ["mito", "pm"],
        "train.targets.classes.named": ["mito", "pm"],
    }
    arguments = run_with(tmp_path, experiments="cellmap_quick", override=changed)
    (made / "mine.csv").write_text(written.read_text())
    planned = snakemake(*arguments, "-n")
    assert planned.returncode == 0, planned.stderr
    assert "ingest_crop" in planned.stdout + planned.stderr
    (made / "mine.csv").write_text("\n".join([rows[0], rows[1].replace("crop", "krop")]) + "\n")
    refused = snakemake(*arguments, "-n")
    assert refused.returncode != 0
    assert "mine.csv, row 2" in refused.stderr
