"""Small files in the official layouts; the expected figures are counted by hand."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kvqa.errors import InputError
from kvqa.scoring.datasets import SCORERS, mean_report, score_file
from kvqa.scoring.report import Report
from kvqa.scoring.vcr import COLUMNS


@pytest.fixture
def score(tmp_path: Path) -> Any:
    """Write predictions and truth as given (text as it is, else JSON) and score them."""

    def run(dataset: str, predictions: Any, truth: Any, **options: Any) -> Report:
        files = []
        for name, content in (("predictions", predictions), ("truth", truth)):
            path = tmp_path / name
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_bytes(gzip.compress(text.encode()) if name == "truth" else text.encode())
            files.append(path)
        for name in ("ids", "originals"):
            if name in options:
                (tmp_path / name).write_text(options[name], encoding="utf-8")
                options[name] = tmp_path / name
        return score_file(dataset, *files, **options)

    return run


def lines(*records: dict[str, Any]) -> str:
    return "\n".join(json.dumps(record) for record in records)


def annotation(question_id: int, answers: list[str], kind: str = "what") -> dict[str, Any]:
    given = [{"answer": answer, "answer_confidence": "yes", "answer_id": k + 1} for k, answer in enumerate(answers)]
    return {"question_id": question_id, "question_type": kind, "answer_type": "other", "answers": given, "image_id": 1}


VQA = {"annotations": [annotation(1, ["cat"] * 10), annotation(2, ["cat"] * 2 + ["Dogs"] * 8, "is")]}


def test_vqa(score: Any) -> None:
    said = [{"question_id": 1, "answer": "cat"}, {"question_id": 2, "answer": "The cat"}]
    report = score("vqa2", said, VQA).as_json()
    assert (report["overall"], report["protocol"], report["unit"]) == (80.0, "official", "percent")
    assert report["per_question_type"] == {"what": 100.0, "is": 60.0}
    assert report["per_answer_type"] == {"other": 80.0}
    assert score("vqa2", said, VQA, protocol="squad").scores["overall"] == 83.33
    assert score("vqa2", said, VQA, ids="2").scores["overall"] == 60.0
    assert score("vqa2", said[:1], VQA).scores["overall"] == 50.0
    assert score("vqa2", said[:1], VQA, handling="partial").scores["overall"] == 100.0


def test_vqa_truth_by_other_hands(score: Any) -> None:
    said = [{"question_id": 1, "answer": "cat"}]
    plain = {"annotations": [{"question_id": 1, "answers": [{"answer": "cat"}] * 10}]}
    assert score("vqa2", said, plain).scores["overall"] == 100.0
    soft = score("okvqa", said, [{"question_id": 1, "label": {"cat": 0.667, "dog": 1}, "class": 3}])
    assert soft.scores["overall"] == 60.0
    assert soft.groups["per_question_type"] == {"3": 60.0}
    assert "reconstructed from soft labels" in soft.notes[0]


@pytest.mark.parametrize(
    ("said", "truth", "message"),
    [
        ({"1": "cat"}, VQA, "is not a JSON list"),
        ([{"question_id": 1, "answer": 3}], VQA, "the answer 3 is not text"),
        ([{"question_id": 1}], VQA, "a record has no 'answer'"),
        ([{"question_id": 1.5, "answer": "a"}], VQA, "1.5 cannot be an id"),
        ([{"question_id": 1, "answer": "a"}], {"questions": []}, "neither annotations .* nor soft labels"),
        ([{"question_id": 1, "answer": "a"}], {"annotations": [annotation(1, [])]}, "question 1 has no answers"),
        ([{"question_id": 1, "answer": "a"}], {"annotations": [annotation(1, ["a"])] * 2}, "question_id 1 twice"),
        ([{"question_id": 1, "answer": "a"}], [{"question_id": 1, "label": {"a": 0.3}}], "no ten answers"),
        ([{"question_id": 9, "answer": "a"}, {"question_id": 1, "answer": "a"}], VQA, "not questions of the truth: 9"),
    ],
)
def test_vqa_files_that_do_not_fit(score: Any, said: Any, truth: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score("vqa2", said, truth)


PAIRS = lines(*({"identifier": f"dev-1-{pair}-{k}", "label": "True"} for pair in (0, 1) for k in (0, 1)))


def test_nlvr2(score: Any) -> None:
    report = score(
        "nlvr2", "dev-1-0-0,TRUE\ndev-1-1-0,true\n\ndev-1-0-1,True\ndev-1-1-1,False\nother-9-9-9,True", PAIRS
    )
    assert dict(report.scores) == {"accuracy": 0.75, "consistency": 0.5}
    assert report.ids.unknown == ("other-9-9-9",)  # the official script passes over it


def test_nlvr2_value_that_is_none(score: Any) -> None:
    report = score("nlvr2", "identifier,prediction\ndev-1-0-0, True\ndev-1-1-0,1", PAIRS)
    assert report.scores["accuracy"] == 0.0
    assert "2 predictions are neither true nor false, counted as wrong: dev-1-0-0, True; dev-1-1-0,1" in report.notes


def test_nlvr2_identifier_that_is_none(score: Any) -> None:
    with pytest.raises(InputError, match="'1-2' is no NLVR2 identifier"):
        score("nlvr2", "1-2,True", lines({"identifier": "1-2", "label": "True"}))


def test_nlvr(score: Any) -> None:
    truth = lines({"identifier": "7-0", "label": "true"}, {"identifier": "7-1", "label": "false"})
    assert dict(score("nlvr", "7-0,true\n7-1,true", truth).scores) == {"accuracy": 0.5, "consistency": 0.0}
    orders = "\n".join(f"dev-7-{k}-{order}.png,{'true' if k == 0 else 'false'}" for k in (0, 1) for order in range(6))
    assert dict(score("nlvr", orders, truth, protocol="images").scores) == {"accuracy": 1.0, "consistency": 1.0}


VARIANTS = lines(
    {"identifier": "test1-4-2-1-1", "label": False},
    {"identifier": "test1-4-2-1-11", "label": "True"},
    {"identifier": "test1-4-2-0-0", "label": "false"},
)


def test_contrast_set(score: Any) -> None:
    said = "test1-4-2-1-1,0\ntest1-4-2-1-11,1\ntest1-4-2-0-0,True\ntest1-4-2-1,True"
    with pytest.raises(InputError, match="not questions of the truth: test1-4-2-1"):
        score("nlvr2-contrast", said, VARIANTS)
    report = score("nlvr2-contrast", said, VARIANTS, originals=lines({"identifier": "test1-4-2-1", "label": "False"}))
    assert report.scores == {"accuracy": 2 / 3, "consistency": 0.5, "consistency_with_original": 0.0}
    assert report.groups["counts"] == {"variants": 3, "groups": 2, "groups_with_original": 1}
    assert "1 groups have no labelled original" in report.notes[0]
    alone = score("nlvr2-contrast", said.rpartition("\n")[0], VARIANTS)
    assert alone.scores["consistency_with_original"] is None
    assert "--originals" in alone.notes[0]


def test_snli_ve(score: Any) -> None:
    truth = lines(
        *({"pairID": f"{k}.jpg#1", "gold_label": label} for k, label in enumerate(["entailment", "neutral", "-"]))
    )
    report = score("snli-ve", "pairID,label\n0.jpg#1,entailment\n1.jpg#1,contradiction", truth)
    assert report.scores["accuracy"] == 0.5
    assert report.groups["per_label"] == {"entailment": 1.0, "neutral": 0.0}
    assert report.notes == ("1 pairs without an agreed label are passed over",)
    said = lines({"pairID": "0.jpg#1", "prediction": "Entailment"}, {"pairID": "1.jpg#1", "label": "neutral"})
    assert score("snli-ve", said, truth).scores["accuracy"] == 1.0
    with pytest.raises(InputError, match="'yes' is no label"):
        score("snli-ve", "0.jpg#1,yes", truth)


def submission(tmp_path: Path, *rows: list[Any]) -> str:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path.read_text(encoding="utf-8")


VCR = lines(*({"annot_id": f"val-{k}", "answer_label": 1, "rationale_label": 2} for k in range(3)))


def test_vcr(score: Any, tmp_path: Path) -> None:
    right_answer, wrong_answer = [0, 9, 9, 0], [3, 2, 1, 0]  # the first of two highest counts
    good, bad = [0, 0, 1, 0], [1, 0, 0, 0]
    report = score(
        "vcr",
        submission(
            tmp_path,
            ["val-0", *right_answer, *bad, *good, *bad, *bad],
            ["val-1", *wrong_answer, *bad, *good, *bad, *bad],
            ["val-2", *right_answer, *good, *bad, *good, *good],
        ),
        VCR,
    )
    assert dict(report.scores) == {"q_a": 2 / 3, "qa_r": 2 / 3, "q_ar": 1 / 3}


def test_vcr_files_that_do_not_fit(score: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks 21 columns, the first 'annot_id'"):
        score("vcr", "a,b\n1,2\n", VCR)
    with pytest.raises(InputError, match="val-0 has a score that is not a number"):
        score("vcr", submission(tmp_path, ["val-0", "nan", *[0] * 19]), VCR)
    with pytest.raises(InputError, match="could not convert string to float: 'x'; a score is a number"):
        score("vcr", submission(tmp_path, ["val-0", "x", *[0] * 19]), VCR)
    with pytest.raises(InputError, match=r"has the labels \(4, 0\)"):
        score("vcr", submission(tmp_path), lines({"annot_id": "v", "answer_label": 4, "rationale_label": 0}))


def aokvqa_record(question_id: str, *, difficult: bool = False) -> dict[str, Any]:
    return {
        "question_id": question_id, "choices": ["a", "b", "c", "d"], "correct_choice_idx": 1,
        "direct_answers": ["b"] * 2 + ["x"] * 8, "difficult_direct_answer": difficult,
    }  # fmt: skip


def test_aokvqa(score: Any) -> None:
    truth = [aokvqa_record("q1"), aokvqa_record("q2", difficult=True), aokvqa_record("q3")]
    report = score(
        "aokvqa", {"q1": {"multiple_choice": "b", "direct_answer": "b"}, "q2": {"multiple_choice": "e"}}, truth
    )
    assert report.scores == {"multiple_choice": 1 / 3 * 100, "direct_answer": 2 / 3 / 2 * 100}
    assert report.ids.missing == ("q3",)
    assert any("none of the four choices, counted as wrong: q2: 'e'" in note for note in report.notes)
    only = score("aokvqa", {"q1": {"direct_answer": "B"}}, truth)
    assert only.scores == {"multiple_choice": None, "direct_answer": 0.0}
    with pytest.raises(InputError, match="1 ids have several predictions: q1"):
        score("aokvqa", '{"q1": {"multiple_choice": "a"}, "q1": {"multiple_choice": "b"}}', truth)
    with pytest.raises(InputError, match="is not an object of question ids"):
        score("aokvqa", {"q1": "b"}, truth)


FVQA = {
    "1": {"answer": "mouse", "fact": ["cat", "CapableOf", "hunting_mice"], "img_file": "a.jpg"},
    "2": {"answer": "dog", "fact": ["dog", "IsA", "pet"], "img_file": "b.jpg"},
}


def test_fvqa(score: Any) -> None:
    said = lines(
        {"question_id": "1", "answers": [["the mice", 0.9]], "facts": [["Cat", "CapableOf", "hunting mice"]]},
        {"question_id": 2, "answers": ["cat", "cow", "dog"], "facts": [["a", "IsA", "b"], ["dog", "IsA", "pet"]]},
    )
    report = score("fvqa", said, FVQA)
    assert report.scores == {"answer_top1": 50.0, "answer_top3": 100.0, "fact_top1": 50.0, "fact_top3": 100.0}
    assert score("fvqa", said, FVQA, protocol="exact").scores["answer_top1"] == 0.0
    assert score("fvqa", said, FVQA, ids="a.jpg").scores["answer_top1"] == 100.0
    without = score("fvqa", lines({"question_id": "1", "answer": "mouse"}), FVQA)
    assert without.scores["answer_top1"] == 50.0 and without.scores["fact_top1"] is None
    by_id = score(
        "fvqa", lines({"question_id": "1", "answer": "x", "facts": ["f1"]}), {"1": {"answer": "y", "fact": ["f1"]}}
    )
    assert by_id.scores["fact_top1"] == 100.0
    with pytest.raises(InputError, match="is no fact"):
        score("fvqa", lines({"question_id": "1", "answer": "x", "facts": [["a", "b"]]}), FVQA)
    with pytest.raises(InputError, match="no list of answers"):
        score("fvqa", lines({"question_id": "1"}), FVQA)


def test_zero_shot_fvqa(score: Any) -> None:
    said = lines({"question_id": "1", "answers": ["a", "b", "mouse"]}, {"question_id": "2", "answers": ["dog"]})
    report = score("zs-fvqa", said, FVQA)
    assert report.scores == {"hits@1": 50.0, "hits@3": 100.0, "hits@10": 100.0, "mrr": 0.6667, "mean_rank": 2.0}
    absent = score("zs-fvqa", said.replace("mouse", "rat"), FVQA)
    assert absent.scores["mean_rank"] is None
    assert absent.scores["mrr"] == 0.5
    assert "1 rankings do not hold the answer" in absent.notes[0]


def test_kvqa_by_hops(score: Any) -> None:
    truth = {
        "9": {"Answers": ["Ann Lee", 2, "No"], "Type of Question": [["1-hop", "spatial"], ["multi-hop", "counting"]]}
    }
    said = lines({"question_id": "9-0", "answer": "ann  lee"}, {"question_id": "9-1", "answer": 2})
    report = score("kvqa", said, truth)
    assert report.scores["overall"] == 66.67
    assert report.groups["per_hop"] == {"1-hop": 100.0, "multi-hop": 100.0, "untyped": 0.0}
    both = score("kvqa", said + "\n" + lines({"question_id": "9-0p", "answer": "x"}), truth)
    assert both.groups["per_form"] == {"original": 66.67, "paraphrased": 0.0}


def test_gqa(score: Any) -> None:
    truth = {
        "1": {"answer": "yes", "isBalanced": True, "types": {"structural": "verify"}},
        "2": {"answer": "cat", "isBalanced": True, "types": {"structural": "query"}},
        "3": {"answer": "cat", "isBalanced": False},
    }
    said = [{"questionId": "1", "prediction": "yes"}, {"questionId": "2", "prediction": "dog"}]
    report = score("gqa", said, truth)
    assert report.scores["accuracy"] == 50.0
    assert report.groups["per_kind"] == {"binary": 100.0, "open": 0.0}
    assert report.notes == ("1 questions outside the balanced set are passed over",)


def test_daquar(score: Any) -> None:
    truth = "what is on the table in image1 ?\ncup, pen\nwhat is in the image10 ?\nbed\n"
    assert score("daquar", "pen,cup\nsofa\n", truth).scores["accuracy"] == 50.0
    assert score("daquar", "bed\n", truth, ids="image10").scores["accuracy"] == 100.0
    with pytest.raises(InputError, match="not questions of the truth: 2"):
        score("daquar", "a\nb\nc\n", truth)
    with pytest.raises(InputError, match="an odd number"):
        score("daquar", "a\n", "what ?\n")


def test_names_that_are_not_allowed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="knows no data set 'vqa'; allowed: vqa2, okvqa"):
        score_file("vqa", tmp_path, tmp_path)
    with pytest.raises(InputError, match="nlvr2 has no protocol 'mmf'; allowed: official"):
        score_file("nlvr2", tmp_path, tmp_path, protocol="mmf")
    with pytest.raises(InputError, match="vcr has no originals"):
        score_file("vcr", tmp_path, tmp_path, originals=tmp_path)
    assert all(scorer.protocols for scorer in SCORERS.values())


def test_mean_of_splits(score: Any) -> None:
    said = lines({"question_id": "1", "answer": "mouse"}, {"question_id": "2", "answer": "cat"})
    mean = mean_report([score("fvqa", said, FVQA, ids=listed) for listed in ("1", "2")])
    assert mean["mean"]["answer_top1"] == 50.0
    assert mean["mean"]["fact_top1"] is None
    assert len(mean["splits"]) == 2
