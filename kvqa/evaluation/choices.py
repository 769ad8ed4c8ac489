"""Evaluation of choices with facts: answers and reasons of VCR and FVQA-R."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kvqa.data.choice_facts import Knowledge
from kvqa.data.choices import ChoiceCollator, Inputs, answer_item, rationale_item
from kvqa.data.example import Example
from kvqa.data.gold import UNKNOWN, gold_fact_ids
from kvqa.errors import InputError
from kvqa.evaluation.asked import NOT_RETRAINED, Asked, check_trained_for, open_split, record_of, run_asked
from kvqa.evaluation.records import CHUNK, Log, Record
from kvqa.models.checkpoint import read_manifest
from kvqa.models.choose import choice_scores, load_scorer, submission_scores, submission_text
from kvqa.models.task_heads import ChoiceScorer
from kvqa.models.text import TextFolder
from kvqa.models.vectors import text_vectors
from kvqa.scoring.vcr import CHOICES, first_highest
from retrieval.knowledge_base import KnowledgeBase

FILE = "submission.csv"
"""VCR's submission file, which `kvqa score vcr` reads."""
AWARE = "the reason is chosen given the right answer; facts retrieved for each choice, so answer-aware"
PROTOCOLS = {
    "vcr": f"VCR, official Q→A, QA→R and Q→AR; {AWARE}",
    "fvqa_r": f"FVQA-R, Q→A, QA→R and Q→AR as VCR has them; {AWARE}",
}
"""Data set to what makes its scores comparable."""
SCORES = ("q_ar", "q_a", "qa_r")

ABLATIONS: Mapping[str, tuple[str, dict[str, bool]]] = {
    "no_knowledge": (f"no facts; {NOT_RETRAINED}", {"knowledge": False}),
    "no_image": (f"nothing of the picture, facts as retrieved without it; {NOT_RETRAINED}", {"image": False}),
    "question_only": (f"neither picture nor facts; {NOT_RETRAINED}", {"image": False, "knowledge": False}),
    "choice_only": (
        f"neither question (nor given answer), picture nor facts: the offered texts alone; {NOT_RETRAINED}",
        {"question": False, "image": False, "knowledge": False},
    ),
}
"""Name to what it takes away, and the inputs that it switches off."""


