"""The local score of a submission as it is drawn: classes with their parts, and each class of each crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from connectomake.errors import DataError
from connectomake.files import read_json

SKIPPED, MISSING = "skipped", "missing"
"""How the scorer's word on a class of a crop begins where its objects were too many to be matched, and where there is
no array."""
PARTS = {
    "f1": "F1",
    "normalized_hausdorff_distance": "Hausdorff",
    "precision": "precision",
    "recall": "recall",
}
"""The parts of a score, in the order in which they are shown, and their names."""


@dataclass(frozen=True)
class PairScore:
    """One class of one crop.

    Parameters
    ----------
    crop, label
        Such as ``crop234`` and ``mito``.
    is_instance
        Whether objects are counted; otherwise voxels are.
    tp, fp, fn
        Objects or voxels: found, too many, missed.
    hausdorff
        Mean of the normalised Hausdorff distances, 0 to 1; None of a class without objects.
    status
        What the scorer says: ``scored``, ``missing``, or ``skipped`` and why.
    """

    crop: str
    label: str
    is_instance: bool
    tp: int
    fp: int
    fn: int
    hausdorff: float | None
    status: str

    @property
    def is_skipped(self) -> bool:
        """Whether the scorer left it out, because there are too many objects."""
        return self.status.startswith(SKIPPED)

    @property
    def score(self) -> float | None:
        """IoU, or the geometric mean of F1 and Hausdorff; None where it was skipped."""
        if self.is_skipped:
            return None
        if not self.is_instance:
            return _share(self.tp, self.tp + self.fp + self.fn)
        f1 = _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)
        return sqrt(f1 * (1.0 if self.hausdorff is None else self.hausdorff))


@dataclass(frozen=True)
class ClassScore:
    """One class over all crops.

    Parameters
    ----------
    label
        The class.
    is_instance
        Whether objects are counted; otherwise voxels are.
    score
        0 to 1; None where no crop has truth of it.
    parts
        Part of the score (`PARTS`) -> 0 to 1.
    gain
        What the overall score would gain if the class were perfect; None where it is not known.
    pairs
        The crops with truth of it.
    """

    label: str
    is_instance: bool
    score: float | None
    parts: Mapping[str, float]
    gain: float | None
    pairs: tuple[PairScore, ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many were found, too many and missed, over all crops that were not skipped."""
        tp, fp, fn = (sum(getattr(pair, name) for pair in self.pairs) for name in ("tp", "fp", "fn"))
        return tp, fp, fn

    @property
    def remark(self) -> str:
        """What the number alone does not tell, in words; empty where there is nothing to add."""
        if self.score is None:
            return "no truth"
        skipped = sum(pair.is_skipped for pair in self.pairs)
        missing = sum(pair.status == MISSING for pair in self.pairs)
        of = f"of {len(self.pairs)} crops" if len(self.pairs) > 1 else "crop"
        said = [f"{skipped} {of} skipped (too many objects)"] * bool(skipped)
        said += [f"{missing} {of} missing or not usable"] * bool(missing)
        tp, fp, fn = self.counts
        if not skipped and self.pairs:
            said += ["never predicted"] * (tp + fp == 0 and fn > 0 and missing < len(self.pairs))
            said += ["absent from the truth" + ", but predicted" * (fp > 0)] * (tp + fn == 0)
        return "; ".join(said)


