"""Evaluation on OK-VQA: official VQA accuracy of answers from a knowledge base and labels of what is seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.evaluation.open_answers import Task, passage_scores, retrieved_answer, run_task
from kvqa.evaluation.records import CHUNK, Log, Record, read_run
from kvqa.evaluation.system import BATCH, Answered, System
from kvqa.scoring.okvqa_labels import FOUR_OR_MORE, TWO_OF_TEN, ten_answers
from kvqa.scoring.vqa_variants import PROTOCOLS
from retrieval.manifest import write_text_safely

PROTOCOL = (
    "OK-VQA, official VQA accuracy of 2021 over ten answers; open answers as the strongest alternative spells them;"
    " evidence from question and seen labels only"
)
OFFICIAL_FILE = "answers.json"
"""Answers in the official layout, which `kvqa score okvqa` reads."""
GROUPS = ("category", "question_word", "answer_in_facts", "answered_by")
GROUP_SCORES = ("overall", "best_of_3", "prr_strict_10")


def evaluate_okvqa(
    *,
    root: Path,
    split: str,
    kb: Path,
    model: Path,
    out: Path,
    ablations: bool = False,
    trained_root: Path | None = None,
    seed: int = 0,
    batch: int = BATCH,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Answer every question of `split`; write `predictions.jsonl`, `answers.json` and `report.json`, return the report.

    What is seen in a picture are the labels of `detections.json` (train) or `val_detections.json` (val). OK-VQA has no
    gold facts, so there is no oracle.

    Args:
        root: OK-VQA in its published layout, with annotations or soft labels.
        split: `train` or `val`.
        ablations, trained_root, seed, batch, chunk: As for `kvqa.evaluation.fvqa.evaluate_fvqa`.

    Raises:
        InputError, KnowledgeError: if data, model or knowledge base are not sound or do not fit together.
    """
    dataset = Dataset("okvqa", root)
    examples = dataset.examples(split)
    if not examples:
        raise InputError(f"split {split} of {root} has no questions; see docs/data-sets.md for the files of OK-VQA")
    given = {example.question_id: human_answers(example) for example in examples}
    task = Task(
        description=dataset.description,
        root=root,
        split=split,
        examples=examples,
        protocol=PROTOCOL,
        primary="overall",
        judge=lambda example, answers, facts: judge(given[example.question_id], answers),
        more_scores=lambda answered, row, passages, gold: _more_scores(answered, row, passages, given),
        gold=None,
        groups=_groups,
        group_scores=GROUP_SCORES,
        group_names=GROUPS,
        settings={"with_labels": sum(bool(example.regions.regions) for example in examples)},
        spelled=True,
    )
    system = System.open(model, kb, batch=batch)
    report = run_task(
        task, system, out, seed=seed, ablations=ablations, trained_root=trained_root, chunk=chunk, log=log
    )
    write_text_safely(out / OFFICIAL_FILE, json.dumps(official_answers(read_run(out)[1]), ensure_ascii=False) + "\n")
    return report


def official_answers(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the best answer to each question in the official layout."""
    best = ((record["question_id"], record["answers"]) for record in records)
    return [{"question_id": int(name), "answer": answers[0][0] if answers else ""} for name, answers in best]


def human_answers(example: Example) -> list[str]:
    """Return the ten answers, put together from soft labels where the data set gives no more.

    Raises:
        InputError: if no ten answers give these labels.
    """
    if example.human_answers:
        return list(example.human_answers)
    labels = {
        answer: FOUR_OR_MORE if score == 1 else TWO_OF_TEN
        for answer, score in zip(example.answers, example.answer_scores, strict=True)
    }
    try:
        return ten_answers(labels)
    except InputError as error:
        raise InputError(f"question {example.question_id}: {error}") from None


def judge(given: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Return the official accuracy, in percent, of the best answer, and of the best of the first three."""
    scores = [100 * PROTOCOLS["official"].score(answer, given) for answer in answers[:3]]
    return {"overall": scores[0] if scores else 0.0, "best_of_3": max(scores, default=0.0)}


def _more_scores(
    answered: Answered, row: int, passages: Sequence[str], given: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    example, prediction = answered.examples[row], answered.predictions[row]
    people = given[example.question_id]
    official = PROTOCOLS["official"].score
    return {
        "retrieval_only": 100 * official(retrieved_answer(prediction), people),
        "reachable": 100 * max((official(answer, people) for answer in prediction.item.answers), default=0.0),
        **passage_scores(passages, set(people)),
    }


def _groups(answered: Answered, row: int, gold: int, scores: Mapping[str, float]) -> dict[str, str]:
    example = answered.examples[row]
    hit = "hit: in the first ten" if scores["prr_strict_10"] else "missed"
    return {name: example.meta[name] for name in GROUPS if name in example.meta} | {"answer_in_facts": hit}
