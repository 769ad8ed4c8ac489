"""Evaluation on FVQA of a model with a knowledge base: predictions, scores by group, intervals, provenance."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source, gold_fact_ids
from kvqa.errors import InputError
from kvqa.metrics import (
    Prediction,
    bootstrap_interval,
    expected_calibration_error,
    fvqa_scores,
    normalise_answer,
)
from kvqa.models.checkpoint import load_model, read_manifest
from kvqa.models.predict import Prediction as Reasoned
from kvqa.models.predict import asked_words, graph_items, predict
from kvqa.provenance import commit
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import file_sha256, write_text_safely
from retrieval.metrics import mean_reciprocal_rank, prr_at_k, prr_strict_at_k
from retrieval.retriever import Retriever

DEPTH = 500
"""Retrieved facts that are looked at for recall."""

PROTOCOL = (
    "FVQA; reference answer of all_qs_dict_release_combine; exact match after lower case, article removal and lookup"
    " lemmas; fact by head, relation, tail; evidence from question and picture only"
)
GROUPS = ("answer_source", "visual_concept", "kb_source", "relation", "seen_answer")
GROUP_SCORES = ("answer_top1", "answer_top3", "fact_top1", "recall_100")


def evaluate_fvqa(
    *,
    root: Path,
    split: str,
    kb: Path,
    model: Path,
    out: Path,
    hide_test_gold: bool = False,
    seed: int = 0,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Answer every question of `split`, write `predictions.jsonl` and `report.json` into `out`, return the report.

    Args:
        root: FVQA in its published layout.
        split: `test0` … `test4`, `train0` … `train4` or `all`.
        hide_test_gold: Hide the facts that only FVQA itself provides and that no question of the training part
            uses: what is left is a knowledge base that anyone could have built.
        seed: Of the bootstrap.

    Raises:
        InputError, KnowledgeError: if data, model or knowledge base are not sound or do not fit together.
    """
    start = time.perf_counter()
    dataset = FvqaDataset(root)
    examples = dataset.examples(split)
    if not examples:
        raise InputError(f"split {split} of {root} has no questions; see docs/data-path.md for the layout of FVQA")
    network = load_model(model)
    base = KnowledgeBase.open(kb, encoder_sha256=network.text.sha256)
    training = dataset.examples(split.replace("test", "train")) if split.startswith("test") else []
    allowed = _without_test_gold(base, root, training) if hide_test_gold else None
    retriever = Retriever(base, allowed=allowed, **_retriever_settings(model))
    log(f"{len(examples)} questions, {base.manifest.facts} facts")

    views = network.views(examples)
    words = [asked_words(network.seen(example)) for example in examples]
    ranked = retriever.rank(np.stack([view.fact for view in views]), DEPTH, words)
    texts = dict(enumerate(base.store.entity_texts()))
    reasoned = predict(network, graph_items(network, examples, views, retriever, texts), base)
    seen_answers = {normalise_answer(e.answers[0]) for e in training}
    groups = [_groups(example, seen_answers if training else None) for example in examples]

    names = _FactNames(base)
    predictions = [_prediction(e, r, names) for e, r in zip(examples, reasoned, strict=True)]
    gold = gold_fact_ids(examples, base)
    tables = _per_question(examples, predictions, reasoned, ranked, gold, base)
    report: dict[str, Any] = {
        "scores": {**_means(tables), **_calibration(reasoned, examples)},
        "intervals": _intervals(tables, [e.image for e in examples], seed),
        "by": _by_group(tables, groups),
        "protocol": PROTOCOL,
        "dataset": "fvqa",
        "split": split,
        "questions": len(examples),
        "images": len({e.image for e in examples}),
        "hide_test_gold": hide_test_gold,
        "hidden_facts": 0 if allowed is None else int((~allowed).sum()),
        "gold_in_kb": round(100 * float((gold >= 0).mean()), 2),
        "seed": seed,
        "model": asdict(read_manifest(model)),
        "kb": {**asdict(base.manifest), "id": base.manifest.id},
        "commit": commit(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    _check_against_official(report["scores"], predictions, examples)
    out.mkdir(parents=True, exist_ok=True)
    lines = (_line(e, p, r) for e, p, r in zip(examples, predictions, reasoned, strict=True))
    write_text_safely(out / "predictions.jsonl", "".join(lines))
    write_text_safely(out / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report


def _without_test_gold(kb: KnowledgeBase, root: Path, training: Sequence[Example]) -> NDArray[np.bool_]:
    file = fact_file(root)
    if file_sha256(file) not in {source.sha256 for source in kb.store.sources()}:
        raise InputError(
            f"no fact of {kb.folder} comes from {file}, so there is no test gold to hide;"
            " leave --hide-test-gold out, or build the knowledge base with that file"
        )
    return allowed_facts(training, kb, facts_of_source(kb, file))


def _retriever_settings(model: Path) -> dict[str, int]:
    settings = read_manifest(model).training.get("experiment", {}).get("retriever", {})
    return {name: int(settings[name]) for name in ("dense", "linked", "likely") if name in settings}


class _FactNames:
    """Keys and sentences of facts, by id."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self.triples = np.asarray(kb.triples)
        self.keys = kb.store.entity_keys()
        self.relations = kb.store.relation_names()

    def key(self, fact_id: int) -> tuple[str, str, str]:
        head, relation, tail = self.triples[fact_id]
        return self.keys[head], self.relations[relation], self.keys[tail]


def _prediction(example: Example, reasoned: Reasoned, names: _FactNames) -> Prediction:
    answers = [answer for answer, _ in reasoned.answers[:10]]
    return Prediction(example.question_id, answers, [names.key(int(i)) for i in reasoned.ranked_facts()[:10]])


def _per_question(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    reasoned: Sequence[Reasoned],
    ranked: NDArray[np.int64],
    gold: NDArray[np.int64],
    kb: KnowledgeBase,
) -> dict[str, NDArray[np.float64]]:
    """Return, by score name, one value (E,) in percent for each question."""
    hits = (ranked == gold[:, None]) & (gold[:, None] >= 0)
    reference = [{normalise_answer(e.answers[0])} for e in examples]
    spellings = [{normalise_answer(a) for a in e.answers} for e in examples]
    answers = [[normalise_answer(a) for a in p.answers[:3]] for p in predictions]
    tables: dict[str, list[float]] = defaultdict(list)
    passages = _passages(ranked[:, :10], kb)
    for i, example in enumerate(examples):
        for k in (1, 3):
            tables[f"answer_top{k}"].append(bool(set(answers[i][:k]) & reference[i]))
            tables[f"fact_top{k}"].append(example.facts[0] in predictions[i].facts[:k] if example.facts else 0.0)
        tables["answer_top1_any_spelling"].append(bool(set(answers[i][:1]) & spellings[i]))
        tables["retrieval_only_top1"].append(_retrieved_answer(reasoned[i]) in reference[i])
        tables["answer_reachable"].append(bool(reference[i] & set(reasoned[i].item.answers)))
        tables["gold_in_evidence"].append(gold[i] >= 0 and gold[i] in reasoned[i].item.evidence.fact_ids)
        for k in (5, 10):
            tables[f"prr_{k}"].append(prr_at_k([passages[i]], [set(example.answers)], k))
            tables[f"prr_strict_{k}"].append(prr_strict_at_k([passages[i]], [set(example.answers)], k))
    for k in (1, 3, 10, 100, 500):
        tables[f"recall_{k}"] = hits[:, :k].any(1).tolist()
    tables["mrr"] = [
        mean_reciprocal_rank([row[row >= 0].tolist()], [{int(g)}]) for row, g in zip(ranked[:, :100], gold, strict=True)
    ]
    return {name: 100 * np.array(values, dtype=np.float64) for name, values in tables.items()}


def _retrieved_answer(reasoned: Reasoned) -> str:
    """Return what one would answer without a reasoner: the side that the encoder expects of the nearest fact."""
    evidence = reasoned.item.evidence
    if not len(evidence):
        return ""
    nearest, side = int(evidence.scores.argmax()), int(reasoned.item.side.argmax())
    return reasoned.item.answers[reasoned.item.groups[nearest + side * len(evidence)]]


def _passages(ranked: NDArray[np.int64], kb: KnowledgeBase) -> list[list[str]]:
    wanted = sorted({int(i) for i in ranked.ravel() if i >= 0})
    texts = {fact.id: fact.text for fact in kb.store.facts(wanted)}
    return [[texts[int(i)] for i in row if i >= 0] for row in ranked]


def _means(tables: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: round(float(values.mean()), 2) for name, values in tables.items()}


def _calibration(reasoned: Sequence[Reasoned], examples: Sequence[Example]) -> dict[str, float]:
    sure = [r.answers[0][1] if r.answers else 0.0 for r in reasoned]
    right = [
        bool(r.answers) and normalise_answer(r.answers[0][0]) == normalise_answer(e.answers[0])
        for r, e in zip(reasoned, examples, strict=True)
    ]
    return {"ece": round(100 * expected_calibration_error(np.clip(sure, 0, 1), right), 2)}


def _intervals(tables: Mapping[str, NDArray[np.float64]], images: Sequence[str], seed: int) -> dict[str, list[float]]:
    intervals = {}
    for name in ("answer_top1", "answer_top3", "fact_top1", "fact_top3", "recall_100"):
        low, high = bootstrap_interval(tables[name], images, seed=seed)
        intervals[name] = [round(low, 2), round(high, 2)]
    return intervals


def _groups(example: Example, seen_answers: set[str] | None) -> dict[str, str]:
    groups = {name: example.meta[name] for name in GROUPS if name in example.meta}
    if seen_answers is not None:
        groups["seen_answer"] = "yes" if normalise_answer(example.answers[0]) in seen_answers else "no"
    return groups


def _by_group(
    tables: Mapping[str, NDArray[np.float64]], groups: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, dict[str, float]]]:
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name in GROUPS:
        rows: dict[str, list[int]] = defaultdict(list)
        for i, group in enumerate(groups):
            if name in group:
                rows[group[name]].append(i)
        out[name] = {
            value: {"questions": len(which)}
            | {score: round(float(tables[score][which].mean()), 2) for score in GROUP_SCORES}
            for value, which in sorted(rows.items(), key=lambda item: -len(item[1]))
        }
    return out


def _check_against_official(
    scores: Mapping[str, float], predictions: Sequence[Prediction], examples: Sequence[Example]
) -> None:
    """The per-question table and the metric functions are two ways to the same figures; they must agree."""
    for name, value in fvqa_scores(predictions, examples).items():
        assert abs(scores[name] - value) < 0.01, (name, scores[name], value)


def _line(example: Example, prediction: Prediction, reasoned: Reasoned) -> str:
    record = {
        "question_id": example.question_id,
        "question": example.question,
        "image": example.image,
        "answers": [[answer, round(share, 4)] for answer, share in reasoned.answers[:10]],
        "facts": [list(fact) for fact in prediction.facts],
        "reference": example.answers[0],
        "gold_fact": list(example.facts[0]) if example.facts else None,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
