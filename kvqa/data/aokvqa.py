"""A-OKVQA: questions about COCO photos, each with four choices and ten free answers.

Schwenk et al. 2022, arXiv 2206.01718.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import choice, record_at, text, texts, whole
from kvqa.data.json_stream import list_items
from kvqa.data.published import COCO_PHOTOS, Description, File, Split, coco_keys
from kvqa.data.vqa2 import by_count
from kvqa.errors import InputError

ARCHIVE = "https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz"

QUESTIONS = {
    split: File((f"aokvqa_v1p0_{split}.json",), f"questions of {split}", ARCHIVE, (split,), direct=True)
    for split in ("train", "val", "test")
}


def read_aokvqa(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions of a split in the order of its file.

    `answers` are the right choice, then the free answers, most frequent first; `human_answers` the ten free answers as
    given; `meta["difficult_direct_answer"]` is "true" where the official score of free answers leaves the question
    out. Test has choices only.

    Raises:
        InputError: if the file is missing or a record broken.
    """
    path = QUESTIONS[split].locate(root)
    for place, record in list_items(path):
        with record_at(path, place):
            example = _example(record)
        yield example


def _example(record: Any) -> Example:
    image = f"{whole(record, 'image_id'):012}.jpg"
    question_id = text(record, "question_id")
    choices = texts(record, "choices", 4)
    label = None
    if record.get("correct_choice_idx") is not None:
        label = choice(record["correct_choice_idx"], "correct_choice_idx", 4)
    given = texts(record, "direct_answers") if record.get("direct_answers") is not None else ()
    if given and len(given) != 10:
        raise InputError(f"question {question_id} has {len(given)} direct answers; expected 10")
    difficult = record.get("difficult_direct_answer")
    return Example(
        question_id,
        text(record, "question"),
        image,
        unseen(image),
        answers=by_count(given, None if label is None else choices[label]),
        human_answers=given,
        choices=choices,
        label=label,
        rationales=texts(record, "rationales") if record.get("rationales") is not None else (),
        meta={} if difficult is None else {"difficult_direct_answer": "true" if difficult else "false"},
    )


AOKVQA = Description(
    name="aokvqa",
    title="A-OKVQA 1.0 (Schwenk et al. 2022, arXiv 2206.01718)",
    files=tuple(QUESTIONS.values()),
    splits=(Split("train", 17_056), Split("val", 1_145), Split("test", 6_702)),
    read=read_aokvqa,
    keys=coco_keys,
    photos=f"{COCO_PHOTOS}train2017.zip, val2017.zip, test2017.zip",
    note="photos have the names of COCO 2017",
)
