"""SNLI-VE: does a photo entail a sentence, contradict it, or neither? (Xie et al. 2019, arXiv 1901.06706)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import json_lines, record_at, text
from kvqa.data.published import Description, File, Split, flickr_keys
from kvqa.errors import InputError

CLASSES = ("entailment", "neutral", "contradiction")
IMAGE_KEYS = ("Flickr30K_ID", "Flickr30kID", "Flikr30kID")
"""Spellings of the key in successive releases; with or without `.jpg` in the value."""

DRIVE = "https://drive.google.com/uc?export=download&id="
PAIRS = {
    split: File((f"snli_ve_{split}.jsonl",), f"pairs of {split}", f"{DRIVE}{key}", (split,))
    for split, key in (
        ("train", "1jQElLXUA5ps3OuiSMlJdKTRIMwZ_cJ2e"),
        ("dev", "1M6uSoJ4rXXsygReioHSJg2Xgip2NLpJW"),
        ("test", "1_n4g8sbw_P6KBayvJ9B8KklZDFr0uPsQ"),
    )
}
PAIRS["sample"] = File(
    ("sample_data.jsonl",),
    "the sample of the repository",
    "https://github.com/necla-ml/SNLI-VE/tree/master/data/sample",
    ("sample",),
    optional=True,
)


def read_snli_ve(root: Path, split: str) -> Iterator[Example]:
    """Yield the pairs of a split in the order of its file.

    `question` is the hypothesis, `label` 0, 1 or 2 for entailment, neutral and contradiction. The caption that the
    hypothesis was written for stands in `meta["premise"]`: it says what the picture shows, so a model that is to judge
    the picture must not read it.

    Raises:
        InputError: if the file is missing or a record broken.
    """
    path = PAIRS[split].locate(root)
    for place, record in json_lines(path):
        with record_at(path, place):
            example = _example(record)
        yield example


def _example(record: Any) -> Example:
    key = next((key for key in IMAGE_KEYS if key in record), None)
    if key is None:
        raise InputError(f"none of the keys {', '.join(IMAGE_KEYS)} is there; expected the name of the photo")
    name = text(record, key)
    image = name if name.endswith(".jpg") else f"{name}.jpg"
    word = text(record, "gold_label")
    if word not in (*CLASSES, "-"):
        raise InputError(f"gold_label is {word!r}; expected {', '.join(CLASSES)} or -")
    known = word in CLASSES  # "-": the annotators did not agree
    return Example(
        text(record, "pairID"),
        text(record, "sentence2"),
        image,
        unseen(image),
        answers=(word,) if known else (),
        label=CLASSES.index(word) if known else None,
        meta={"premise": text(record, "sentence1")} if record.get("sentence1") else {},
    )


SNLI_VE = Description(
    name="snli_ve",
    title="SNLI-VE (Xie et al. 2019, arXiv 1901.06706)",
    files=tuple(PAIRS.values()),
    splits=(
        Split("train", 529_527, 29_783),
        Split("dev", 17_858, 1_000),
        Split("test", 17_901, 1_000),
        Split("sample", 5, 5, scheme="sample"),
    ),
    read=read_snli_ve,
    classes=CLASSES,
    keys=flickr_keys,
    photos="https://shannon.cs.illinois.edu/DenotationGraph/ (a form to fill in)",
    note="photos are those of Flickr30k",
)