@dataclass(frozen=True)
class Score:
    """A submission's local score.

    Parameters
    ----------
    overall, instance, semantic
        The three overall numbers, 0 to 1.
    metric
        Version of the metric.
    classes
        Those told object by object first, then by score; a class without truth comes last of its kind.
    left_out
        What was not scored as it stands: ``crop``, ``class``, ``status`` and ``reason`` of each.
    ties
        (crop, class) where several ways to match objects cost the same -> by how much the challenge's sum of Hausdorff
        distances may differ.
    """

    overall: float
    instance: float
    semantic: float
    metric: str
    classes: tuple[ClassScore, ...]
    left_out: tuple[Mapping[str, str], ...] = ()
    ties: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def pairs(self) -> list[PairScore]:
        """Every class of every crop."""
        return [pair for row in self.classes for pair in row.pairs]

    @property
    def headline(self) -> str:
        """The overall numbers in one line."""
        missing = self.missing_kinds
        said = [f"overall {self.overall:.3f}" + " (0 without classes of both kinds)" * bool(missing)]
        for name, value in (("instance", self.instance), ("semantic", self.semantic)):
            said.append(f"no {name} class" if name in missing else f"{name} {value:.3f}")
        return "   ".join([*said, f"metric {self.metric}"])

    @property
    def missing_kinds(self) -> list[str]:
        """The kinds, of ``instance`` and ``semantic``, of which no class was scored: overall is 0 then."""
        there = {row.is_instance for row in self.classes if row.score is not None}
        return [name for name, is_instance in (("instance", True), ("semantic", False)) if is_instance not in there]


def read_score(path: Path, submitted: Mapping[str, bool]) -> Score:
    """Read score.json.

    Parameters
    ----------
    path
        What the local score wrote.
    submitted
        The classes of the submission -> whether they are told object by object; those that were not scored have no
        truth.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is no local score.
    """
    found = read_json(path)
    try:
        return _parse(found, submitted)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no local score ({type(error).__name__}: {error})",
            expected="label_scores, crops and gains, as score_submission.py writes them",
            hint="run score_submission.py again",
        ) from error


def _parse(found: Mapping[str, Any], submitted: Mapping[str, bool]) -> Score:
    scored = found["label_scores"]
    kinds = {label: "combined_score" in numbers for label, numbers in scored.items()}
    pairs: dict[str, list[PairScore]] = {label: [] for label in {**submitted, **scored}}
    for crop, labels in found["crops"].items():
        for label, numbers in labels.items():
            pairs[label].append(_parse_pair(crop, label, kinds[label], numbers))
    classes = [
        _parse_class(label, kinds.get(label, submitted.get(label, False)), scored.get(label), found["gains"], own)
        for label, own in pairs.items()
    ]
    classes.sort(key=lambda row: (not row.is_instance, row.score is None, -(row.score or 0), row.label))
    return Score(
        overall=float(found["overall_score"]),
        instance=float(found["overall_instance_score"]),
        semantic=float(found["overall_semantic_score"]),
        metric=str(found["metric"]),
        classes=tuple(classes),
        left_out=tuple(found["skipped"]),
        ties={(tie["crop"], tie["class"]): float(tie["difference"]) for tie in found["ties"]},
    )


def _parse_pair(crop: str, label: str, is_instance: bool, numbers: Mapping[str, Any]) -> PairScore:
    tp, fp, fn = (int(numbers[name]) for name in ("tp", "fp", "fn"))
    count = numbers.get("n_hausdorff", 0)
    hausdorff = numbers["hausdorff_norm_sum"] / count if count else None
    return PairScore(crop, label, is_instance, tp, fp, fn, hausdorff, str(numbers["status"]))


def _parse_class(
    label: str,
    is_instance: bool,
    numbers: Mapping[str, float] | None,
    gains: Mapping[str, float],
    pairs: Iterable[PairScore],
) -> ClassScore:
    if numbers is None:
        return ClassScore(label, is_instance, None, {}, None, ())
    row = ClassScore(label, is_instance, numbers["combined_score" if is_instance else "iou"], {}, None, tuple(pairs))
    tp, fp, fn = row.counts
    parts = {name: float(value) for name, value in numbers.items() if name in PARTS}
    if not is_instance:
        parts |= {name: tp / whole for name, whole in (("precision", tp + fp), ("recall", tp + fn)) if whole}
    return ClassScore(label, is_instance, float(row.score or 0), parts, gains.get(label), row.pairs)


def _share(part: float, whole: float) -> float:
    """Divide; nothing of nothing is all of it, as the challenge has it."""
    return part / whole if whole else 1.0
