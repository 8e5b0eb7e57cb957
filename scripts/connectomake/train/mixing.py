"""Which source the next patch comes from: a weighted draw whose chances are exact, whatever the sources' sizes.

The semantics are those of the `WeightedConcatDataset` of BANIS and PyTorch Connectomics, which mixes real and
synthetic data; here everything follows from a seed and the number of the sample alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box

if TYPE_CHECKING:
    from connectomake.train.volumes import LabelledBox


def to_chances(weights: Sequence[float]) -> np.ndarray:
    """Divide weights by their sum.

    Parameters
    ----------
    weights
        One for each thing to draw from, 0 or above; they need not sum to 1.

    Returns
    -------
    ndarray
        (N,) float64 probabilities.

    Raises
    ------
    DataError
        A weight is negative or not finite, or they do not sum to a positive number.
    """
    values = np.array(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not fsum(values) > 0:
        raise DataError(
            "these weights cannot be drawn by", expected="0 or above, with a positive sum", got=values.tolist()
        )
    return values / fsum(values)


def draw(rng: np.random.Generator, chances: np.ndarray) -> int:
    """Draw an index by its chance, with one random number; one whose chance is 0 never comes.

    Parameters
    ----------
    rng
        Moves on by one number.
    chances
        (N,) probabilities.
    """
    reached = np.cumsum(chances)
    return int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))


@dataclass(frozen=True)
class Mixture:
    """Things in groups: a group is drawn by its share, then one of its members by its own chance.

    Parameters
    ----------
    shares
        (G,) probabilities of the groups.
    members
        For each group the indices of the things in it.
    within
        For each group the probabilities of its members.
    """

    shares: np.ndarray
    members: tuple[np.ndarray, ...]
    within: tuple[np.ndarray, ...]

    def draw(self, rng: np.random.Generator) -> int:
        """Draw the index of a thing."""
        group = draw(rng, self.shares)
        return int(self.members[group][draw(rng, self.within[group])])

    @property
    def chances(self) -> np.ndarray:
        """(N,) probabilities of the things themselves."""
        chances = np.zeros(sum(len(members) for members in self.members))
        for share, members, within in zip(self.shares, self.members, self.within, strict=True):
            chances[members] = share * within
        return chances


def mix_boxes(boxes: Sequence[LabelledBox]) -> Mixture:
    """Assign every box its chance.

    Parameters
    ----------
    boxes
        Those of one source carry the same `share`: its weight in the mix; None everywhere where nothing is mixed.

    Returns
    -------
    Mixture
        A source's probability is its share over the sum of all. Inside it, and where there are no shares among all
        boxes, one of n voxels and weight w has a probability proportional to n w.

    Raises
    ------
    DataError
        The shares do not sum to a positive number.
    """
    groups: dict[str, list[int]] = {}
    for index, box in enumerate(boxes):
        groups.setdefault("" if box.share is None else box.source, []).append(index)
    shares = [boxes[members[0]].share for members in groups.values()]
    sizes = [Box.of_shape(box.shape_zyx).size * box.weight for box in boxes]
    return Mixture(
        to_chances([1.0 if share is None else share for share in shares]),
        tuple(np.array(members) for members in groups.values()),
        tuple(to_chances([sizes[i] for i in members]) for members in groups.values()),
    )


class WeightedConcatDataset:
    """Several data sets as one, each sample from one of them by its weight; torch's DataLoader takes it as it is.

    Sample i is a function of (seed, i) alone: the data set is drawn by its weight, then an item of it, all equally
    likely and with replacement. After the classes of this name in BANIS and PyTorch Connectomics.

    Parameters
    ----------
    datasets
        Anything with a length and items by number.
    weights
        One for each, 0 or above; they need not sum to 1.
    length
        Samples; by default the length of the shortest data set whose weight is not 0.
    seed
        Of the draws.

    Raises
    ------
    DataError
        There are not as many weights as data sets, the weights do not sum to a positive number, or a data set that is
        drawn from is empty.

    Examples
    --------
    >>> mixed = WeightedConcatDataset(["aaaa", "bbbbbbbb"], [3, 1])
    >>> len(mixed), mixed.chances.tolist(), "".join(mixed[i] for i in range(4))
    (4, [0.75, 0.25], 'aaaa')
    """

    def __init__(
        self, datasets: Sequence[Any], weights: Sequence[float], length: int | None = None, seed: int = 0
    ) -> None:
        if len(datasets) != len(weights):
            raise DataError("each data set needs a weight", expected=f"{len(datasets)} weights", got=len(weights))
        self.datasets, self.seed, self.chances = list(datasets), seed, to_chances(weights)
        lengths = [len(data) for data, chance in zip(datasets, self.chances, strict=True) if chance]
        if min(lengths) == 0:
            raise DataError("a data set to draw from is empty", got=f"lengths {lengths}", hint="set its weight to 0")
        self.length = min(lengths) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        """Return sample `index`, from 0."""
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        rng = np.random.default_rng((self.seed, index))
        chosen = self.datasets[draw(rng, self.chances)]
        return chosen[int(rng.integers(len(chosen)))]
