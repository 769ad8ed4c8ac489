"""Evaluation of a data set of open questions: what FVQA and OK-VQA share."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.answering import spoken
from kvqa.data.example import Example, Fact
from kvqa.data.published import Description
from kvqa.evaluation.ablations import ablate
from kvqa.evaluation.finish import finish_run
from kvqa.evaluation.overlap import TrainedOn
from kvqa.evaluation.records import CHUNK, Log, Record, collect
from kvqa.evaluation.system import Answered, System
from kvqa.models.predict import Prediction
from kvqa.provenance import commit
from retrieval.metrics import prr_at_k, prr_strict_at_k

TOP = 10
"""Answers and facts of a question that are written down."""

Judge = Callable[[Example, Sequence[str], Sequence[Fact]], dict[str, float]]
"""A question, its answers and its facts, best first, to scores in percent."""


@dataclass(frozen=True)
class Task:
    """A split of a data set and how its answers are judged.

    Attributes:
        description: The data set.
        root, split: Where it lies and which part of it is asked.
        examples: The questions.
        protocol: What makes the scores comparable, in a sentence.
        primary: The score that counts first.
        judge: The scores that depend on answers and facts alone; ablations are judged by it too.
        more_scores: Further scores of a row of `Answered`; takes its passages besides.
        gold: (E,) fact ids, -1 where the knowledge base lacks the fact; None for a data set without gold facts.
        groups: The values of a row's groupings, besides those that every data set has; takes its scores besides.
        group_scores, group_names: Which scores are given by which groupings, in the order of the report.
        settings: What else the predictions depend on; goes into the report.
        spelled: Whether answers are judged as facts, names and vocabulary spell them; False is normalised.
    """

    description: Description
    root: Path
    split: str
    examples: Sequence[Example]
    protocol: str
    primary: str
    judge: Judge
    more_scores: Callable[[Answered, int, Sequence[str], int], dict[str, float]]
    gold: NDArray[np.int64] | None
    groups: Callable[[Answered, int, int, Mapping[str, float]], dict[str, str]]
    group_scores: tuple[str, ...]
    group_names: tuple[str, ...]
    settings: Mapping[str, Any]
    spelled: bool = False


def run_task(
    task: Task,
    system: System,
    out: Path,
    *,
    seed: int,
    ablations: bool = False,
    trained_root: Path | None = None,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Answer every question of `task`, write `predictions.jsonl` and `report.json` into `out`, return the report."""
    start = time.perf_counter()
    examples = task.examples
    overlap = TrainedOn.of(system.manifest.training).overlap(task.description, task.root, examples, trained_root)
    log(f"{len(examples)} questions, {system.kb.manifest.facts} facts")
    records = collect(
        out,
        _identity(task, system, seed, ablations),
        len(examples),
        lambda rows: _records(task, system, rows, seed, ablations),
        chunk=chunk,
        log=log if len(examples) > chunk else lambda line: None,
    )
    return finish_run(
        out,
        records,
        about={
            "primary": task.primary,
            "protocol": task.protocol,
            "dataset": task.description.name,
            "split": task.split,
            **task.settings,
        },
        group_scores=task.group_scores,
        groups=task.group_names,
        overlap=overlap,
        model=system.manifest,
        kb=system.kb.manifest,
        seed=seed,
        start=start,
    )


def _identity(task: Task, system: System, seed: int, ablations: bool) -> dict[str, Any]:
    """Return what the predictions depend on. Not the batch: no figure depends on it."""
    allowed = system.retriever.allowed
    questions = "\n".join(f"{e.question_id}\t{e.question}\t{e.image}\t{e.answers}" for e in task.examples)
    return {
        "dataset": task.description.name,
        "split": task.split,
        "protocol": task.protocol,
        "asked": hashlib.sha256(questions.encode()).hexdigest(),
        "weights": system.manifest.weights_sha256,
        "kb": system.kb.manifest.id,
        "retriever": [system.retriever.dense, system.retriever.linked, system.retriever.likely],
        "allowed": "" if allowed is None else hashlib.sha256(np.packbits(allowed).tobytes()).hexdigest(),
        "ablations": seed if ablations else None,
        "commit": commit(),
    }


