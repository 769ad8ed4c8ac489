"""Agreement with what the official scripts print, to the last digit, on whole prediction files."""

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from kvqa.scoring.datasets import score_file
from kvqa.scoring.vcr import COLUMNS
from kvqa.scoring.vqa_normalise import normalise
from kvqa.scoring.vqa_variants import PROTOCOLS

ROOT = Path(os.environ.get("KVQA_DATA", "/nowhere"))
GOLDENS, DATA = ROOT / "goldens", ROOT / "data"

pytestmark = pytest.mark.skipif(not GOLDENS.is_dir(), reason="KVQA_DATA/goldens, the official scores, is not there")


def golden(name: str) -> Any:
    return json.loads((GOLDENS / name).read_text(encoding="utf-8"))


def test_normalisation() -> None:
    wrong = [case for case in golden("vqa_normalise.json")["cases"] if normalise(case["raw"]) != case["normalised"]]
    assert wrong == []


def test_accuracy_of_single_questions() -> None:
    score = PROTOCOLS["official"].score
    wrong = [
        case
        for case in golden("vqa_accuracy.json")["cases"]
        if round(100 * score(case["prediction"], case["answers"]), 2) != case["accuracy"]
    ]
    assert wrong == []


def test_vqa_file() -> None:
    expected = golden("vqa2_valid_score.json")["score"]
    report = score_file(
        "vqa2", GOLDENS / "vqa2_valid_predictions.json.gz", DATA / "vqa2_60k" / "vqa_annotatons_valid.gzip"
    ).as_json()
    assert report["overall"] == expected["overall"]
    assert report["per_question_type"] == expected["perQuestionType"]
    assert report["per_answer_type"] == expected["perAnswerType"]


@pytest.mark.parametrize("split", ["dev", "test1"])
def test_nlvr2_file(split: str) -> None:
    expected = golden(f"nlvr2_{split}_score.json")["score"]
    report = score_file("nlvr2", GOLDENS / f"nlvr2_{split}_predictions.csv.gz", DATA / "nlvr2" / f"{split}.json.gz")
    assert dict(report.scores) == expected


def test_aokvqa_file(tmp_path: Path) -> None:
    content = golden("aokvqa.json")
    predictions, truth = tmp_path / "predictions.json", tmp_path / "truth.json"
    predictions.write_text(json.dumps(content["predictions"]), encoding="utf-8")
    truth.write_text(json.dumps(content["dataset"]), encoding="utf-8")
    assert dict(score_file("aokvqa", predictions, truth).scores) == content["score"]


def test_vcr_file(tmp_path: Path) -> None:
    content = golden("vcr.json")
    predictions, truth = tmp_path / "submission.csv", tmp_path / "val.jsonl.gz"
    with predictions.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for item in content["items"]:
            rationales = [score for row in item["rationale_conditioned_on_a"] for score in row]
            writer.writerow([item["annot_id"], *item["answer"], *rationales])
    truth.write_bytes(gzip.compress("\n".join(json.dumps(item) for item in content["items"]).encode()))
    assert dict(score_file("vcr", predictions, truth).scores) == content["score"]
