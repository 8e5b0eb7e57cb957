"""Score a submission against truth, with the numbers of the challenge's own scorer.

in   truth        Zarr store or zip of arrays CROP/CLASS, or the challenge's tree of datasets
     submission   zip or folder of arrays CROP/CLASS
     manifest     CSV of crops and classes
out  out          JSON: overall, by class, by crop and class, what was not scored, what each class would gain
     table        TSV: one row per class
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    truth: Path,
    submission: Path,
    manifest: Path,
    out: Path,
    table: Path | None = None,
    metric: str = "6b9ad68",
    threads: int = 1,
) -> None:
    """Write the score of a submission."""
    from connectomake.files import write_json
    from connectomake.submit.score.submission import score_submission
    from connectomake.tables import write_columns

    score = score_submission(truth, submission, manifest, metric=metric, threads=threads)
    if table is not None:
        write_columns(table, score.to_table())
    write_json(out, score.to_json())


if __name__ == "__main__":
    run(main)
