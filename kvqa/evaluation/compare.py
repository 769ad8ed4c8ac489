"""Two runs, or the runs of several seeds, against each other: paired differences, and the questions that flipped."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.errors import InputError
from kvqa.evaluation.paired import is_right_or_wrong, mcnemar_exact, paired_interval
from kvqa.evaluation.records import Record, read_run

SAME = ("dataset", "split", "protocol", "primary")
"""What two runs must have in common to be compared."""
FIRST = 5
"""Ids of questions in one run only that are named."""
RIGHT = 50.0
"""Score in percent from which an answer counts as right where a question may be half right, or seeds disagree."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: As asked for.
        folders: The runs, one for each seed.
        reports: Their reports.
        records: Their records by question id.
    """

    name: str
    folders: tuple[Path, ...]
    reports: tuple[dict[str, Any], ...]
    records: tuple[Mapping[str, Record], ...]

    @classmethod
    def open(cls, name: str) -> Side:
        """Open a run, or all runs that match a pattern such as `runs/a-*/test0`.

        Raises:
            InputError: if there is none, one is no finished run, or they do not belong together.
        """
        matches = tuple(sorted(Path(found) for found in glob.glob(name))) if not Path(name).exists() else ()
        folders = matches or (Path(name),)
        runs = [read_run(folder) for folder in folders]
        side = cls(
            name,
            folders,
            tuple(report for report, _ in runs),
            tuple({record["question_id"]: record for record in records} for _, records in runs),
        )
        for folder, report, records in zip(folders[1:], side.reports[1:], side.records[1:], strict=True):
            _check_alike(f"{folders[0]}", side.reports[0], f"{folder}", report)
            if records.keys() != side.records[0].keys():
                raise InputError(
                    f"{folders[0]} and {folder} have different questions; seeds of one system have the same"
                )
        return side

    def score_names(self) -> list[str]:
        """Return the scores that every run has."""
        tables = [next(iter(records.values()))["scores"] for records in self.records]
        return [name for name in tables[0] if all(name in table for table in tables)]

    def values(self, name: str, questions: Sequence[str]) -> NDArray[np.float64]:
        """Return the score `name` (Q,) in percent, the mean over the runs."""
        return np.mean([[records[q]["scores"][name] for q in questions] for records in self.records], axis=0)

    def settings(self) -> dict[str, Any]:
        """Return what may differ between two runs that can be compared."""
        report = self.reports[0]
        settings = {
            "model": " ".join(sorted({r["model"]["weights_sha256"][:16] for r in self.reports})),
            "knowledge base": (report.get("kb") or {}).get("id", ""),
            "commit": " ".join(sorted({r["commit"] for r in self.reports})),
        }
        return settings | {name: report[name] for name in ("hide_test_gold", "hidden_facts") if name in report}


def compare(run_a: str, run_b: str, *, seed: int = 0) -> dict[str, Any]:
    """Return how run B differs from run A on the questions that both answered; differences are B minus A.

    Args:
        run_a, run_b: Folders that `kvqa evaluate` left, or patterns for the runs of several seeds, whose scores are
            averaged for each question.
        seed: Of the bootstrap.

    Returns:
        `dataset`, `split`, `protocol`, `primary`, `questions`, `images`; `a` and `b`: `name`, `runs`, `only` (questions
        that only this side has: `count`, `first`); `settings`: what differs, a pair each; `scores`: for each the two
        means, `difference`, `interval` (95 %, bootstrap over pictures), `mcnemar` (`only_a`, `only_b`, `p`; null where
        answers can be half right or are of several seeds), `seeds` (the means of each run); `flips`: `gained` and
        `lost`, records with `question_id`, `question`, `image`, `reference`, `gold_fact`, `a` and `b` (`answer`,
        `fact`, `score`).

    Raises:
        InputError: if a run cannot be read, or the two are of different data sets, splits or protocols.
    """
    a, b = Side.open(run_a), Side.open(run_b)
    _check_alike(run_a, a.reports[0], run_b, b.reports[0])
    questions = [question for question in a.records[0] if question in b.records[0]]
    if not questions:
        raise InputError(f"{run_a} and {run_b} have no question in common; evaluate both on the same files")
    images = [a.records[0][question]["image"] for question in questions]
    names = [name for name in a.score_names() if name in b.score_names()]
    settings_a, settings_b = a.settings(), b.settings()
    report = a.reports[0]
    return {
        **{name: report[name] for name in SAME},
        "questions": len(questions),
        "images": len(set(images)),
        "a": _side(a, questions),
        "b": _side(b, questions),
        "settings": {
            name: [settings_a[name], settings_b.get(name)]
            for name in settings_a
            if settings_a[name] != settings_b.get(name)
        },
        "seed": seed,
        "scores": {name: _difference(a, b, name, questions, images, seed) for name in names},
        "flips": _flips(a, b, report["primary"], questions),
    }


def _check_alike(name_a: str, a: Mapping[str, Any], name_b: str, b: Mapping[str, Any]) -> None:
    for key in SAME:
        if a[key] != b[key]:
            raise InputError(
                f"{name_a} has {key} {a[key]!r}, {name_b} has {b[key]!r}, so they cannot be compared;"
                f" give two runs of one {key}"
            )


def _side(side: Side, questions: Sequence[str]) -> dict[str, Any]:
    common = set(questions)
    only = [question for question in side.records[0] if question not in common]
    return {
        "name": side.name,
        "runs": [str(folder) for folder in side.folders],
        "only": {"count": len(only), "first": only[:FIRST]},
    }


def _difference(
    a: Side, b: Side, name: str, questions: Sequence[str], images: Sequence[str], seed: int
) -> dict[str, Any]:
    first, second = a.values(name, questions), b.values(name, questions)
    low, high = paired_interval(first, second, images, seed=seed)
    mcnemar = None
    if len(a.folders) == len(b.folders) == 1 and is_right_or_wrong(first) and is_right_or_wrong(second):
        only_a, only_b, p = mcnemar_exact(first > RIGHT, second > RIGHT)
        mcnemar = {"only_a": only_a, "only_b": only_b, "p": p}
    return {
        "a": round(float(first.mean()), 2),
        "b": round(float(second.mean()), 2),
        "difference": round(float((second - first).mean()), 2),
        "interval": [round(low, 2), round(high, 2)],
        "mcnemar": mcnemar,
        "seeds": {key: _of_each_run(side, name, questions) for key, side in (("a", a), ("b", b))},
    }


def _of_each_run(side: Side, name: str, questions: Sequence[str]) -> list[float]:
    return [
        round(float(np.mean([records[question]["scores"][name] for question in questions])), 2)
        for records in side.records
    ]


def _flips(a: Side, b: Side, primary: str, questions: Sequence[str]) -> dict[str, list[Record]]:
    """Return the questions that one side has right and the other wrong, by the primary score."""
    first, second = a.values(primary, questions) >= RIGHT, b.values(primary, questions) >= RIGHT
    rows = list(zip(questions, first, second, strict=True))
    return {
        "gained": [_flip(a, b, primary, question) for question, one, two in rows if two and not one],
        "lost": [_flip(a, b, primary, question) for question, one, two in rows if one and not two],
    }


def _flip(a: Side, b: Side, primary: str, question: str) -> Record:
    """Return what the first run of each side says to a question."""
    record = a.records[0][question]
    shared = {key: record.get(key) for key in ("question_id", "question", "image", "reference", "gold_fact")}
    return shared | {key: _said(side, primary, question) for key, side in (("a", a), ("b", b))}


def _said(side: Side, primary: str, question: str) -> Record:
    record = side.records[0][question]
    return {
        "answer": record["answers"][0][0] if record["answers"] else "",
        "fact": record["facts"][0] if record.get("facts") else None,
        "score": round(float(side.values(primary, [question])[0]), 2),
    }
