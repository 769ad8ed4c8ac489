"""Scores of retrieved facts, each the mean over the questions, in [0, 1].

`recall_at_k` and `mean_reciprocal_rank` ask for the gold fact. `prr_at_k` only asks for the answer's letters in some
passage (Luo et al. 2021, arXiv 2109.04014; Lin and Byrne 2022, arXiv 2210.03809); it flatters: "cat" is in
"education". `prr_strict_at_k` wants it as whole words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def recall_at_k(rankings: Sequence[Sequence[T]], golds: Sequence[Collection[T]], k: int) -> float:
    """Return the mean share of gold facts that are among the first `k` retrieved.

    Args:
        rankings: For each question the keys of its facts, best first.
        golds: For each question the keys of its gold facts, at least one.
        k: How many places count, 1 or more.

    Raises:
        ValueError: if there are no questions, the lengths differ, a question has no gold, or `k` is below 1.
    """
    _check(rankings, golds, k)
    shares = [len(set(ranking[:k]) & set(gold)) / len(set(gold)) for ranking, gold in zip(rankings, golds, strict=True)]
    return sum(shares) / len(shares)


def mean_reciprocal_rank(rankings: Sequence[Sequence[T]], golds: Sequence[Collection[T]]) -> float:
    """Return the mean of 1 / place of the first gold fact, places from 1; 0 where none is retrieved.

    Raises:
        ValueError: as `recall_at_k`.
    """
    _check(rankings, golds, 1)
    total = 0.0
    for ranking, gold in zip(rankings, golds, strict=True):
        wanted = set(gold)
        total += next((1 / place for place, item in enumerate(ranking, start=1) if item in wanted), 0.0)
    return total / len(rankings)


def prr_at_k(passages: Sequence[Sequence[str]], answers: Sequence[Collection[str]], k: int) -> float:
    """Return the share of questions with a true answer inside one of the first `k` passages, as any substring.

    Case is ignored, word boundaries are too; a blank answer matches nothing.

    Args:
        passages: For each question its passages, best first.
        answers: For each question its true answers, at least one.
        k: How many passages count, 1 or more.

    Raises:
        ValueError: as `recall_at_k`.
    """
    _check(passages, answers, k)
    hits = 0
    for texts, true in zip(passages, answers, strict=True):
        wanted = [answer.lower() for answer in true if answer.strip()]
        hits += any(answer in text.lower() for text in texts[:k] for answer in wanted)
    return hits / len(passages)


def prr_strict_at_k(passages: Sequence[Sequence[str]], answers: Sequence[Collection[str]], k: int) -> float:
    """Return what `prr_at_k` returns, but the answer must stand there as whole words.

    Raises:
        ValueError: as `recall_at_k`.
    """
    _check(passages, answers, k)
    hits = 0
    for texts, true in zip(passages, answers, strict=True):
        wanted = "|".join(re.escape(answer.strip().lower()) for answer in true if answer.strip())
        pattern = re.compile(rf"(?<!\w)(?:{wanted})(?!\w)")
        hits += bool(wanted) and any(pattern.search(text.lower()) for text in texts[:k])
    return hits / len(passages)


def _check(rankings: Sequence[Sequence[T]], golds: Sequence[Collection[T]], k: int) -> None:
    """Raise ValueError unless there is something to score."""
    if not rankings:
        raise ValueError("there are no questions to score; give at least one")
    if len(rankings) != len(golds):
        raise ValueError(f"{len(rankings)} rankings for {len(golds)} golds; give one of each a question")
    if k < 1:
        raise ValueError(f"k is {k}; give 1 or more")
    for number, gold in enumerate(golds):
        if not gold:
            raise ValueError(f"question {number} has nothing that would be right; leave it out")
