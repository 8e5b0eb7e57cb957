"""From the counts of every class of every crop to the score of each class, and of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from connectomake.submit.score.metric import Metric

if TYPE_CHECKING:
    from connectomake.submit.score.crop import Counts


def pool_classes(crops: Mapping[str, Mapping[str, Counts]], metric: Metric) -> dict[str, dict[str, float]]:
    """Add up the counts of each class over all crops, and give its score and what it is made of.

    Parameters
    ----------
    crops
        Crop -> class -> its counts.
    metric
        The version of the metric, which says which classes are told object by object.

    Returns
    -------
    dict
        Class, in the order in which it comes first -> ``f1``, ``normalized_hausdorff_distance`` and
        ``combined_score``, the geometric mean of the two; or ``iou``; and ``tp``, ``fp``, ``fn``. Each score is 0 to 1,
        and 1 where there is nothing to find and nothing was found.
    """
    names = dict.fromkeys(name for classes in crops.values() for name in classes)
    return {
        name: _pool([classes[name] for classes in crops.values() if name in classes], name in metric.instance_classes)
        for name in names
    }


def _pool(counts: Iterable[Counts], is_instances: bool) -> dict[str, float]:
    counts = list(counts)
    tp, fp, fn = (sum(getattr(c, name) for c in counts) for name in ("tp", "fp", "fn"))
    numbers = {"tp": tp, "fp": fp, "fn": fn}
    if not is_instances:
        return {"iou": _ratio(tp, tp + fp + fn)} | numbers
    f1 = _ratio(2 * tp, 2 * tp + fp + fn)
    near = _ratio(sum(c.hausdorff_norm_sum or 0 for c in counts), sum(c.n_hausdorff or 0 for c in counts))
    return {"f1": f1, "normalized_hausdorff_distance": near, "combined_score": (f1 * near) ** 0.5} | numbers


def score_of_class(numbers: Mapping[str, Any]) -> float:
    """Return the one number that says how good a class is: the combined score, or the IoU."""
    return float(numbers["combined_score"] if "combined_score" in numbers else numbers["iou"])


def overall(scores: Mapping[str, float], metric: Metric) -> dict[str, float]:
    """Return the overall scores.

    Parameters
    ----------
    scores
        Class -> score.
    metric
        The version of the metric.

    Returns
    -------
    dict
        ``overall_instance_score`` and ``overall_semantic_score``, plain means over classes, 0 without any; and
        ``overall_score``, the geometric mean of the two: 0 where one kind is not there.
    """
    objects, voxels = (
        [score for name, score in scores.items() if (name in metric.instance_classes) == wanted]
        for wanted in (True, False)
    )
    instance, semantic = (sum(kind) / len(kind) if kind else 0.0 for kind in (objects, voxels))
    return {
        "overall_instance_score": instance,
        "overall_semantic_score": semantic,
        "overall_score": (instance * semantic) ** 0.5,
    }


def gains(scores: Mapping[str, float], metric: Metric) -> dict[str, float]:
    """Return by how much the overall score would rise if a class were perfect, for each class, the largest first."""
    now = overall(scores, metric)["overall_score"]
    rise = {name: overall({**scores, name: 1.0}, metric)["overall_score"] - now for name in scores}
    return dict(sorted(rise.items(), key=lambda item: -item[1]))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
