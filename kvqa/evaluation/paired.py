"""Statistics of two systems that answered the same questions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kvqa.metrics import bootstrap_interval


def paired_interval(
    first: ArrayLike, second: ArrayLike, groups: Sequence[Hashable], *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `second - first` when whole groups are drawn again with replacement.

    Both systems are drawn together: what makes a picture hard for both does not widen the interval.

    Args:
        first, second: (N,) scores of the same questions in one unit.
        groups: (N,) the picture of each question.
        rounds, seed: Of the draws.

    Raises:
        ValueError: as `kvqa.metrics.bootstrap_interval`.
    """
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return bootstrap_interval(difference, groups, rounds=rounds, seed=seed)


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> tuple[int, int, float]:
    """Return how many only `first` has right, how many only `second`, and McNemar's exact two-sided p-value.

    Under the hypothesis that both are equally often right, the questions that they disagree on fall to either side
    like a fair coin (McNemar 1947; the exact binomial form). Questions about one picture count as independent here,
    which they are not quite; the interval of `paired_interval` does without that.

    Args:
        first, second: (N,) bool, right or wrong.

    Raises:
        ValueError: if the shapes differ.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"right or wrong of {one.shape} and {two.shape} do not fit; give one value a question each")
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    total, less = only_first + only_second, min(only_first, only_second)
    tail = ways = 1  # of total over 0 … k, and total over k
    for k in range(less):
        ways = ways * (total - k) // (k + 1)
        tail += ways
    # The integers may be far beyond what a float holds; their ratio is not.
    return only_first, only_second, min(1.0, 2 * tail / (1 << total))


def is_right_or_wrong(values: NDArray[np.float64]) -> bool:
    """Return whether scores in percent are nothing but 0 and 100."""
    return bool(np.isin(values, (0.0, 100.0)).all())