def evaluate_choices(
    name: str,
    *,
    root: Path,
    split: str,
    model: Path,
    out: Path,
    kb: Path | None = None,
    regions: Path | None = None,
    vectors: Path | None = None,
    ablations: bool = False,
    trained_root: Path | None = None,
    seed: int = 0,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Choose every answer and reason of a split; write predictions, the submission and the report; return the report.

    The submission has the scores of reasons under each of the four answers, as the leaderboard wants them.

    Args:
        name: A key of `PROTOCOLS`.
        root: The data set in its published layout.
        model: Folder that `kvqa train` left.
        kb: Knowledge base; needed if the model reads facts.
        regions: Folder of region files in place of those that the data set brings.
        vectors: Folder that keeps sentence vectors between runs.
        ablations: Choose again with inputs taken away, see `ABLATIONS`.
        trained_root: Folder of the training's data set, if it is not `root`.
        seed: Of the bootstrap.
        chunk: Questions between two writes.

    Raises:
        InputError, KnowledgeError: if data, model or knowledge base are not sound or do not fit together.
    """
    manifest = read_manifest(model)
    check_trained_for(name, model, manifest)
    scorer, inputs, text = load_scorer(model)
    description, examples = open_split(name, root, split, regions)
    base = _open_kb(kb, inputs, text, model)
    knowledge = None if base is None else Knowledge(base)
    collator = ChoiceCollator(text_vectors(vectors, text=text), inputs, knowledge, scorer.config.feature_width)
    altered = _altered(collator) if ablations else {}
    asked = Asked(
        description=description,
        root=root,
        split=split,
        examples=examples,
        manifest=manifest,
        protocol=PROTOCOLS[name],
        primary="q_ar",
        groups=("relation", "gold_fact"),
        group_scores=SCORES,
        file=FILE,
        official=lambda records: submission_text((r["question_id"], r["submission"]) for r in records),
        ablations={key: ABLATIONS[key][0] for key in altered},
        settings={"task": "choice", "knowledge": base is not None},
    )
    choosing = _Choosing(scorer, collator, altered, base)
    return run_asked(
        asked, out, lambda rows: choosing.records(examples[rows]), kb=None if base is None else base.manifest,
        seed=seed, trained_root=trained_root, chunk=chunk, log=log,
    )  # fmt: skip


def _open_kb(kb: Path | None, inputs: Inputs, text: str, model: Path) -> KnowledgeBase | None:
    """Return the knowledge base of a model that reads facts.

    Raises:
        InputError, KnowledgeError: if it is missing, not sound, or given to a model that reads none.
    """
    if inputs.knowledge and kb is None:
        raise InputError(f"{model} chooses with facts of a knowledge base; name its folder: --kb FOLDER")
    if kb is not None and not inputs.knowledge:
        raise InputError(f"{model} was trained without knowledge and reads no facts; leave --kb out")
    return None if kb is None else KnowledgeBase.open(kb, encoder_sha256=TextFolder.find(text).sha256)


def _altered(collator: ChoiceCollator) -> dict[str, ChoiceCollator]:
    """Return by ablation the collator without some inputs; those that take away nothing more are left out."""
    out: dict[str, ChoiceCollator] = {}
    known = [collator.inputs]
    for name, (_, off) in ABLATIONS.items():
        inputs = replace(collator.inputs, **off)
        if inputs not in known:
            known.append(inputs)
            out[name] = replace(collator, inputs=inputs)
    return out


@dataclass(frozen=True)
class _Choosing:
    """The scorer with what it reads, and what it reads in each ablation."""

    scorer: ChoiceScorer
    collator: ChoiceCollator
    altered: Mapping[str, ChoiceCollator]
    kb: KnowledgeBase | None

    def records(self, examples: Sequence[Example]) -> list[Record]:
        table = submission_scores(self.scorer, examples, self.collator).tolist()  # (N, 20)
        gold = None if self.kb is None else gold_fact_ids(examples, self.kb)
        records = []
        for row, example in enumerate(examples):
            written = [float(f"{value:.6g}") for value in table[row]]  # judged as the file has them
            groups = {} if not example.facts else {"relation": example.facts[0][1]}
            if gold is not None and example.facts:
                there = "in the knowledge base" if gold[row] != UNKNOWN else "not in the knowledge base"
                groups["gold_fact"] = there
            records.append(_record(example, written, groups))
        labelled = [row for row, record in enumerate(records) if record["scores"]]
        for name, collator in self.altered.items() if labelled else ():
            for row, found in zip(labelled, self._without([examples[row] for row in labelled], collator), strict=True):
                records[row].setdefault("ablations", {})[name] = found
        return records

    def _without(self, examples: Sequence[Example], collator: ChoiceCollator) -> list[Record]:
        """Return what is chosen with other inputs: the answer, and the reason given the right answer."""
        answers = choice_scores(self.scorer, [answer_item(e) for e in examples], collator).tolist()
        reasons = choice_scores(self.scorer, [rationale_item(e) for e in examples], collator).tolist()
        return [
            {"answer": example.choices[first_highest(said)], "scores": judge(example, said, why)}
            for example, said, why in zip(examples, answers, reasons, strict=True)
        ]


def judge(example: Example, answers: Sequence[float], reasons: Sequence[float]) -> dict[str, float]:
    """Return Q→AR, Q→A and QA→R of an item, 0 or 100 each, from scores of answers and of reasons."""
    answer, reason = (first_highest(answers) == example.label, first_highest(reasons) == example.rationale_label)
    return {"q_ar": 100.0 * (answer and reason), "q_a": 100.0 * answer, "qa_r": 100.0 * reason}


def _record(example: Example, scores: Sequence[float], groups: Mapping[str, str]) -> Record:
    """Return the record of an item from its 20 scores; reasons in it are those given the right answer."""
    answers = scores[:CHOICES]
    ranked = _ranked(example.choices, answers)
    if example.label is None or example.rationale_label is None:
        return record_of(example, ranked, {}, primary="q_ar", groups=groups, submission=list(scores))
    start = CHOICES * (1 + example.label)
    reasons = scores[start : start + CHOICES]
    why = _ranked(example.rationale_choices, reasons)
    return record_of(
        example,
        ranked,
        judge(example, answers, reasons),
        primary="q_ar",
        groups=groups,
        confidence=ranked[0][1] * why[0][1],
        reasons=[[text, round(share, 4)] for text, share in why],
        reference_reason=example.rationale_choices[example.rationale_label],
        submission=list(scores),
    )


def _ranked(texts: Sequence[str], shares: Sequence[float]) -> list[tuple[str, float]]:
    """Return texts with their probabilities, best first, the first of several equals first."""
    order = sorted(range(len(texts)), key=lambda place: -shares[place])
    return [(texts[place], shares[place]) for place in order]
