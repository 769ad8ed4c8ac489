from typing import Any

import pytest

from retrieval.metrics import mean_reciprocal_rank, prr_at_k, prr_strict_at_k, recall_at_k

RANKINGS = [[1, 2, 3], [4, 5, 6], []]
GOLDS = [{2, 9}, {4}, {7}]


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 3), (2, 0.5), (3, 0.5), (100, 0.5)])
def test_recall_at_k(k: int, expected: float) -> None:
    # At 2: half of the first gold, all of the second, none of the third.
    assert recall_at_k(RANKINGS, GOLDS, k) == pytest.approx(expected)


def test_recall_counts_a_fact_once() -> None:
    assert recall_at_k([[1, 1, 1]], [[1, 2]], 3) == 0.5


def test_mean_reciprocal_rank() -> None:
    assert mean_reciprocal_rank(RANKINGS, GOLDS) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert mean_reciprocal_rank([[5, 1, 2]], [{1, 2}]) == 0.5


def test_prr_takes_letters_inside_words_and_strict_does_not() -> None:
    passages = [["Education is good", "A CAT, it purrs"]]
    assert prr_at_k(passages, [["cat"]], 1) == 1.0
    assert prr_strict_at_k(passages, [["cat"]], 1) == 0.0
    assert prr_strict_at_k(passages, [["Cat"]], 2) == 1.0


def test_prr_is_a_mean_over_questions_and_any_answer_will_do() -> None:
    passages = [["a red bus"], ["a blue car"], []]
    answers = [["train", "bus"], ["lorry"], ["x"]]
    assert prr_at_k(passages, answers, 1) == pytest.approx(1 / 3)
    assert prr_strict_at_k(passages, answers, 1) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("answer", "found"), [("c++", True), ("jazz club", True), ("jazz clu", False), (".", True), (" ", False)]
)
def test_prr_strict_takes_answers_literally(answer: str, found: bool) -> None:
    assert prr_strict_at_k([["c++ is heard in a jazz club ."]], [[answer]], 1) == float(found)


def test_a_blank_answer_matches_nothing() -> None:
    assert prr_at_k([["some text"]], [[""]], 1) == 0.0


@pytest.mark.parametrize(
    ("rankings", "golds", "k", "message"),
    [
        ([], [], 1, "no questions"),
        ([[1]], [], 1, "1 rankings for 0 golds"),
        ([["a"]], [["a"]], 0, "k is 0"),
        ([["a"], ["a"]], [["a"], []], 1, "question 1 has nothing that would be right"),
    ],
)
def test_what_cannot_be_scored_is_refused(rankings: Any, golds: Any, k: int, message: str) -> None:
    for score in (recall_at_k, prr_at_k, prr_strict_at_k):
        with pytest.raises(ValueError, match=message):
            score(rankings, golds, k)
    if k:
        with pytest.raises(ValueError, match=message):
            mean_reciprocal_rank(rankings, golds)
