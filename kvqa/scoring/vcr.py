"""VCR: answer, rationale given the right answer, and both (Zellers et al. 2019, arXiv 1811.10830; rowanz/r2c)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import by_id, field, read_csv, read_records
from kvqa.scoring.ids import Handling, choose, join
from kvqa.scoring.report import Report

CHOICES = 4
ANSWER_COLUMNS = tuple(f"answer_{choice}" for choice in range(CHOICES))
RATIONALE_COLUMNS = tuple(
    tuple(f"rationale_conditioned_on_a{answer}_{choice}" for choice in range(CHOICES)) for answer in range(CHOICES)
)
COLUMNS = ("annot_id", *ANSWER_COLUMNS, *(column for columns in RATIONALE_COLUMNS for column in columns))
"""The columns of the submission file, in its order."""


def score_vcr(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "official",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return Q→A, QA→R and Q→AR as fractions.

    The choice is the first of the highest scores. The rationale is chosen under the condition of the right answer;
    Q→AR counts items with answer and rationale both right.

    Args:
        predictions: The submission CSV: `annot_id` and twenty scores, any real numbers (see `COLUMNS`).
        truth: JSON lines with `annot_id`, `answer_label` and `rationale_label`.
        protocol: `official`.
        ids: Score only these items.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit, a score is not a number; there is no such protocol.
    """
    if protocol != "official":
        raise InputError(f"VCR has no protocol {protocol!r}; allowed: official")
    labels = _read_labels(truth)
    joined = join(
        _read_submission(predictions), choose(labels, ids), source=predictions, handling=handling,
        elsewhere=labels.keys(),
    )  # fmt: skip
    right = {name: _right(joined.by_id.get(name), labels[name], predictions) for name in joined.ids}
    count = len(right)
    return Report(
        dataset="vcr",
        protocol=protocol,
        about="first highest score; rationale given the right answer; Q->AR: both right on the same item",
        unit="fraction",
        scores={
            "q_a": sum(answer for answer, _ in right.values()) / count,
            "qa_r": sum(rationale for _, rationale in right.values()) / count,
            "q_ar": sum(answer and rationale for answer, rationale in right.values()) / count,
        },
        ids=joined.report,
        per_question={name: float(answer and rationale) for name, (answer, rationale) in right.items()},
    )


def first_highest(scores: Sequence[float]) -> int:
    """Return the place of the highest score, the first of several."""
    return max(range(len(scores)), key=scores.__getitem__)


def _read_submission(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    columns, rows = read_csv(path)
    if absent := [column for column in COLUMNS if column not in columns]:
        raise InputError(f"{path} lacks {len(absent)} columns, the first {absent[0]!r}; write annot_id and 20 scores")
    return [(row["annot_id"], row) for row in rows]


def _read_labels(path: Path) -> dict[str, tuple[int, int]]:
    """Return number of the right answer and of the right rationale by item."""
    labels = {}
    for name, record in by_id(read_records(path), "annot_id", path).items():
        pair = (field(record, "answer_label", path), field(record, "rationale_label", path))
        if not all(isinstance(label, int) and 0 <= label < CHOICES for label in pair):
            raise InputError(f"{path}: item {name} has the labels {pair}; each is a whole number from 0 to 3")
        labels[name] = pair
    return labels


def _right(row: Mapping[str, str] | None, labels: tuple[int, int], path: Path) -> tuple[bool, bool]:
    """Say whether the answer and the rationale given the right answer are chosen."""
    if row is None:
        return False, False
    answer, rationale = labels
    chosen = first_highest(_numbers(row, ANSWER_COLUMNS, path))
    reason = first_highest(_numbers(row, RATIONALE_COLUMNS[answer], path))
    return chosen == answer, reason == rationale


def _numbers(row: Mapping[str, str], columns: Sequence[str], path: Path) -> list[float]:
    try:
        numbers = [float(row[column]) for column in columns]
    except ValueError as error:
        raise InputError(f"{path}: item {row['annot_id']}: {error}; a score is a number") from None
    if any(math.isnan(number) for number in numbers):
        raise InputError(f"{path}: item {row['annot_id']} has a score that is not a number (nan); give 20 numbers")
    return numbers
