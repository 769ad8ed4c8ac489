"""DAQUAR: questions about indoor photos of NYU Depth V2 (Malinowski and Fritz 2014, arXiv 1410.0210)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kvqa.data.example import Example, unseen
from kvqa.data.files import lines, record_at
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError

SITE = "https://datasets.d2.mpi-inf.mpg.de/mateusz14visual-turing"
COPY = "https://github.com/tezansahu/VQA-With-Multimodal-Transformers/tree/main/dataset"

IMAGE = re.compile(r"\bimage\d+\b")
TAIL = re.compile(r"\s*\bin\s+(?:the\s+)?image\d+[\s?.]*$")
"""The name of the picture at the end of a question, with the words that lead to it; some questions have it twice."""

RAW_NAMES = {"train": "894.raw.train", "test": "894.raw.test", "train37": "37.raw.train", "test37": "37.raw.test"}
RAW = {
    split: File((f"qa.{name}.txt",), f"questions of {split}", f"{SITE}/qa.{name}.txt", (split,), direct=True)
    for split, name in RAW_NAMES.items()
}
TOGETHER = File(("all_qa_pairs.txt",), "questions of train and test in one file", COPY, optional=True)
LISTS = {
    split: File((f"{split}_images_list.txt",), f"pictures of {split}, to divide that file", COPY, optional=True)
    for split in ("train", "test")
}
PHOTOS = File(("nyu_depth_images.tar",), "photos", f"{SITE}/nyu_depth_images.tar", optional=True, direct=True)


def read_daquar(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions of a split in the order of their file.

    `train` and `test` have all 894 classes of objects, `train37` and `test37` the 37 of the reduced set. The question
    ends before the name of its picture, or says "image" where the name is part of it. An answer of several things
    keeps them in one text, `knife, fork`; words are joined by spaces, and the spelling of the file (`garbage_bin`),
    where it differs, is a second accepted one.

    Raises:
        InputError: if a file is missing, a question names no picture, or a picture is in no list.
    """
    suffix = ".jpg" if next(root.glob("images/*.jpg"), None) else ".png"
    path = RAW[split].find(root)
    if path is not None:
        wanted = None
    elif split in LISTS and TOGETHER.find(root):
        path = TOGETHER.locate(root)
        wanted = _names(LISTS[split].locate(root))
        other = _names(LISTS["test" if split == "train" else "train"].locate(root))
    else:
        path, wanted = RAW[split].locate(root), None
    for place, question, answer in _pairs(path):
        with record_at(path, place):
            example = _example(place, question, answer, suffix)
            name = example.image.removesuffix(suffix)
            if wanted is not None and name not in wanted and name not in other:
                raise InputError(f"its picture {name} is in neither list of pictures; add it to one")
        if wanted is None or name in wanted:
            yield example


def _names(path: Path) -> set[str]:
    return {line.strip() for _, line in lines(path)}


def _pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield place, question line and answer line."""
    waiting: tuple[int, str] | None = None
    for number, line in lines(path):
        if waiting is None:
            waiting = number, line
        else:
            yield f"line {waiting[0]}", waiting[1], line
            waiting = None
    if waiting is not None:
        raise InputError(f"{path}, line {waiting[0]}: a question without an answer; expected the answer a line below")


def _example(place: str, question: str, answer: str, suffix: str) -> Example:
    names = IMAGE.findall(question)
    if not names:
        raise InputError(f"{question[:60]!r} names no picture; expected one such as image12 at its end")
    image = f"{names[-1]}{suffix}"
    asked = question
    while (shorter := TAIL.sub("", asked)) != asked:
        asked = shorter
    asked = IMAGE.sub("image", asked).rstrip(" ?.")  # what is left is no address: "the colour of the image383 ?"
    things = [" ".join(thing.split()) for thing in answer.split(",")]
    if not all(things):
        raise InputError(f"the answer {answer[:60]!r} has an empty part; expected things with commas between them")
    spoken = ", ".join(thing.replace("_", " ") for thing in things)
    return Example(
        place.removeprefix("line "),
        " ".join(asked.split()) + " ?",
        image,
        unseen(image),
        answers=tuple(dict.fromkeys([spoken, ", ".join(things)])),
        meta={"things": str(len(things))},
    )


def room_keys(example: Example) -> tuple[str, ...]:
    """Return `nyu:<name>`, without the suffix, which differs between copies."""
    return tuple(f"nyu:{name.rpartition('.')[0]}" for name in example.all_images)


DAQUAR = Description(
    name="daquar",
    title="DAQUAR (Malinowski and Fritz 2014, arXiv 1410.0210)",
    files=(*RAW.values(), TOGETHER, *LISTS.values(), PHOTOS),
    splits=(
        Split("train", 6_795, 795),
        Split("test", 5_673, 654),
        Split("train37", 3_825, scheme="37"),
        Split("test37", 297, 25, scheme="37"),
    ),
    read=read_daquar,
    keys=room_keys,
    photos=f"{SITE}/nyu_depth_images.tar",
    note="two pictures of the lists have no question",
)
