"""A-OKVQA: multiple choice and direct answer, as the script of allenai/aokvqa has them (arXiv 2206.01718)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.scoring.files import Record, by_id, field, read_json_with_doubles, read_records
from kvqa.scoring.ids import SHOWN, Handling, choose, join
from kvqa.scoring.report import Report

MULTIPLE_CHOICE, DIRECT_ANSWER = "multiple_choice", "direct_answer"


def score_aokvqa(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "official",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return both accuracies in percent, unrounded, as the official script prints them.

    Multiple choice is right if the prediction is the text of the right choice. A direct answer scores
    `min(1, exact matches among the ten / 3)`; questions with `difficult_direct_answer` are passed over. A missing
    prediction scores 0; a part that no record predicts is None.

    Args:
        predictions: JSON object of question id to `{"multiple_choice": text, "direct_answer": text}`, one or both.
        truth: The published JSON list.
        protocol: `official`.
        ids: Score only these questions.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    if protocol != "official":
        raise InputError(f"A-OKVQA has no protocol {protocol!r}; allowed: official")
    asked = by_id(read_records(truth), "question_id", truth)
    said, doubles = _read_predictions(predictions)
    joined = join(
        said.items(),
        choose(asked, ids),
        source=predictions,
        handling=handling,
        unknown_is_error=False,
        elsewhere=asked.keys(),
        doubles=doubles,
    )
    chosen = {name: asked[name] for name in joined.ids}
    direct = {name: record for name, record in chosen.items() if _is_direct(record, truth)}
    by_choice = _part(joined.by_id, MULTIPLE_CHOICE, chosen)
    by_answer = _part(joined.by_id, DIRECT_ANSWER, direct)
    choice_scores = {name: _choice_score(by_choice.get(name), chosen[name], truth) for name in chosen}
    answer_scores = {name: _answer_score(by_answer.get(name), direct[name], truth) for name in direct}
    return Report(
        dataset="aokvqa",
        protocol=protocol,
        about="allenai/aokvqa, evaluation/eval_predictions.py: exact strings, difficult direct answers passed over",
        unit="percent",
        scores={
            MULTIPLE_CHOICE: _mean_percent(choice_scores) if by_choice else None,
            DIRECT_ANSWER: _mean_percent(answer_scores) if by_answer else None,
        },
        groups={"counts": {MULTIPLE_CHOICE: len(chosen), DIRECT_ANSWER: len(direct)}},
        ids=joined.report,
        per_question=choice_scores if by_choice else answer_scores,
        notes=tuple(_notes(by_choice, by_answer, chosen, direct)),
    )


def _read_predictions(path: Path) -> tuple[dict[str, Record], list[str]]:
    """Return the predictions by question id and the ids that the file has twice."""
    content, doubles = read_json_with_doubles(path)
    if not isinstance(content, dict) or not all(isinstance(record, dict) for record in content.values()):
        raise InputError(
            f"{path} is not an object of question ids to objects; it should be "
            '{"id": {"multiple_choice": "…", "direct_answer": "…"}}'
        )
    return content, [name for name in doubles if name in content]


def _is_direct(record: Record, path: Path) -> bool:
    return field(record, "difficult_direct_answer", path) is False


def _part(predictions: dict[str, Any], part: str, asked: dict[str, Record]) -> dict[str, Any]:
    """Return what the predictions say to one of the two parts."""
    return {name: said[part] for name, said in predictions.items() if name in asked and part in said}


def _choice_score(said: Any, record: Record, path: Path) -> float:
    choices, number = field(record, "choices", path), field(record, "correct_choice_idx", path)
    if not isinstance(number, int) or not 0 <= number < len(choices):
        raise InputError(f"{path}: correct_choice_idx {number!r} names none of {len(choices)} choices")
    return float(said == choices[number])


def _answer_score(said: Any, record: Record, path: Path) -> float:
    return min(1.0, sum(said == answer for answer in field(record, "direct_answers", path)) / 3.0)


def _mean_percent(scores: dict[str, float]) -> float | None:
    """Return the mean in percent in the official order of operations, or None for nothing."""
    return sum(scores.values()) / len(scores) * 100 if scores else None


def _notes(
    by_choice: dict[str, Any], by_answer: dict[str, Any], chosen: dict[str, Record], direct: dict[str, Record]
) -> list[str]:
    """Say what was predicted in part, and which choices do not exist."""
    notes = []
    for part, said, asked in ((MULTIPLE_CHOICE, by_choice, chosen), (DIRECT_ANSWER, by_answer, direct)):
        if not said:
            notes.append(f"no prediction has {part}; it is not scored")
        elif len(said) < len(asked):
            notes.append(f"{len(asked) - len(said):,} of {len(asked):,} questions have no {part}, counted as wrong")
    invalid = [name for name, said in by_choice.items() if said not in chosen[name]["choices"]]
    if invalid:
        shown = "; ".join(f"{name}: {by_choice[name]!r}" for name in invalid[:SHOWN])
        notes.append(f"{len(invalid):,} predictions are none of the four choices, counted as wrong: {shown}")
    return notes
