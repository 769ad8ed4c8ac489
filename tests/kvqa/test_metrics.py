from typing import Any

import numpy as np
import pytest

from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.metrics import (
    Prediction,
    bootstrap_interval,
    expected_calibration_error,
    fvqa_scores,
    normalise_answer,
    top_k_accuracy,
)
from kvqa.vision.regions import Regions

REGIONS = Regions("a.jpg", 1, 1, ())
CAT_IS = ("cat", "IsA", "pet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Vegetables.", "vegetable"),
        ("a_lizard", "lizard"),
        (" Catching  mice! ", "catch mouse"),
        ("(traffic lights)", "traffic light"),
        ("the", "the"),
        ("?!", ""),
    ],
)
def test_normalise_answer(text: str, expected: str) -> None:
    assert normalise_answer(text) == expected
    assert normalise_answer(expected) == expected


def test_top_k_accuracy_counts_the_first_k_places() -> None:
    rankings = [["a", "b", "c"], ["b", "a"], []]
    golds = [{"c"}, {"b", "x"}, {"a"}]
    assert top_k_accuracy(rankings, golds, 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(rankings, golds, 2) == pytest.approx(1 / 3)
    assert top_k_accuracy(rankings, golds, 3) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("rankings", "golds", "k"), [([], [], 1), ([["a"]], [], 1), ([["a"]], [{"a"}], 0)])
def test_top_k_accuracy_refuses(rankings: Any, golds: Any, k: int) -> None:
    with pytest.raises(ValueError, match="cannot score"):
        top_k_accuracy(rankings, golds, k)


def _examples() -> list[Example]:
    return [
        Example("1", "q", "a.jpg", REGIONS, ("catch mouse", "hunting"), (CAT_IS,)),
        Example("2", "q", "a.jpg", REGIONS, ("dog",), (("dog", "IsA", "pet"), ("dog", "HasA", "tail"))),
        Example("3", "q", "a.jpg", REGIONS, ("cup",), (("cup", "UsedFor", "tea"),)),
        Example("4", "q", "a.jpg", REGIONS, ("?",), ()),
    ]


PREDICTIONS = [
    Prediction("1", ["catching mice", "dog"], [CAT_IS]),
    Prediction("2", ["cat", "hen", "The Dogs"], [CAT_IS, ("dog", "HasA", "tail")]),
    Prediction("4", ["!"], []),
]


def test_fvqa_scores_in_percent_of_all_questions() -> None:
    # Question 3 has no prediction; what normalises to nothing is never right.
    assert fvqa_scores(PREDICTIONS, _examples()) == {
        "answer_top1": 25.0,
        "answer_top3": 50.0,
        "fact_top1": 25.0,
        "fact_top3": 50.0,
    }


def test_fvqa_scores_against_the_reference_unless_told() -> None:
    prediction, examples = [Prediction("1", ["hunting"])], _examples()[:1]
    assert fvqa_scores(prediction, examples)["answer_top1"] == 0.0
    assert fvqa_scores(prediction, examples, any_spelling=True)["answer_top1"] == 100.0


def test_fvqa_scores_takes_no_fourth_place() -> None:
    prediction = Prediction("2", ["a", "b", "c", "dog"])
    assert fvqa_scores([prediction], _examples()[1:2])["answer_top3"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "count", "message"),
    [
        ([*PREDICTIONS, PREDICTIONS[0]], 4, "question 1 has two predictions"),
        ([Prediction("99", ["x"])], 4, "no question 99"),
        ([], 0, "no questions to score"),
    ],
)
def test_fvqa_scores_refuses(predictions: list[Prediction], count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fvqa_scores(predictions, _examples()[:count])


def test_calibration_error_by_hand() -> None:
    # Two intervals: (0, 0.5] holds 0.2 and 0.5 (one right), (0.5, 1] holds 0.9 and 1.0 (both right).
    # |0.5 - 0.35| * 2/4 + |1 - 0.95| * 2/4 = 0.1
    assert expected_calibration_error([0.2, 0.5, 0.9, 1.0], [0, 1, 1, 1], bins=2) == pytest.approx(0.1)
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == 0.0
    assert expected_calibration_error([1.0, 1.0], [0, 0]) == 1.0


@pytest.mark.parametrize(
    ("sure", "right", "message"),
    [([], [], "do not fit"), ([0.5], [1, 0], "do not fit"), ([1.2], [1], "confidences holds"), ([0.5], [2], "correct")],
)
def test_calibration_error_refuses(sure: list[float], right: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(sure, right)


def test_bootstrap_agrees_with_the_normal_interval_for_single_values() -> None:
    values = np.random.default_rng(1).integers(0, 2, 2000)
    low, high = bootstrap_interval(values, range(2000), rounds=2000)
    error = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - error, abs=0.003)
    assert high == pytest.approx(values.mean() + error, abs=0.003)


def test_bootstrap_draws_groups_not_values() -> None:
    values = [1.0] * 50 + [0.0] * 50
    groups = ["one"] * 50 + ["two"] * 50
    # Two pictures: a draw is all of one, all of the other, or both.
    assert bootstrap_interval(values, groups) == (0.0, 1.0)
    single = bootstrap_interval(values, range(100))
    assert 0.35 < single[0] < 0.45 and 0.55 < single[1] < 0.65


def test_bootstrap_depends_on_the_seed_alone() -> None:
    values, groups = np.linspace(0, 1, 30), [number // 3 for number in range(30)]
    assert bootstrap_interval(values, groups, seed=3) == bootstrap_interval(values, groups, seed=3)
    assert bootstrap_interval(values, groups, seed=3) != bootstrap_interval(values, groups, seed=4)
    narrow, wide = (bootstrap_interval(values, groups, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(("values", "groups", "level"), [([], [], 0.95), ([1.0], [], 0.95), ([1.0], ["a"], 1.0)])
def test_bootstrap_refuses(values: list[float], groups: list[str], level: float) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        bootstrap_interval(values, groups, level=level)
