"""What is wrong with a submission, how bad that is, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["fails", "zero", "loses", "note"]
SEVERITIES: tuple[Severity, ...] = ("fails", "zero", "loses", "note")
BAD = ("fails", "zero")
WHOLE = "submission"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    severity
        fails: the scorer refuses the whole submission, or stops. zero: what is named is scored as missing, or as
        something other than was predicted. loses: it is scored as meant, but points are lost. note: no harm is certain.
    where
        A crop and class as in ``crop557/mito``, a crop, a file, or ``submission`` for all of it.
    what
        What is wrong, with what was expected and found.
    hint
        What to do.
    """

    severity: Severity
    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        told = f"{self.what}; {self.hint}" if self.hint else self.what
        return f"{self.severity:<5}  {self.where}  {told}"


def order_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings, the worst first; of the same severity, those of the whole first, then by place."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.where != WHOLE, f.where))


def is_good(findings: Iterable[Finding]) -> bool:
    """Return whether nothing fails or scores zero."""
    return not any(finding.severity in BAD for finding in findings)


def summarise(findings: Sequence[Finding]) -> str:
    """Return the last line: how many findings of each severity, and the verdict."""
    counts = ", ".join(f"{number} {severity}" for severity, number in count_findings(findings).items())
    return f"{counts}: {'good to submit' if is_good(findings) else 'do not submit'}"


def count_findings(findings: Iterable[Finding]) -> dict[str, int]:
    """Count the findings of each severity."""
    found = [finding.severity for finding in findings]
    return {severity: found.count(severity) for severity in SEVERITIES}


def describe_findings(submission: Path, manifest: Path | None, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as plain data: ``verdict`` (good or bad), ``counts`` by severity, and ``findings``, in order."""
    return {
        "submission": str(submission),
        "manifest": None if manifest is None else str(manifest),
        "verdict": "good" if is_good(findings) else "bad",
        "counts": count_findings(findings),
        "findings": [asdict(finding) for finding in findings],
    }
