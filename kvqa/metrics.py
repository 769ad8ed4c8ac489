"""Scores of answers and of confidences. Scores of retrieved facts are in `retrieval.metrics`."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.lemmas import lemmatise
from kvqa.errors import InputError

Key = tuple[str, str, str]
"""A fact by its identity, as `kb.triple.Triple.key`."""

T = TypeVar("T", bound=Hashable)


class Scored(Protocol):
    """What FVQA scoring needs of a `kvqa.data.example.Example`."""

    @property
    def question_id(self) -> str:
        """Identity of the question."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Accepted spellings, the reference first."""

    @property
    def facts(self) -> tuple[Key, ...]:
        """Gold facts."""


@dataclass(frozen=True)
class Prediction:
    """What a system says to one question.

    Attributes:
        question_id: Identity of the question.
        answers: Answers, best first.
        facts: Keys of the supporting facts, best first.
    """

    question_id: str
    answers: Sequence[str]
    facts: Sequence[Key] = ()


def normalise_answer(text: str) -> str:
    """Return the spelling under which FVQA answers are compared: `"The Vegetables."` gives `"vegetable"`.

    Lower case, underscores as spaces, no punctuation at the edges of words, no articles (unless nothing else is
    left), each word in its dictionary form.
    """
    return lemmatise(text, drop_articles=True)


def top_k_accuracy(rankings: Sequence[Sequence[T]], golds: Sequence[Collection[T]], k: int) -> float:
    """Return the share, in [0, 1], of rankings with a gold item among their first `k`.

    Args:
        rankings: For each question its items, best first. A ranking may be empty, which counts as wrong.
        golds: For each question the items that are right.
        k: How many places count, 1 or more.

    Raises:
        ValueError: if there are no questions, the lengths differ, or `k` is below 1.
    """
    if not rankings or len(rankings) != len(golds) or k < 1:
        raise ValueError(f"cannot score {len(rankings)} rankings against {len(golds)} golds at k = {k}")
    hits = [any(item in gold for item in ranking[:k]) for ranking, gold in zip(rankings, golds, strict=True)]
    return sum(hits) / len(hits)


def fvqa_scores(
    predictions: Iterable[Prediction], examples: Sequence[Scored], *, any_spelling: bool = False
) -> dict[str, float]:
    """Return FVQA's four figures in percent: `answer_top1`, `answer_top3`, `fact_top1`, `fact_top3`.

    Answers are compared after `normalise_answer`, facts by key. A question without a prediction counts as wrong.

    Args:
        predictions: At most one for each question, in any order.
        examples: All questions of the split.
        any_spelling: Accept every spelling of an example's answer instead of only the reference one.

    Raises:
        InputError: if a question has two predictions or a prediction has no question, or there are no examples.
    """
    by_id = _by_question(predictions, {example.question_id for example in examples})
    ordered = [by_id.get(example.question_id, Prediction(example.question_id, ())) for example in examples]
    answers = [[normalise_answer(answer) for answer in prediction.answers[:3]] for prediction in ordered]
    facts = [list(prediction.facts[:3]) for prediction in ordered]
    accepted = [
        {normalise_answer(answer) for answer in (example.answers if any_spelling else example.answers[:1])} - {""}
        for example in examples
    ]
    gold_facts = [set(example.facts) for example in examples]
    return {
        "answer_top1": 100 * top_k_accuracy(answers, accepted, 1),
        "answer_top3": 100 * top_k_accuracy(answers, accepted, 3),
        "fact_top1": 100 * top_k_accuracy(facts, gold_facts, 1),
        "fact_top3": 100 * top_k_accuracy(facts, gold_facts, 3),
    }


def expected_calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Return by how much confidence and accuracy differ on average, in [0, 1] (Guo et al. 2017, arXiv 1706.04599).

    Args:
        confidences: (N,) in [0, 1]. They are sorted into `bins` equal intervals (low, high]; 0 goes into the first.
        correct: (N,) of 0 and 1, or shares in between.
        bins: Number of intervals.

    Raises:
        ValueError: if the arrays are empty or differ in shape, or a value is outside [0, 1].
    """
    sure, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != right.shape or not len(sure) or bins < 1:
        raise ValueError(f"confidences {sure.shape} and correct {right.shape} do not fit, or bins {bins} is below 1")
    for name, values in (("confidences", sure), ("correct", right)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} holds values outside [0, 1]; give probabilities")
    number = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(number, weights=right - sure, minlength=bins)
    return float(np.abs(gap).sum() / len(sure))


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[Hashable], *, rounds: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of the mean of `values` when whole groups are drawn again with replacement.

    Questions about one picture are not independent; drawing pictures instead of questions keeps the interval honest
    (cluster bootstrap; Efron and Tibshirani 1993, chapter 8).

    Args:
        values: (N,) scores in any unit; the interval has the same.
        groups: (N,) the group of each value, such as the picture's name.
        rounds: Number of draws.
        seed: Seed of the draws; the same seed gives the same interval.
        level: Share of the draws inside the interval.

    Raises:
        ValueError: if there are no values, the lengths differ, or `level` is not between 0 and 1.
    """
    scores = np.asarray(values, dtype=np.float64)
    if not len(scores) or scores.shape != (len(groups),) or not 0 < level < 1 or rounds < 1:
        raise ValueError(f"values {scores.shape}, {len(groups)} groups, level {level}, rounds {rounds} do not fit")
    sums, sizes = _sums_by_group(scores, groups)
    generator = np.random.default_rng(seed)
    means = np.empty(rounds)
    for number in range(rounds):
        drawn = generator.integers(len(sums), size=len(sums))
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sums_by_group(
    scores: NDArray[np.float64], groups: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each distinct group the sum of its scores and how many it has."""
    number = {group: row for row, group in enumerate(dict.fromkeys(groups))}
    row = np.array([number[group] for group in groups])
    return np.asarray(np.bincount(row, scores), np.float64), np.asarray(np.bincount(row), np.float64)


def _by_question(predictions: Iterable[Prediction], known: set[str]) -> dict[str, Prediction]:
    """Return the predictions by question, each question at most once."""
    by_id: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.question_id in by_id:
            raise InputError(f"question {prediction.question_id} has two predictions; keep one")
        if prediction.question_id not in known:
            raise InputError(f"there is no question {prediction.question_id} in this split; score the split predicted")
        by_id[prediction.question_id] = prediction
    if not known:
        raise InputError("there are no questions to score; check the name of the split")
    return by_id