def _records(task: Task, system: System, rows: slice, seed: int, ablations: bool) -> list[Record]:
    """Answer some of the questions."""
    answered = system.answer(task.examples[rows])
    gold = None if task.gold is None else task.gold[rows]
    passages = system.passages(answered.ranked[:, :TOP])
    altered = ablate(system, answered, gold, seed=seed) if ablations else {}
    records = []
    for i, example in enumerate(answered.examples):
        fact = -1 if gold is None else int(gold[i])
        record = _record(task, system, answered, i, passages[i], fact)
        if ablations:
            record["ablations"] = {
                name: _ablation(task, system, example, predictions[i]) for name, predictions in altered.items()
            }
        records.append(record)
    return records


def _record(task: Task, system: System, answered: Answered, row: int, passages: list[str], gold: int) -> Record:
    example, prediction = answered.examples[row], answered.predictions[row]
    answers, facts = _top(task, system, prediction)
    scores = task.judge(example, answers, facts) | task.more_scores(answered, row, passages, gold)
    general = {"question_word": question_word(example.question), "answered_by": answered_by(prediction)}
    return {
        "question_id": example.question_id,
        "question": example.question,
        "image": example.image,
        "answers": [[a, round(share, 4)] for a, (_, share) in zip(answers, prediction.answers, strict=False)],
        "facts": [list(fact) for fact in facts],
        "reference": example.answers[0],
        "gold_fact": list(example.facts[0]) if example.facts else None,
        "confidence": prediction.answers[0][1] if prediction.answers else 0.0,
        "right": scores[task.primary] / 100,
        "scores": scores,
        "groups": task.groups(answered, row, gold, scores) | general,
    }


def _ablation(task: Task, system: System, example: Example, prediction: Prediction) -> Record:
    answers, facts = _top(task, system, prediction)
    return {"answer": answers[0] if answers else "", "scores": task.judge(example, answers, facts)}


def _top(task: Task, system: System, prediction: Prediction) -> tuple[list[str], list[Fact]]:
    answers = [answer for answer, _ in prediction.answers[:TOP]]
    if task.spelled:
        answers = [spoken(answer, prediction, system.texts) for answer in answers]
    return answers, [system.fact_key(int(i)) for i in prediction.ranked_facts()[:TOP]]


# --- what every data set of open questions is scored and grouped by --------------------------------------------------


def passage_scores(passages: Sequence[str], accepted: set[str]) -> dict[str, float]:
    """Return in percent whether an accepted answer stands in one of the first passages; see `retrieval.metrics`."""
    scores = {}
    for k in (5, 10):
        scores[f"prr_{k}"] = 100 * prr_at_k([passages], [accepted], k)
        scores[f"prr_strict_{k}"] = 100 * prr_strict_at_k([passages], [accepted], k)
    return scores


def retrieved_answer(prediction: Prediction) -> str:
    """Return what one would answer without a reasoner: the side that the encoder expects of the nearest fact."""
    item = prediction.item
    if not len(item.evidence):
        return ""
    nearest, side = int(item.evidence.scores.argmax()), int(item.side.argmax())
    return item.answers[item.groups[nearest + side * len(item.evidence)]]


def answered_by(prediction: Prediction) -> str:
    """Return what most of the best answer's mass rests on: a fact, a seen name, or the closed vocabulary."""
    if not prediction.answers:
        return "nothing"
    item = prediction.item
    row = item.answers.index(prediction.answers[0][0])
    mass = prediction.alternatives * (item.groups[: len(prediction.alternatives)] == row)
    facts, names = 2 * len(item.evidence), len(item.labels)
    parts = {"fact": mass[:facts], "seen name": mass[facts : facts + names], "vocabulary": mass[facts + names :]}
    return max(parts, key=lambda name: float(parts[name].sum()))


_WORDS = re.compile(r"how many|how much|what|which|where|who(?:m|se)?|why|when|how")
_YES_NO = re.compile(r"(?:is|are|was|were|do|does|did|can|could|will|would|has|have|should)\b")


def question_word(question: str) -> str:
    """Return the word that asks, wherever it stands: `what`, `how many`, …, `yes or no`, or `other`."""
    text = " ".join(question.lower().split())
    if _YES_NO.match(text):
        return "yes or no"
    found = re.search(rf"\b(?:{_WORDS.pattern})\b", text)
    word = found[0] if found else "other"
    return "who" if word.startswith("who") else word
