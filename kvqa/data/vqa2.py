"""VQA v2: open questions about COCO photos with ten answers each (Goyal et al. 2017, arXiv 1612.00837)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import record_at, text, whole
from kvqa.data.json_stream import list_items
from kvqa.data.published import COCO_PHOTOS, Description, File, Split, coco_keys
from kvqa.errors import InputError

BUCKET = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"

# Split -> year of its photos. A sample cut from train (names vqa_questions_train.gzip …) has photos of train2014 in
# both parts.
_YEARS = {"train": "train2014", "val": "val2014", "test": "test2015", "test-dev": "test2015"}

QUESTIONS = {
    "train": File(
        ("v2_OpenEnded_mscoco_train2014_questions.json", "vqa_questions_train.gzip"),
        "questions of train",
        f"{BUCKET}/v2_Questions_Train_mscoco.zip",
        ("train",),
        direct=True,
    ),
    "val": File(
        ("v2_OpenEnded_mscoco_val2014_questions.json", "vqa_questions_valid.gzip"),
        "questions of val",
        f"{BUCKET}/v2_Questions_Val_mscoco.zip",
        ("val",),
        direct=True,
    ),
    "test": File(
        ("v2_OpenEnded_mscoco_test2015_questions.json",),
        "questions of test",
        f"{BUCKET}/v2_Questions_Test_mscoco.zip",
        ("test",),
        direct=True,
    ),
    "test-dev": File(
        ("v2_OpenEnded_mscoco_test-dev2015_questions.json",),
        "questions of test-dev",
        f"{BUCKET}/v2_Questions_Test_mscoco.zip",
        ("test-dev",),
        direct=True,
    ),
}
ANNOTATIONS = {
    "train": File(
        # the misspelt name is that of the sample
        ("v2_mscoco_train2014_annotations.json", "vqa_annotatons_train.gzip"),
        "answers of train",
        f"{BUCKET}/v2_Annotations_Train_mscoco.zip",
        ("train",),
        direct=True,
    ),
    "val": File(
        ("v2_mscoco_val2014_annotations.json", "vqa_annotatons_valid.gzip"),
        "answers of val",
        f"{BUCKET}/v2_Annotations_Val_mscoco.zip",
        ("val",),
        direct=True,
    ),
}


def read_vqa2(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions of a split in the order of their file; test and test-dev have no answers.

    `answers` are the distinct answers, the one the data set itself calls the most frequent first.

    Raises:
        InputError: if a file is missing or a record broken, or a question has no annotation or the other way round.
    """
    path = QUESTIONS[split].locate(root)
    year = "train2014" if path.name == "vqa_questions_valid.gzip" else _YEARS[split]
    annotations = ANNOTATIONS[split].locate(root) if split in ANNOTATIONS else None
    yield from coco_questions(path, annotations, year)


def coco_questions(questions: Path, annotations: Path | None, year: str) -> Iterator[Example]:
    """Yield the questions of a file in the layout of VQA, which OK-VQA shares, with their answers.

    Args:
        questions: Document with the list `questions`: `question_id`, `image_id`, `question`.
        annotations: Document with the list `annotations`: ten `answers`, and perhaps `question_type`, `answer_type`,
            `multiple_choice_answer`, by `question_id`; None for questions without answers.
        year: Of the photos' file names, such as `val2014`.

    Raises:
        InputError: if a file or a record is broken, or a question has no annotation or the other way round.
    """
    for question, annotation in _joined(questions, annotations):
        number = question["question_id"]
        with record_at(questions, f"question {number}"):
            image = f"COCO_{year}_{whole(question, 'image_id'):012}.jpg"
            example = Example(str(number), text(question, "question"), image, unseen(image))
        if annotations is not None and annotation is not None:
            with record_at(annotations, f"question {number}"):
                if whole(annotation, "image_id") != question["image_id"]:
                    raise InputError(f"image_id is {annotation['image_id']}; expected {question['image_id']}")
                example = _answered(example, annotation)
        yield example


def _joined(questions: Path, annotations: Path | None) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Yield each question with its annotation, by question id; fast where both files have the same order."""
    rest = _by_id(annotations, "annotations") if annotations else iter(())
    waiting: dict[int, dict[str, Any]] = {}
    for number, question in _by_id(questions, "questions"):
        while annotations is not None and number not in waiting:
            found, annotation = next(rest, (0, None))
            if annotation is None:
                raise InputError(f"{questions}: question {number} has no annotation in {annotations.name}")
            waiting[found] = annotation
        yield question, waiting.pop(number, None)
    waiting.update(rest)
    if waiting:
        raise InputError(
            f"{annotations} has an annotation for {next(iter(waiting))}, which is no question of {questions.name}"
        )


def _by_id(path: Path, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for place, record in list_items(path, key):
        with record_at(path, place):
            number = whole(record, "question_id")
        yield number, record


def _answered(example: Example, annotation: dict[str, Any]) -> Example:
    given = ten_answers(annotation)
    first = annotation.get("multiple_choice_answer")
    meta = {key: annotation[key] for key in ("question_type", "answer_type") if isinstance(annotation.get(key), str)}
    return replace(example, answers=by_count(given, first if first in given else None), human_answers=given, meta=meta)


def ten_answers(annotation: dict[str, Any]) -> tuple[str, ...]:
    """Return the ten answers of an annotation as they stand there.

    Raises:
        InputError: if there are not ten texts.
    """
    answers = annotation["answers"]
    if not isinstance(answers, list) or len(answers) != 10:
        raise InputError(f"answers has {len(answers) if isinstance(answers, list) else 'no'} entries; expected 10")
    given = tuple(answer["answer"] for answer in answers)
    if not all(isinstance(answer, str) for answer in given):
        raise InputError("one of its answers is no text; expected ten texts")
    return given


def by_count(given: Sequence[str], first: str | None = None) -> tuple[str, ...]:
    """Return the distinct answers, the most frequent first; `first`, if given, before all others."""
    ranked = [answer for answer, _ in Counter(given).most_common()]
    return tuple(dict.fromkeys([first, *ranked] if first is not None else ranked))


VQA2 = Description(
    name="vqa2",
    title="VQA v2 (Goyal et al. 2017, arXiv 1612.00837)",
    files=(*QUESTIONS.values(), *ANNOTATIONS.values()),
    splits=(
        Split("train", 443_757, 82_783),
        Split("val", 214_354, 40_504),
        Split("test", 447_793, 81_434),
        Split("test-dev", 107_394, scheme="test-dev"),
    ),
    read=read_vqa2,
    keys=coco_keys,
    photos=f"{COCO_PHOTOS}train2014.zip, val2014.zip, test2015.zip",
    note="test-dev is a part of test; image counts are those of the COCO releases",
)
