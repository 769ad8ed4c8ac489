"""A small FVQA in the published layout: seven questions on four pictures.

Of its own facts (ids 0 to 5) training uses 0 and 1; 2 stands in another source too; nobody asks for 5.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kvqa import provenance
from kvqa.errors import InputError
from kvqa.evaluate import GROUPS, evaluate_fvqa
from kvqa.metrics import normalise_answer
from retrieval.builder import build_kb
from retrieval.knowledge_base import KnowledgeBase

FACTS = [
    ("Cup", "UsedFor", "drink_tea"),
    ("cat", "CapableOf", "catch_mice"),
    ("dog", "IsA", "animal"),
    ("Rose", "transnbhd", "Category:Garden_plants"),
    ("horse", "CapableOf", "pull_a_cart"),
    ("umbrella", "UsedFor", "rain"),
]
MISSING = ("bird", "CapableOf", "fly")
MORE = "head\trelation\ttail\nDog\tIsA\tanimal\nbanana\tHasColor\tyellow\nsnow\tHasProperty\tcold\n"
QUESTIONS = [
    # picture, question, answer, gold fact
    ("a.jpg", "What is this used for?", "drink tea", FACTS[0]),
    ("b.jpg", "Which animal can catch mice?", "cat", FACTS[1]),
    ("c.jpg", "What can the cat do?", "catch mice", FACTS[1]),
    ("c.jpg", "Which of these is an animal?", "dog", FACTS[2]),
    ("c.jpg", "Which is a garden plant?", "rose", FACTS[3]),
    ("c.jpg", "What can pull a cart?", "horse", FACTS[4]),
    ("d.jpg", "What can fly?", "bird", MISSING),
]
PICTURES = {"a.jpg": "cup", "b.jpg": "cat", "c.jpg": "horse", "d.jpg": "bird"}
LISTS = {n: (["a.jpg", "b.jpg"], ["c.jpg", "d.jpg"]) for n in range(3)}
LISTS |= {3: (["a.jpg"], ["nobody-asks.jpg"]), 4: (["a.jpg", "b.jpg", "c.jpg"], ["d.jpg"])}
SCORES = {
    *("answer_top1", "answer_top3", "fact_top1", "fact_top3", "mrr", "ece"),
    *("recall_1", "recall_3", "recall_10", "recall_100", "recall_500", "prr_5", "prr_10", "prr_strict_5"),
}


def write_fvqa(root: Path) -> None:
    combined, release = {}, {}
    for number, (image, question, answer, fact) in enumerate(QUESTIONS):
        record: dict[str, Any] = {"question_id": str(number), "question": question, "img_file": image}
        combined[str(number)] = {**record, "answer": answer, "fact": list(fact), "fact_surface": "", "kb_source": "cn"}
        source = "image" if number % 2 else "kb"
        release[str(number)] = {**record, "answer": f"{answer}s", "ans_source": source, "visual_concept": "obj"}
    (root / "all_qs_dict_release_combine.json").write_text(json.dumps(combined), encoding="utf-8")
    (root / "all_qs_dict_release.json").write_text(json.dumps(release), encoding="utf-8")
    with (root / "visual_concepts.jsonl").open("w", encoding="utf-8") as file:
        for image, label in PICTURES.items():
            empty = {name: [] for name in ("coco", "imagenet", "places", "hoi", "densecap")}
            detected = [[label, 0.9, 10.0, 20.0, 90.0, 80.0]]
            file.write(json.dumps({"image": image, "det": detected, **empty, "feat300": [0.5] * 300}) + "\n")
    (root / "Name_Lists").mkdir()
    for number, parts in LISTS.items():
        for part, images in zip(("train", "test"), parts, strict=True):
            (root / "Name_Lists" / f"{part}_list_{number}.txt").write_text("\n".join(images) + "\n", encoding="utf-8")
    rows = ["\t".join((*fact, "conceptnet", "")) for fact in FACTS]
    (root / "facts.tsv").write_text("\n".join(["head\trelation\ttail\tkb_source\tsurface", *rows]) + "\n", "utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fvqa")
    write_fvqa(folder)
    return folder


@pytest.fixture(scope="module")
def kb(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "more.tsv").write_text(MORE, encoding="utf-8")
    build_kb([root / "facts.tsv", folder / "more.tsv"], folder / "kb")
    return folder / "kb"


@pytest.fixture(scope="module")
def done(
    root: Path, kb: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """Report and folder of an evaluation on test0."""
    out = tmp_path_factory.mktemp("reports") / "deep" / "test0"
    return evaluate_fvqa(root=root, split="test0", kb=kb, model=small_model, out=out), out


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
    report = evaluate_fvqa(root=root, split="test0", kb=kb, model=small_model, out=tmp_path, hide_test_gold=True)
    assert (report["hide_test_gold"], report["hidden_facts"]) == (True, 3)
    left = {("cup", "UsedFor", "drink tea"), ("cat", "CapableOf", "catch mice"), ("dog", "IsA", "animal")}
    left |= {("banana", "HasColor", "yellow"), ("snow", "HasProperty", "cold")}
    for record in predicted(tmp_path):
        assert {tuple(fact) for fact in record["facts"]} == left
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
