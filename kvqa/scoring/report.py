"""What scoring a prediction file gives: scores with their unit, the protocol that made them, and what did not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kvqa.errors import InputError
from kvqa.scoring.ids import IdReport
from retrieval.manifest import write_text_safely

Scores = Mapping[str, float | None]
"""Name to number, in the unit of the report; None where there is nothing to take a mean of."""


@dataclass(frozen=True)
class Report:
    """Scores of one prediction file.

    Attributes:
        dataset: Name of the data set.
        protocol: What made the numbers, one word of the allowed ones.
        about: The protocol in a sentence.
        unit: Unit of every score that is a share.
        scores: The figures.
        groups: Figures by group: group name to value to figure or figures.
        ids: What did not fit.
        per_question: Score of each question in [0, 1], in the order of the truth; empty where there is no one score.
        notes: Sentences the reader of the figures must know.
    """

    dataset: str
    protocol: str
    about: str
    unit: Literal["percent", "fraction"]
    scores: Scores
    ids: IdReport
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    per_question: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return one flat object: data set, protocol, unit, scores, groups, ids and notes."""
        return {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "unit": self.unit,
            **self.scores,
            **self.groups,
            "scored": self.ids.scored,
            "ids": self.ids.as_json(),
            "notes": list(self.notes),
        }


def write_per_question(reports: Sequence[Report], path: Path) -> None:
    """Write one JSON line a question: `question_id` and `score` in [0, 1]; beside the target, then renamed.

    Raises:
        InputError: if the file cannot be written.
    """
    lines = [
        json.dumps({"question_id": name, "score": score}, ensure_ascii=False) + "\n"
        for report in reports
        for name, score in report.per_question.items()
    ]
    try:
        write_text_safely(path, "".join(lines))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; check the folder and its permissions") from None


def percent(total: float, count: int) -> float:
    """Return 100 · total / count with two decimals, in the order of operations of the official VQA script."""
    return round(100 * float(total) / count, 2)
