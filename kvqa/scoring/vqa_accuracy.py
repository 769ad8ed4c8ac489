"""The official VQA accuracy (Antol et al. 2015, arXiv 1505.00468; GT-Vision-Lab/VQA, revision of 2021).

Each of the ten answers is left out in turn, `min(1, matches among the other nine / 3)` is taken, and the ten values are
averaged: 1 match gives 0.3, 2 give 0.6, 3 give 0.9, 4 or more give 1. Answers and prediction are normalised only if the
ten answers, stripped, are not all equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from kvqa.scoring.vqa_normalise import normalise, tidy

Accuracy = Callable[[str, Sequence[str]], float]
"""Prediction and the people's answers to a score in [0, 1]."""


def official(prediction: str, answers: Sequence[str]) -> float:
    """Return the official accuracy, in [0, 1], of one prediction.

    Args:
        prediction: Any text.
        answers: What people answered, usually ten; at least one.
    """
    said, given = tidy(prediction), [tidy(answer) for answer in answers]
    if given.count(given[0]) < len(given):
        said, given = normalise(said), [normalise(answer) for answer in given]
    return leave_one_out(said, given)


def leave_one_out(said: str, given: Sequence[str]) -> float:
    """Return the mean over all answers left out of `min(1, matches among the others / 3)`.

    An answer is left out by its place, not by its text. The sum runs over the places in order, as the official script's
    does, so that not even the last bit of the mean differs.
    """
    matches = given.count(said)
    if matches == 0:
        return 0.0
    if matches > 3:  # whichever is left out, three stay
        return 1.0
    return _mean_by_place(tuple(place for place, answer in enumerate(given) if answer == said), len(given))


@lru_cache(maxsize=1 << 12)
def _mean_by_place(places: tuple[int, ...], count: int) -> float:
    """Return `leave_one_out` when the answers at `places` of `count` match."""
    matching = frozenset(places)
    return float(sum(min(1, (len(places) - (place in matching)) / 3) for place in range(count))) / count
