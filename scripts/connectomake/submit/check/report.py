"""Tell what a check found: on the terminal, as JSON, or in the log of a job."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from connectomake.files import write_json
from connectomake.submit.check.finding import BAD, Finding, describe_findings, is_good, summarise

log = logging.getLogger(__name__)


def report_findings(
    submission: Path, manifest: Path | None, findings: Sequence[Finding], *, file: Path | None, as_json: bool
) -> int:
    """Write findings to a file and to the log; without a file, or as JSON, to standard output.

    Parameters
    ----------
    submission, manifest
        What was checked.
    findings
        What `check_submission` found.
    file
        JSON to write (see `describe_findings`).
    as_json
        Whether the same goes to standard output, instead of lines.

    Returns
    -------
    int
        Exit status: 0 where nothing fails or scores zero, else 1.
    """
    described = describe_findings(submission, manifest, findings)
    if file is not None:
        write_json(file, described)
        for finding in findings:
            log.log(logging.ERROR if finding.severity in BAD else logging.WARNING, "%s", finding)
        log.info("%s", summarise(findings))
    if as_json:
        sys.stdout.write(json.dumps(described, indent=2) + "\n")
    elif file is None:
        sys.stdout.write("\n".join([*map(str, findings), summarise(findings)]) + "\n")
    return 0 if is_good(findings) else 1
