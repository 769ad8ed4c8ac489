"""On the small FVQA of `conftest.py`."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kb.errors import KnowledgeError
from kvqa import provenance
from kvqa.errors import InputError
from kvqa.evaluation.ablations import ABLATIONS, GOLD_ABLATIONS
from kvqa.evaluation.fvqa import GROUPS, evaluate_fvqa
from kvqa.evaluation.records import read_run
from kvqa.evaluation.system import System
from kvqa.metrics import normalise_answer
from retrieval.knowledge_base import KnowledgeBase

SCORES = {
    *("answer_top1", "answer_top3", "fact_top1", "fact_top3", "mrr", "ece"),
    *("recall_1", "recall_3", "recall_10", "recall_100", "recall_500", "prr_5", "prr_10", "prr_strict_5"),
}


def predicted(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_report_is_written_and_complete(done: tuple[dict[str, Any], Path], kb: Path, small_model: Path) -> None:
    report, out = done
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report
    assert sorted(path.name for path in out.iterdir()) == ["predictions.jsonl", "report.json"]
    assert (report["dataset"], report["split"], report["questions"], report["images"]) == ("fvqa", "test0", 5, 2)
    assert (report["hide_test_gold"], report["hidden_facts"], report["seed"]) == (False, 0, 0)
    assert report["gold_in_kb"] == 80.0  # that birds fly is not in it
    assert report["kb"]["id"] == KnowledgeBase.open(kb).manifest.id
    assert report["model"] == json.loads((small_model / "manifest.json").read_text(encoding="utf-8"))
    assert report["commit"] == provenance.commit()


def test_scores_are_percentages_that_fit_each_other(done: tuple[dict[str, Any], Path]) -> None:
    scores = done[0]["scores"]
    assert set(scores) >= SCORES
    assert all(0 <= value <= 100 for value in scores.values())
    for chain in (
        ("answer_top1", "answer_top3", "answer_reachable"),
        ("fact_top1", "fact_top3", "gold_in_evidence"),
        ("recall_1", "recall_3", "recall_10", "recall_100", "recall_500"),
        ("recall_1", "mrr", "recall_100"),
        ("prr_strict_5", "prr_5", "prr_10"),
        ("answer_top1", "answer_top1_any_spelling"),
    ):
        values = [scores[name] for name in chain]
        assert values == sorted(values), chain
    # With eight facts, all of them are retrieved: the gold fact of four questions of five is among them.
    assert scores["recall_10"] == scores["recall_500"] == scores["gold_in_evidence"] == 80.0


def test_predictions_say_why_the_scores_are_what_they_are(done: tuple[dict[str, Any], Path]) -> None:
    report, out = done
    records = predicted(out)
    assert [record["question_id"] for record in records] == ["2", "3", "4", "5", "6"]
    assert records[2]["reference"] == "rose" and records[2]["gold_fact"] == ["rose", "Category", "garden plants"]
    for top in (1, 3):
        right = [
            normalise_answer(r["reference"]) in [normalise_answer(answer) for answer, _ in r["answers"][:top]]
            for r in records
        ]
        assert report["scores"][f"answer_top{top}"] == pytest.approx(100 * sum(right) / 5)
        hits = [r["gold_fact"] in r["facts"][:top] for r in records]
        assert report["scores"][f"fact_top{top}"] == pytest.approx(100 * sum(hits) / 5)
    for record in records:
        shares = [share for _, share in record["answers"]]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
        assert len({tuple(fact) for fact in record["facts"]}) == len(record["facts"]) == 8


def test_groups_and_intervals(done: tuple[dict[str, Any], Path]) -> None:
    report, _ = done
    assert set(report["by"]) == set(GROUPS)
    for values in report["by"].values():
        assert sum(group["questions"] for group in values.values()) == 5
    assert report["by"]["answer_source"]["kb"]["questions"] == 3
    assert report["by"]["relation"]["CapableOf"]["questions"] == 3
    assert report["by"]["gold_fact"].keys() == {"hit: in the evidence", "not in the knowledge base"}
    assert report["by"]["hop"]["1"]["questions"] == 5
    assert {word: group["questions"] for word, group in report["by"]["question_word"].items()} == {
        "what": 3,
        "which": 2,
    }
    assert report["by"]["seen_answer"] == {"no": {"questions": 5, **_group_scores(report)}}
    for name, (low, high) in report["intervals"].items():
        assert 0 <= low <= report["scores"][name] <= high <= 100


def _group_scores(report: dict[str, Any]) -> dict[str, float]:
    return {name: report["scores"][name] for name in ("answer_top1", "answer_top3", "fact_top1", "recall_100")}


def test_the_same_evaluation_gives_the_same_scores(
    done: tuple[dict[str, Any], Path], root: Path, kb: Path, small_model: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    again = evaluate_fvqa(root=root, split="test0", kb=kb, model=small_model, out=tmp_path, log=said.append)
    for part in ("scores", "intervals", "by"):
        assert again[part] == done[0][part]
    assert predicted(tmp_path) == predicted(done[1])
    assert said == ["5 questions, 8 facts"]


def test_hiding_leaves_what_anybody_could_have(root: Path, kb: Path, small_model: Path, tmp_path: Path) -> None:
    options = {"root": root, "split": "test0", "kb": kb, "model": small_model, "out": tmp_path}
    report = evaluate_fvqa(**options, hide_test_gold=True, ablations=True)
    assert (report["hide_test_gold"], report["hidden_facts"]) == (True, 3)
    left = {("cup", "UsedFor", "drink tea"), ("cat", "CapableOf", "catch mice"), ("dog", "IsA", "animal")}
    left |= {("banana", "HasColor", "yellow"), ("snow", "HasProperty", "cold")}
    for record in predicted(tmp_path):
        assert {tuple(fact) for fact in record["facts"]} == left
    assert report["by"]["gold_fact"]["hidden"]["questions"] == 2
    # The oracles see hidden facts as well: all four golds that the knowledge base holds.
    assert report["ablations"]["gold_only"]["scores"]["fact_top1"] == 80.0
    assert report["ablations"]["gold_added"]["scores"]["fact_top1"] >= report["scores"]["fact_top1"]
    # Two of five golds are left; what is hidden is still in the knowledge base.
    assert report["scores"]["recall_500"] == report["scores"]["gold_in_evidence"] == 40.0
    assert report["gold_in_kb"] == 80.0


def test_a_gold_fact_that_is_not_there_is_never_retrieved(
    root: Path, kb: Path, small_model: Path, tmp_path: Path
) -> None:
    report = evaluate_fvqa(root=root, split="test4", kb=kb, model=small_model, out=tmp_path, hide_test_gold=True)
    assert (report["questions"], report["hidden_facts"], report["gold_in_kb"]) == (1, 1, 0.0)
    names = ("fact_top1", "fact_top3", "recall_1", "recall_500", "mrr", "gold_in_evidence")
    assert {name: report["scores"][name] for name in names} == dict.fromkeys(names, 0.0)


def test_the_model_says_how_much_is_retrieved(root: Path, kb: Path, small_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small_model, tmp_path / "model")
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    manifest["training"] = {"experiment": {"retriever": {"dense": 2, "linked": 0, "likely": 0}}}
    (model / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    evaluate_fvqa(root=root, split="train0", kb=kb, model=model, out=tmp_path / "out")
    assert [len(record["facts"]) for record in predicted(tmp_path / "out")] == [2, 2]


def test_a_split_without_training_part_knows_no_seen_answers(
    root: Path, kb: Path, small_model: Path, tmp_path: Path
) -> None:
    report = evaluate_fvqa(root=root, split="all", kb=kb, model=small_model, out=tmp_path)
    assert (report["questions"], report["images"]) == (7, 4)
    assert report["by"]["seen_answer"] == {}


def test_neither_batch_nor_chunk_matters_and_the_last_ones_are_kept(
    done: tuple[dict[str, Any], Path], root: Path, kb: Path, small_model: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    options = {"root": root, "split": "test0", "kb": kb, "model": small_model, "out": tmp_path}
    report = evaluate_fvqa(**options, batch=2, chunk=3, log=said.append)  # five questions: 2 + 1, then 2
    assert said[1:] == ["3 of 5", "5 of 5"]
    assert report["scores"] == pytest.approx(done[0]["scores"], abs=0.02)
    for one, other in zip(predicted(tmp_path), predicted(done[1]), strict=True):
        assert [answer for answer, _ in one["answers"]] == [answer for answer, _ in other["answers"]]
        assert one["facts"] == other["facts"] and one["scores"] == other["scores"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_an_interrupted_evaluation_goes_on_with_the_same_result(
    root: Path, kb: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"root": root, "split": "test0", "kb": kb, "model": small_model, "chunk": 2}
    answer, asked = System.answer, list[str]()

    def stopping(self: System, examples: Any) -> Any:
        asked.extend(example.question_id for example in examples)
        if len(asked) == 4 and not (tmp_path / "cut" / "again").exists():
            raise KeyboardInterrupt
        return answer(self, examples)

    monkeypatch.setattr(System, "answer", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate_fvqa(**options, out=tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["predictions.partial.jsonl"]
    with pytest.raises(InputError, match=r"has no report.json, .* an evaluation stopped halfway: run kvqa evaluate ag"):
        read_run(tmp_path / "cut")
    asked.clear()
    (tmp_path / "cut" / "again").touch()
    said: list[str] = []
    report = evaluate_fvqa(**options, out=tmp_path / "cut", log=said.append)
    assert asked == ["4", "5", "6"] and said[1] == "2 of 5 questions were answered before; going on from there"
    assert not (tmp_path / "cut" / "predictions.partial.jsonl").exists()
    whole = evaluate_fvqa(**options, out=tmp_path / "whole")
    assert report["predictions_sha256"] == whole["predictions_sha256"]
    assert report["scores"] == whole["scores"]


def test_ablations_alter_the_evidence_and_nothing_else(
    whole: tuple[dict[str, Any], Path], done: tuple[dict[str, Any], Path]
) -> None:
    report, out = whole
    assert report["scores"] == done[0]["scores"] and report["intervals"] == done[0]["intervals"]
    assert list(report["ablations"]) == [*GOLD_ABLATIONS, *ABLATIONS]
    scores = {name: figures["scores"] for name, figures in report["ablations"].items()}
    # All eight facts are retrieved anyway, so adding the gold fact, which is there, changes nothing.
    assert scores["gold_added"] == {name: report["scores"][name] for name in scores["gold_added"]}
    # Alone it is the best fact, for the four of five questions whose gold fact the knowledge base holds.
    assert scores["gold_only"]["fact_top1"] == scores["gold_only"]["fact_top3"] == 80.0
    assert scores["no_fact"]["fact_top3"] == scores["random_fact"]["fact_top3"] == 0.0
    for record in predicted(out):
        # With no fact there are the names of seen things and the vocabulary: cat and dog.
        assert record["ablations"]["no_fact"]["answer"] in {"cat", "dog", "horse", "bird"}
        assert set(record["ablations"]) == set(report["ablations"])
    assert all(figures["about"] for figures in report["ablations"].values())


def test_the_calibration_counts_every_question(done: tuple[dict[str, Any], Path]) -> None:
    bins = done[0]["calibration"]
    assert sum(b["questions"] for b in bins) == 5 and (bins[0]["from"], bins[-1]["to"]) == (0, 100)


def test_a_model_trained_on_the_same_pictures_is_told(root: Path, kb: Path, small_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small_model, tmp_path / "model")
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    manifest["training"] = {"dataset": "fvqa", "experiment": {"split": "train0"}}
    (model / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    report = evaluate_fvqa(root=root, split="all", kb=kb, model=model, out=tmp_path / "out")
    overlap = report["overlap"]
    assert (overlap["trained_on"], overlap["checked"]) == ("fvqa train0", True)
    assert (overlap["questions"], overlap["images"], overlap["such_as"]) == (2, 2, ["a.jpg", "b.jpg"])
    assert overlap["remark"] == "The model was trained on fvqa train0, which has 2 of these 4 pictures."
    left = [record["scores"]["recall_10"] for record in predicted(tmp_path / "out")[2:]]
    assert overlap["scores_without"]["recall_10"] == pytest.approx(sum(left) / 5)


def test_a_knowledge_base_of_another_encoder_is_refused(
    root: Path, kb: Path, small_model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(kb, tmp_path / "kb")
    changed = 0
    for path in other.rglob("manifest.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "encoder_sha256" in content:
            path.write_text(json.dumps({**content, "encoder_sha256": "0" * 64}), encoding="utf-8")
            changed += 1
    assert changed
    with pytest.raises(KnowledgeError, match=r"was embedded with .* the\s+model expects weights"):
        evaluate_fvqa(root=root, split="test0", kb=other, model=small_model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("split", "message"),
    [("val", "no split 'val'; use one of: train0, "), ("test5", "no split 'test5'"), ("test3", "has no questions")],
)
def test_a_split_that_is_not_there_is_refused(
    root: Path, kb: Path, small_model: Path, tmp_path: Path, split: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_fvqa(root=root, split=split, kb=kb, model=small_model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- provenance ------------------------------------------------------------------------------------------------------


def test_commit_is_a_hash_or_nothing() -> None:
    assert re.fullmatch(r"([0-9a-f]{40,64})?", provenance.commit())


def test_outside_a_working_copy_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert provenance.commit() == ""


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert provenance.commit() == ""
