"""Scoring prediction files of VQA v2 and OK-VQA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.scoring.files import Record, as_id, by_id, field, read_json, without_collector
from kvqa.scoring.ids import Handling, choose, join
from kvqa.scoring.okvqa_labels import ten_answers
from kvqa.scoring.report import Report, percent
from kvqa.scoring.vqa_variants import protocol_named


@dataclass(frozen=True, slots=True)
class Asked:
    """What the truth says of one question: the people's answers and the groups it is reported in."""

    answers: list[str]
    question_type: str
    answer_type: str


@without_collector()
def score_vqa(
    predictions: Path,
    truth: Path,
    *,
    dataset: str = "vqa2",
    protocol: str = "official",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return the VQA accuracy, in percent with two decimals, overall, by question type and by answer type.

    Args:
        predictions: JSON list of `{"question_id", "answer"}`.
        truth: The annotations JSON (`annotations` with `answers`), or a list of soft labels as for OK-VQA.
        dataset: Name in the report.
        protocol: One of `kvqa.scoring.vqa_variants.PROTOCOLS`.
        ids: Score only the questions of this list.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    way = protocol_named(protocol)
    asked, notes = read_truth(truth)
    joined = join(
        read_predictions(predictions), choose(asked, ids), source=predictions, handling=handling, elsewhere=asked.keys()
    )
    scores = {
        name: way.score(joined.by_id[name], asked[name].answers) if name in joined.by_id else 0.0 for name in joined.ids
    }
    return Report(
        dataset=dataset,
        protocol=protocol,
        about=way.about,
        unit="percent",
        scores={"overall": percent(sum(scores.values()), len(scores))},
        groups={
            "per_question_type": _by_group((asked[name].question_type, score) for name, score in scores.items()),
            "per_answer_type": _by_group((asked[name].answer_type, score) for name, score in scores.items()),
        },
        ids=joined.report,
        per_question=scores,
        notes=notes,
    )


def read_predictions(path: Path) -> list[tuple[str, str]]:
    """Return question id and answer of each record of a JSON list.

    Raises:
        InputError: if the file is no such list, or an answer is not text.
    """
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f'{path} is not a JSON list; it should be [{{"question_id": 1, "answer": "yes"}}, …]')
    pairs = []
    for record in records:
        answer = field(record, "answer", path)
        if not isinstance(answer, str):
            raise InputError(f"{path}: the answer {answer!r} is not text; write it as a string")
        pairs.append((as_id(field(record, "question_id", path), path), answer))
    return pairs


def read_truth(path: Path) -> tuple[dict[str, Asked], tuple[str, ...]]:
    """Return the questions by id, and what the reader of the scores must know about where they come from.

    Raises:
        InputError: if the file is neither annotations nor soft labels.
    """
    content = read_json(path, slim=_slim)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        records = by_id(content["annotations"], "question_id", path)
        return {name: _annotated(record, path) for name, record in records.items()}, ()
    if isinstance(content, list) and content and isinstance(content[0], dict) and "label" in content[0]:
        records = by_id(content, "question_id", path)
        asked = {name: _soft_labelled(record, path) for name, record in records.items()}
        return asked, ("the ten answers are reconstructed from soft labels (0.667: two of ten, 1: four or more)",)
    raise InputError(
        f'{path} holds neither annotations ({{"annotations": [{{"question_id", "answers"}}]}}) nor soft labels '
        '([{"question_id", "label"}]); give the annotations file, not the questions file'
    )


def _slim(record: Record) -> Any:
    """Keep of one person's answer the text only: a file of VQA v2 has two million of them."""
    return record["answer"] if "answer_id" in record and "answer" in record else record


def _annotated(record: Record, path: Path) -> Asked:
    """Read one record of the official annotations."""
    answers = field(record, "answers", path)
    if answers and isinstance(answers[0], dict):  # without answer_id, so that `_slim` passed them over
        answers = [field(answer, "answer", path) for answer in answers]
    if set(map(type, answers)) != {str}:
        raise InputError(f"{path}: question {record.get('question_id')} has no answers, or one that is not text")
    return Asked(answers, str(record.get("question_type", "")), str(record.get("answer_type", "")))


def _soft_labelled(record: Record, path: Path) -> Asked:
    """Read one record of soft labels; its `class` is OK-VQA's question category."""
    try:
        answers = ten_answers(field(record, "label", path))
    except (InputError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: question {record.get('question_id')}: {error}") from None
    return Asked(answers, str(record.get("class", "")), "other")


def _by_group(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the mean of each group in percent, groups in order of appearance."""
    gathered: dict[str, list[float]] = {}
    for group, score in pairs:
        gathered.setdefault(group, []).append(score)
    return {group: percent(sum(scores), len(scores)) for group, scores in gathered.items()}
