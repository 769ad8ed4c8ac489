"""Evaluation on FVQA: answers, facts and retrieval, with or without the facts that only FVQA provides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.data.datasets import describe
from kvqa.data.example import Example, Fact
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source, gold_fact_ids
from kvqa.errors import InputError
from kvqa.evaluation.open_answers import Task, passage_scores, retrieved_answer, run_task
from kvqa.evaluation.records import CHUNK, Log, Record, read_run
from kvqa.evaluation.system import BATCH, Answered, System
from kvqa.metrics import Prediction, fvqa_scores, normalise_answer
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import file_sha256
from retrieval.metrics import mean_reciprocal_rank

PROTOCOL = (
    "FVQA; reference answer of all_qs_dict_release_combine; exact match after lower case, article removal and lookup"
    " lemmas; fact by head, relation, tail; evidence from question and picture only"
)
GROUPS = (
    *("answer_source", "visual_concept", "kb_source", "relation", "seen_answer"),
    *("question_word", "hop", "gold_fact", "answered_by"),
)
GROUP_SCORES = ("answer_top1", "answer_top3", "fact_top1", "recall_100")
RECALLS = (1, 3, 10, 100, 500)
RECIPROCAL_DEPTH = 100


def evaluate_fvqa(
    *,
    root: Path,
    split: str,
    kb: Path,
    model: Path,
    out: Path,
    hide_test_gold: bool = False,
    ablations: bool = False,
    trained_root: Path | None = None,
    seed: int = 0,
    batch: int = BATCH,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Answer every question of `split`, write `predictions.jsonl` and `report.json` into `out`, return the report.

    Args:
        root: FVQA in its published layout.
        split: `test0` … `test4`, `train0` … `train4`, `all`, or a zero-shot split.
        hide_test_gold: Hide the facts that only FVQA itself provides and that no question of the training part
            uses: what is left is a knowledge base that anyone could have built.
        ablations: Answer with other evidence and without the picture as well; see `kvqa.evaluation.ablations`.
        trained_root: Folder of the data set that the model was trained on, if that is another one.
        seed: Of the bootstrap and of random facts.
        batch, chunk: Questions that go through the network together, and between two writes.

    Raises:
        InputError, KnowledgeError: if data, model or knowledge base are not sound or do not fit together.
    """
    fvqa = describe("fvqa")
    examples = list(fvqa.read(root, split))
    if not examples:
        raise InputError(f"split {split} of {root} has no questions; see docs/data-path.md for the layout of FVQA")
    system = System.open(model, kb, batch=batch)
    training = list(fvqa.read(root, split.replace("test", "train"))) if "test" in split else []
    allowed = _without_test_gold(system.kb, root, training) if hide_test_gold else None
    system = replace(system, retriever=replace(system.retriever, allowed=allowed))
    gold = gold_fact_ids(examples, system.kb)
    seen_answers = {normalise_answer(example.answers[0]) for example in training} if training else None
    task = Task(
        description=fvqa,
        root=root,
        split=split,
        examples=examples,
        protocol=PROTOCOL,
        primary="answer_top1",
        judge=judge,
        more_scores=_more_scores,
        gold=gold,
        groups=lambda answered, row, fact, scores: _groups(answered, row, fact, allowed, seen_answers),
        group_scores=GROUP_SCORES,
        group_names=GROUPS,
        settings={
            "hide_test_gold": hide_test_gold,
            "hidden_facts": 0 if allowed is None else int((~allowed).sum()),
            "gold_in_kb": round(100 * float((gold >= 0).mean()), 2),
        },
    )
    report = run_task(
        task, system, out, seed=seed, ablations=ablations, trained_root=trained_root, chunk=chunk, log=log
    )
    _check_against_official(report["scores"], read_run(out)[1], examples)
    return report


def _without_test_gold(kb: KnowledgeBase, root: Path, training: Sequence[Example]) -> NDArray[np.bool_]:
    file = fact_file(root)
    if file_sha256(file) not in {source.sha256 for source in kb.store.sources()}:
        raise InputError(
            f"no fact of {kb.folder} comes from {file}, so there is no test gold to hide;"
            " leave --hide-test-gold out, or build the knowledge base with that file"
        )
    return allowed_facts(training, kb, facts_of_source(kb, file))


def judge(example: Example, answers: Sequence[str], facts: Sequence[Fact]) -> dict[str, float]:
    """Return what answers and facts alone decide, 0 or 100 each."""
    reference = normalise_answer(example.answers[0])
    spellings = {normalise_answer(answer) for answer in example.answers}
    said = [normalise_answer(answer) for answer in answers[:3]]
    scores = {}
    for k in (1, 3):
        scores[f"answer_top{k}"] = 100.0 * (reference in said[:k])
        scores[f"fact_top{k}"] = 100.0 * bool(example.facts and example.facts[0] in facts[:k])
    scores["answer_top1_any_spelling"] = 100.0 * bool(spellings.intersection(said[:1]))
    return scores


def _more_scores(answered: Answered, row: int, passages: Sequence[str], gold: int) -> dict[str, float]:
    """Return what retrieval and the evidence decide, in percent."""
    example, prediction = answered.examples[row], answered.predictions[row]
    reference = normalise_answer(example.answers[0])
    ranked = answered.ranked[row]
    hit = (ranked == gold) & (gold >= 0)
    found = ranked[:RECIPROCAL_DEPTH]
    return {
        "retrieval_only_top1": 100.0 * (retrieved_answer(prediction) == reference),
        "answer_reachable": 100.0 * (reference in prediction.item.answers),
        "gold_in_evidence": 100.0 * (gold >= 0 and gold in prediction.item.evidence.fact_ids),
        **passage_scores(passages, set(example.answers)),
        **{f"recall_{k}": 100.0 * bool(hit[:k].any()) for k in RECALLS},
        "mrr": 100 * mean_reciprocal_rank([found[found >= 0].tolist()], [{gold}]),
    }


def _groups(
    answered: Answered, row: int, gold: int, allowed: NDArray[np.bool_] | None, seen_answers: set[str] | None
) -> dict[str, str]:
    example = answered.examples[row]
    groups = {name: example.meta[name] for name in GROUPS if name in example.meta}
    groups["hop"] = str(len(example.facts))
    groups["gold_fact"] = _where_gold_is(answered, row, gold, allowed)
    if seen_answers is not None:
        groups["seen_answer"] = "yes" if normalise_answer(example.answers[0]) in seen_answers else "no"
    return groups


def _where_gold_is(answered: Answered, row: int, gold: int, allowed: NDArray[np.bool_] | None) -> str:
    """Say whether retrieval hit or missed, and why it had to miss."""
    if gold < 0:
        return "not in the knowledge base"
    if allowed is not None and not allowed[gold]:
        return "hidden"
    if gold in answered.predictions[row].item.evidence.fact_ids:
        return "hit: in the evidence"
    return "missed"


def _check_against_official(
    scores: Mapping[str, float], records: Sequence[Record], examples: Sequence[Example]
) -> None:
    """The scores of each question and the metric functions are two ways to the same figures; they must agree."""
    predictions = [
        Prediction(r["question_id"], [answer for answer, _ in r["answers"]], [tuple(fact) for fact in r["facts"]])
        for r in records
    ]
    for name, value in fvqa_scores(predictions, examples).items():
        assert abs(scores[name] - value) < 0.01, (name, scores[name], value)
