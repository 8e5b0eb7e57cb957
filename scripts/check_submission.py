"""Find, before it is sent, everything for which the CellMap challenge refuses a submission or scores nothing.

in   submission  a zip, or a folder of Zarr 2 arrays crop/class
     manifest    list of what is to be segmented (test_crop_manifest.csv of the challenge's toolbox)
out  findings    JSON: what is wrong, and the verdict
By hand: `python scripts/check_submission.py submission.zip --manifest test_crop_manifest.csv`. Prints one line for each
finding, the worst first: fails (refused), zero (scored as missing or as something else), loses (points), note.
Exit status: 0 = good to submit, 1 = do not.
"""

from pathlib import Path

from connectomake.stage import run


def main(
    submission: Path,
    *,
    manifest: Path | None = None,
    findings: Path | None = None,
    json: bool = False,
    largest_gb: float = 50.0,
    threads: int = 1,
) -> int:
    """Write `findings` and log the lines; without that file, print the lines, or JSON with `--json`."""
    from connectomake.submit.check.report import report_findings
    from connectomake.submit.check.submission import check_submission

    found = check_submission(submission, manifest, largest_gb=largest_gb, threads=threads)
    return report_findings(submission, manifest, found, file=findings, as_json=json)


if __name__ == "__main__":
    run(main)
