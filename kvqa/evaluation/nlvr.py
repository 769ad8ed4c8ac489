"""Evaluation on NLVR: statements about drawings judged true or false, one by one and all drawings of a sentence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvqa.data.example import Example
from kvqa.data.nlvr import CLASSES, NLVR, read_nlvr
from kvqa.data.nlvr_scene import kind_of, scene_of
from kvqa.errors import InputError
from kvqa.evaluation.finish import finish_run
from kvqa.evaluation.overlap import TrainedOn
from kvqa.evaluation.records import Log, Record
from kvqa.evaluation.summary import Table
from kvqa.models.checkpoint import read_manifest
from kvqa.models.judge import load_statement_model, truths
from retrieval.manifest import write_text_safely

PROTOCOL = (
    "NLVR, structured form: one judgement for each record; consistency is the share of sentences whose drawings are all"
    " judged right"
)
OFFICIAL_FILE = "predictions.csv"
"""Judgements in the official layout, which `kvqa score nlvr` reads."""


def evaluate_nlvr(
    *, root: Path, split: str, model: Path, out: Path, seed: int = 0, log: Log = lambda line: None
) -> dict[str, Any]:
    """Judge every statement of `split`; write `predictions.jsonl`, `predictions.csv` and `report.json`.

    Returns:
        The report. A thousand statements take seconds, so a run that is stopped begins anew.

    Raises:
        InputError: if data or model are not sound.
    """
    start = time.perf_counter()
    if split not in (names := [part.name for part in NLVR.splits]):
        raise InputError(f"NLVR has no split {split!r}; allowed: {', '.join(names)}")
    examples = list(read_nlvr(root, split))
    if not examples:
        raise InputError(f"split {split} of {root} has no statements; see docs/data-sets.md for the files of NLVR")
    manifest = read_manifest(model)
    judge, picture = load_statement_model(model)
    log(f"{len(examples)} statements")
    found = truths(judge, examples, picture=picture).tolist()
    records = [_record(example, truth) for example, truth in zip(examples, found, strict=True)]
    report = finish_run(
        out,
        records,
        about={"primary": "accuracy", "protocol": PROTOCOL, "dataset": "nlvr", "split": split, "picture": picture},
        group_scores=("accuracy",),
        groups=("drawing", "label"),
        overlap=TrainedOn.of(manifest.training).overlap(NLVR, root, examples),
        model=manifest,
        kb=None,
        seed=seed,
        start=start,
        together=lambda records, ablation: sentences_right(examples, records),
    )
    write_text_safely(out / OFFICIAL_FILE, official_lines(examples, found))
    return report


def official_lines(examples: Sequence[Example], truth: Sequence[float]) -> str:
    """Return `identifier,true` or `identifier,false` for each example, by the probabilities that they are true."""
    return "".join(f"{one.question_id},{CLASSES[share > 0.5]}\n" for one, share in zip(examples, truth, strict=True))


def sentences_right(examples: Sequence[Example], records: Sequence[Record]) -> tuple[Table, list[str]]:
    """Return for each sentence, in percent, whether every drawing of it is judged right, and the sentences' names."""
    right: dict[str, bool] = {}
    for example, record in zip(examples, records, strict=True):
        name = example.meta["group"]
        right[name] = right.get(name, True) and record["right"] == 1
    return {"consistency": 100 * np.array(list(right.values()), dtype=np.float64)}, list(right)


def _record(example: Example, truth: float) -> Record:
    said = int(truth > 0.5)
    right = float(said == example.label)
    shares = {CLASSES[0]: 1 - truth, CLASSES[1]: truth}
    best, other = CLASSES[said], CLASSES[1 - said]
    return {
        "question_id": example.question_id,
        "question": example.question,
        "image": example.image,
        "answers": [[answer, round(shares[answer], 4)] for answer in (best, other)],
        "reference": example.answers[0],
        "confidence": shares[best],
        "right": right,
        "scores": {"accuracy": 100 * right},
        "groups": {"drawing": kind_of(scene_of(example)), "label": example.answers[0]},
    }
