"""Score a submission by the challenge's own toolbox, and compare with our score.

in   truth        Zarr store of arrays CROP/CLASS, or the challenge's tree of datasets
     submission   zip
     manifest     CSV of crops and classes
     ours         JSON of scripts/score_submission.py
out  out          JSON: the toolbox's numbers, and every one that differs from ours
"""

from pathlib import Path

from connectomake.stage import run


def main(*, truth: Path, submission: Path, manifest: Path, ours: Path, out: Path) -> None:
    """Write what the toolbox says, and where it differs."""
    from connectomake.files import write_json
    from connectomake.submit.score.official import score_by_toolbox

    write_json(out, score_by_toolbox(truth, submission, manifest, ours))


if __name__ == "__main__":
    run(main)
