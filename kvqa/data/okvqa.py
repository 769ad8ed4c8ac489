"""OK-VQA: questions about COCO photos that need outside knowledge (Marino et al. 2019, arXiv 1906.00067)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvqa.data.example import Example
from kvqa.data.files import record_at, texts, whole
from kvqa.data.json_stream import list_items, members
from kvqa.data.published import COCO_PHOTOS, Description, File, Split, coco_keys
from kvqa.data.vqa2 import coco_questions
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

SITE = "https://okvqa.allenai.org/static/data"
SUBSET = "https://github.com/luomancs/retriever_reader_for_okvqa"
DETECTIONS = "https://github.com/amanjainj98/QueryReformulation-OKVQA"

TAG_SCORE = 0.5
"""Score of a detected label; the files give none."""

# Question types by the words of the annotation files and by the numbers of the soft-label files.
CATEGORIES = {
    "other": "other",
    "one": "vehicles and transportation",
    "two": "brands, companies and products",
    "three": "objects, material and clothing",
    "four": "sports and recreation",
    "five": "cooking and food",
    "six": "geography, history, language and culture",
    "seven": "people and everyday life",
    "eight": "plants and animals",
    "nine": "science and technology",
    "ten": "weather and climate",
}

SPLIT_NAMES = ("train", "val")
QUESTIONS = {
    split: File(
        (f"OpenEnded_mscoco_{split}2014_questions.json",),
        f"questions of {split}",
        f"{SITE}/OpenEnded_mscoco_{split}2014_questions.json.zip",
        (split,),
        direct=True,
    )
    for split in SPLIT_NAMES
}
ANNOTATIONS = {
    split: File(
        (f"mscoco_{split}2014_annotations.json",),
        f"answers of {split}; without them the soft labels are read",
        f"{SITE}/mscoco_{split}2014_annotations.json.zip",
        (split,),
        direct=True,
    )
    for split in SPLIT_NAMES
}
SOFT_LABELS = {
    split: File((f"{split}_soft_labels.json",), f"soft labels of {split}", SUBSET, (split,), optional=True)
    for split in SPLIT_NAMES
}
SEEN = {
    "train": File(("detections.json",), "detected labels by question id", DETECTIONS, ("train",), optional=True),
    "val": File(("val_detections.json",), "detected labels by picture id", DETECTIONS, ("val",), optional=True),
}


def read_okvqa(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions of a split in the order of their file.

    The ten answers come from the annotations. Where only soft labels are at hand, `human_answers` stays empty and
    `answer_scores` holds the official score of each answer: 0.6 for what two of ten say (0.667 in the file) and 1 for
    four and more. `detections.json` and `val_detections.json`, if there, give label-only tags as regions.

    Raises:
        InputError: if a file is missing or a record broken, or a question has no answers.
    """
    questions = QUESTIONS[split].locate(root)
    annotations = ANNOTATIONS[split].find(root)
    soft = None if annotations else SOFT_LABELS[split].find(root)
    if annotations is None and soft is None:
        ANNOTATIONS[split].locate(root)
    labels = _soft_labels(soft) if soft else {}
    seen = _tags(SEEN[split].find(root))
    for example in coco_questions(questions, annotations, f"{split}2014"):
        if soft:
            if example.question_id not in labels:
                raise InputError(f"{questions}: question {example.question_id} is not in {soft.name}")
            example = replace(example, **labels[example.question_id])
        elif "question_type" in example.meta:
            kind = example.meta["question_type"]
            example = replace(example, meta={**example.meta, "category": CATEGORIES.get(kind, kind)})
        key = example.question_id if split == "train" else str(int(example.image[-16:-4]))
        found = seen.get(key, ())
        yield replace(example, regions=Regions(example.image, 1, 1, found, detector="okvqa tags")) if found else example


def _soft_labels(path: Path) -> dict[str, dict[str, Any]]:
    """Return the fields of an Example by question id."""
    fields = {}
    for place, record in list_items(path):
        with record_at(path, place):
            scores = record["label"]
            if not isinstance(scores, Mapping):
                raise InputError(f"label is {type(scores).__name__}; expected an object of answers and scores")
            ranked = sorted(scores, key=lambda answer: -scores[answer])
            kind = list(CATEGORIES)[whole(record, "class")]
            fields[str(whole(record, "question_id"))] = {
                "answers": tuple(ranked),
                "answer_scores": tuple(_official(scores[answer]) for answer in ranked),
                "meta": {"question_type": kind, "category": CATEGORIES[kind]},
            }
    return fields


def _official(score: Any) -> float:
    """Return the leave-one-out score of an answer whose share of three is `score`."""
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"a soft label is {score!r}; expected a number from 0 to 1")
    return {0.333: 0.3, 0.667: 0.6}.get(round(score, 3), float(score))


def _tags(path: Path | None) -> dict[str, tuple[Region, ...]]:
    """Return the detected labels by the id that the file uses."""
    if path is None:
        return {}
    found = {}
    for key, record in members(path):
        with record_at(path, f"entry {key}"):
            labels = dict.fromkeys(" ".join(label.split()) for label in texts(record, "detections"))
            found[key] = tuple(Region(label, TAG_SCORE, None, "tag") for label in labels if label)
    return found


OKVQA = Description(
    name="okvqa",
    title="OK-VQA 1.0 (Marino et al. 2019, arXiv 1906.00067)",
    files=(*QUESTIONS.values(), *ANNOTATIONS.values(), *SOFT_LABELS.values(), *SEEN.values()),
    splits=(Split("train", 9_009, 8_998), Split("val", 5_046, 5_033)),
    read=read_okvqa,
    keys=coco_keys,
    photos=f"{COCO_PHOTOS}train2014.zip, val2014.zip",
    note="val is the split that papers call test",
)
