"""On the fixture of OK-VQA: two questions of val, one of which has a line in `val_detections.json`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kvqa.data.example import Example, unseen
from kvqa.errors import InputError
from kvqa.evaluation.okvqa import evaluate_okvqa, human_answers, judge
from kvqa.evaluation.page import write_report_page
from kvqa.evaluation.records import read_run
from kvqa.scoring.datasets import score_file

ROOT = Path(__file__).resolve().parents[2] / "fixtures" / "okvqa"


def example(answers: tuple[str, ...], scores: tuple[float, ...]) -> Example:
    return Example("1", "?", "a.jpg", unseen("a.jpg"), answers=answers, answer_scores=scores)


@pytest.fixture(scope="module")
def evaluated(small_kb: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("okvqa")
    options = {"root": ROOT, "split": "val", "kb": small_kb, "model": small_model, "out": out}
    return evaluate_okvqa(**options, ablations=True), out


def test_the_report_agrees_with_the_official_score_of_the_answers(evaluated: tuple[Any, Path]) -> None:
    report, out = evaluated
    official = score_file("okvqa", out / "answers.json", ROOT / "val_soft_labels.json", handling="strict")
    assert report["scores"]["overall"] == official.scores["overall"]
    assert (report["dataset"], report["split"], report["questions"], report["with_labels"]) == ("okvqa", "val", 2, 1)
    assert [row["question_id"] for row in json.loads((out / "answers.json").read_text())] == [425, 775]
    assert set(report["by"]) == {"category", "question_word", "answer_in_facts", "answered_by"}
    assert report["by"]["question_word"] == {
        word: {
            "questions": 1,
            **{s: report["by"]["question_word"][word][s] for s in ("overall", "best_of_3")},
            "prr_strict_10": 0.0,
        }
        for word in ("which", "who")
    }
    assert report["overlap"]["remark"] == "The model does not say which pictures it was trained on."


def test_there_is_no_oracle_without_gold_facts(evaluated: tuple[Any, Path]) -> None:
    report, out = evaluated
    assert list(report["ablations"]) == ["no_fact", "random_fact", "question_only"]
    records = read_run(out)[1]
    # Without the picture nothing is left of "book" and "shelf"; the second question had none to begin with.
    assert records[0]["ablations"]["question_only"]["answer"] not in ("book", "shelf")
    assert records[1]["ablations"]["question_only"]["answer"] == records[1]["answers"][0][0]
    assert records[0]["gold_fact"] is None


def test_its_page_warns_of_pictures_in_which_nothing_was_seen(evaluated: tuple[Any, Path]) -> None:
    page = write_report_page(evaluated[1]).read_text(encoding="utf-8")
    assert "For 1 of 2 questions nothing was seen in the picture." in page
    assert "Prophet" in page and "Printed, on the full data, not comparable one to one." in page


def test_answers_are_judged_as_the_official_script_does() -> None:
    people = human_answers(example(("wood", "paper"), (1.0, 0.6)))
    assert len(people) == 10 and people.count("paper") == 2
    assert judge(people, ["paper", "wood", "wool"]) == pytest.approx({"overall": 60.0, "best_of_3": 100.0})
    assert judge(people, []) == {"overall": 0.0, "best_of_3": 0.0}
    with pytest.raises(InputError, match="question 1: no ten answers give"):
        human_answers(example(("wood",), (0.3,)))


@pytest.mark.parametrize(("split", "message"), [("test", "okvqa has no split 'test'"), ("val", "has no questions")])
def test_a_split_that_is_not_there_is_refused(
    small_kb: Path, small_model: Path, tmp_path: Path, split: str, message: str
) -> None:
    root = shutil.copytree(ROOT, tmp_path / "okvqa")
    questions = root / "OpenEnded_mscoco_val2014_questions.json"
    questions.write_text(json.dumps({**json.loads(questions.read_text()), "questions": []}))
    with pytest.raises(InputError, match=message):
        evaluate_okvqa(root=root, split=split, kb=small_kb, model=small_model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
