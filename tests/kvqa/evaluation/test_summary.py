from typing import Any

import pytest

from kvqa.evaluation.open_answers import question_word
from kvqa.evaluation.summary import summary


def record(image: str, score: float, confidence: float, kind: str, without: float) -> dict[str, Any]:
    return {
        "image": image,
        "confidence": confidence,
        "right": score / 100,
        "scores": {"top1": score, "recall": 50.0},
        "groups": {"kind": kind},
        "ablations": {"no_fact": {"scores": {"top1": without}}},
    }


RECORDS = [
    record("a", 100, 0.85, "x", 100),
    record("a", 0, 0.05, "x", 0),
    record("b", 100, 0.95, "x", 0),
    record("c", 30, 0.95, "y", 0),
]


def test_every_figure_worked_out_by_hand() -> None:
    found = summary(RECORDS, group_scores=("top1", "fact"), groups=("kind", "hop"), seed=0)
    # |0.05 - 0| + |0.85 - 1| + |(0.95 + 0.95) - (1 + 0.3)|, over four questions
    assert found["scores"] == {"top1": 57.5, "recall": 50.0, "ece": pytest.approx(100 * (0.05 + 0.15 + 0.6) / 4)}
    assert found["by"] == {
        "kind": {"x": {"questions": 3, "top1": 66.67}, "y": {"questions": 1, "top1": 30.0}},
        "hop": {},
    }
    assert found["intervals"]["recall"] == [50.0, 50.0]
    low, high = found["intervals"]["top1"]
    assert 30 <= low < 57.5 < high <= 100
    assert found["ablations"]["no_fact"]["scores"] == {"top1": 25.0}
    bins = found["calibration"]
    assert [b["questions"] for b in bins] == [1, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert bins[1] == {"from": 10.0, "to": 20.0, "questions": 0, "confidence": None, "accuracy": None}
    assert (bins[9]["confidence"], bins[9]["accuracy"]) == (95.0, 65.0)


def test_without_ablations_there_are_none() -> None:
    plain = [{key: value for key, value in r.items() if key != "ablations"} for r in RECORDS]
    assert "ablations" not in summary(plain, group_scores=(), groups=(), seed=0)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is this?", "what"),
        ("In this image, which animal can fly?", "which"),
        ("How many legs has it?", "how many"),
        ("how does it work", "how"),
        ("Whose hat is it?", "who"),
        ("Is it a whatnot?", "yes or no"),
        ("Canned food", "other"),
        ("Name the whatnot", "other"),
    ],
)
def test_the_word_that_asks(question: str, word: str) -> None:
    assert question_word(question) == word
