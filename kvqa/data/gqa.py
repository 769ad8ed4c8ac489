"""GQA: compositional questions about photos of Visual Genome (Hudson and Manning 2019, arXiv 1902.09506)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import record_at, text, whole
from kvqa.data.json_stream import members
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

SITE = "https://downloads.cs.stanford.edu/nlp/data/gqa"
QUESTION_ZIP = f"{SITE}/questions1.2.zip"
TRAIN_PARTS = 10

_FILES = {
    "train": "train_balanced_questions.json",
    "val": "val_balanced_questions.json",
    "testdev": "testdev_balanced_questions.json",
    "test": "test_balanced_questions.json",
    "val_all": "val_all_questions.json",
    "testdev_all": "testdev_all_questions.json",
}
QUESTIONS: dict[str, tuple[File, ...]] = {
    split: (File((name, f"questions1.2/{name}"), f"questions of {split}", QUESTION_ZIP, (split,), direct=True),)
    for split, name in _FILES.items()
}
QUESTIONS["train_all"] = tuple(
    File(
        (f"train_all_questions/train_all_questions_{part}.json",),
        f"questions of train_all, part {part + 1} of {TRAIN_PARTS}",
        QUESTION_ZIP,
        ("train_all",),
        direct=True,
    )
    for part in range(TRAIN_PARTS)
)
SCENE_GRAPHS = {
    split: File(
        (f"{split}_sceneGraphs.json", f"sceneGraphs/{split}_sceneGraphs.json"),
        f"objects in the photos of {split}",
        f"{SITE}/sceneGraphs.zip",
        optional=True,
        direct=True,
    )
    for split in ("train", "val")
}


def read_gqa(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions of a split in the order of its files, one record in memory at a time.

    `train`, `val`, `testdev` and `test` are the balanced questions, `train_all` … all of them. `meta` has the
    `structural`, `semantic` and `detailed` type, the `full_answer`, and the `group` of the balanced scores.

    Raises:
        InputError: if a file is missing or a record broken.
    """
    for file in QUESTIONS[split]:
        path = file.locate(root)
        for number, record in members(path):
            with record_at(path, f"question {number}"):
                example = _example(number, record)
            yield example


def _example(number: str, record: Any) -> Example:
    image = f"{text(record, 'imageId')}.jpg"
    types, groups = record.get("types") or {}, record.get("groups") or {}
    meta = {
        "structural": types.get("structural"),
        "semantic": types.get("semantic"),
        "detailed": types.get("detailed"),
        "full_answer": record.get("fullAnswer"),
        "group": groups.get("global"),
    }
    return Example(
        number,
        text(record, "question"),
        image,
        unseen(image),
        answers=(text(record, "answer"),) if "answer" in record else (),
        meta={key: value for key, value in meta.items() if isinstance(value, str)},
    )


def scene_graph_regions(path: Path) -> Iterator[Regions]:
    """Yield what people marked in each photo: one region an object, labelled with its attributes and its name.

    These are gold annotations: a model that reads them is not comparable with one that looks at photos.

    Args:
        path: `train_sceneGraphs.json` or `val_sceneGraphs.json`, plain or gzip.

    Raises:
        InputError: if the file cannot be read or a record is broken.
    """
    for number, graph in members(path):
        with record_at(path, f"photo {number}"):
            width, height = whole(graph, "width"), whole(graph, "height")
            found = (_object(item, width, height) for item in graph["objects"].values())
            regions = Regions(
                f"{number}.jpg", width, height, tuple(r for r in found if r is not None), detector="gqa scene graph"
            )
        yield regions


def _object(item: Any, width: int, height: int) -> Region | None:
    """Return an object, its box cut to the photo; None if nothing of the box is left."""
    x, y, w, h = (whole(item, key) for key in ("x", "y", "w", "h"))
    box = (max(0, x), max(0, y), min(width, x + w), min(height, y + h))
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    attributes = item.get("attributes") or []
    if not all(isinstance(attribute, str) for attribute in attributes):
        raise InputError(f"attributes is {attributes!r}; expected a list of texts")
    return Region(" ".join([*attributes, text(item, "name")]), 1.0, box)


def genome_keys(example: Example) -> tuple[str, ...]:
    """Return `genome:<photo id>`: the ids of Visual Genome look like those of other collections."""
    return tuple(f"genome:{name.removesuffix('.jpg')}" for name in example.all_images)


GQA = Description(
    name="gqa",
    title="GQA 1.2 (Hudson and Manning 2019, arXiv 1902.09506)",
    files=(*(file for files in QUESTIONS.values() for file in files), *SCENE_GRAPHS.values()),
    splits=(
        Split("train", 943_000, 72_140),
        Split("val", 132_062, 10_234),
        Split("testdev", 12_578, 398),
        Split("test", 95_336),
        Split("train_all", 14_305_356, scheme="all"),
        Split("val_all", 2_011_853, scheme="all"),
        Split("testdev_all", 172_174, scheme="all"),
    ),
    read=read_gqa,
    keys=genome_keys,
    photos=f"{SITE}/images.zip",
    note="about half of the photos of Visual Genome are COCO photos under other numbers; this overlap is not seen here",
)
