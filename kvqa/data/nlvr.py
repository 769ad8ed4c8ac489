"""NLVR: is a sentence true of a drawing of three boxes with shapes? (Suhr et al. 2017, ACL, P17-2034).

The exact places of all shapes come with it. A drawing is 400 x 100 pixels: three grey boxes of 100 x 100 at x = 0, 150
and 300, in the order of `structured_rep` for picture number 0 of a record; a shape of `size` s with `x_loc`, `y_loc` is
the square from (x_loc, y_loc) to (x_loc + s, y_loc + s) of its box, from the top left. Held against the colours of the
pictures of dev and test, this is right for every shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example
from kvqa.data.files import json_lines, record_at, text, truth, whole
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions, check_regions

REPOSITORY = "https://raw.githubusercontent.com/lil-lab/nlvr/18924841aa96d519cfb8584f0945350f07a6d860/nlvr"
CLASSES = ("false", "true")

WIDTH, HEIGHT = 400, 100
BOX_SIZE = 100
BOX_STEP = 150
BOX_NAMES = ("left grey box", "middle grey box", "right grey box")
SIZES = {10: "small", 20: "medium", 30: "large"}
COLOURS = {"yellow": "yellow", "black": "black", "#0099ff": "blue"}
SHAPES = ("square", "triangle", "circle")

# Of the published files, where recorded.
SHA256 = {"dev": "0d312c3d7309393c0e36d286c70b884fb276819699e9f8f2bcea2854ad46537b"}

STATEMENTS = {
    split: File(
        (f"{split}/{split}.json", f"{split}.json"),
        f"statements of {split} with the places of all shapes",
        f"{REPOSITORY}/{split}/{split}.json",
        (split,),
        direct=True,
        sha256=SHA256.get(split, ""),
    )
    for split in ("train", "dev", "test")
}


def read_nlvr(root: Path, split: str) -> Iterator[Example]:
    """Yield the statements of a split in the order of its file, with every box and shape as a region.

    `label` is 0 for false and 1 for true; `meta["group"]` is the first part of the identifier, which all pictures of
    one sentence share: consistency is counted over it, and cross-validation has to keep it together
    (`meta["directory"]` is the published division for that). `image` is picture number 0 of the six orders of boxes.

    Raises:
        InputError: if the file is missing or a record broken.
    """
    path = STATEMENTS[split].locate(root)
    for place, record in json_lines(path):
        with record_at(path, place):
            example = _example(record, split)
        yield example


def _example(record: Any, split: str) -> Example:
    identifier = text(record, "identifier")
    label = int(truth(record["label"]))
    image = f"{split}-{identifier}-0.png"
    return Example(
        identifier,
        text(record, "sentence"),
        image,
        drawing(record["structured_rep"], image),
        answers=(CLASSES[label],),
        label=label,
        meta={"group": identifier.partition("-")[0], "directory": str(record.get("directory", ""))},
    )


def drawing(boxes: Any, image: str) -> Regions:
    """Return the three boxes and, after them, every shape of a `structured_rep`, box by box.

    A shape's label is size, colour and kind, such as `small yellow circle`.

    Raises:
        InputError: if there are not three lists of shapes, or a shape is not as described above.
    """
    if not isinstance(boxes, list) or len(boxes) != len(BOX_NAMES):
        raise InputError(f"structured_rep has {len(boxes) if isinstance(boxes, list) else 'no'} boxes; expected 3")
    frames = [
        Region(name, 1.0, (BOX_STEP * number, 0, BOX_STEP * number + BOX_SIZE, BOX_SIZE))
        for number, name in enumerate(BOX_NAMES)
    ]
    shapes = [_shape(item, BOX_STEP * number) for number, items in enumerate(boxes) for item in items]
    regions = Regions(image, WIDTH, HEIGHT, (*frames, *shapes), detector="nlvr structured_rep")
    check_regions(regions)
    return regions


def _shape(item: Any, left: int) -> Region:
    """Return a shape of the box that begins at x = `left`."""
    x, y, size = (whole(item, key) for key in ("x_loc", "y_loc", "size"))
    words = (
        _named(SIZES, size, "size"),
        _named(COLOURS, text(item, "color").lower(), "color"),
        _named({shape: shape for shape in SHAPES}, text(item, "type"), "type"),
    )
    return Region(" ".join(words), 1.0, (left + x, y, left + x + size, y + size))


def _named(names: dict[Any, str], value: Any, what: str) -> str:
    if value not in names:
        raise InputError(f"{what} is {value!r}; expected one of: {', '.join(map(str, names))}")
    return names[value]


NLVR = Description(
    name="nlvr",
    title="NLVR (Suhr et al. 2017, ACL)",
    files=tuple(STATEMENTS.values()),
    splits=(Split("train", 12_410), Split("dev", 989), Split("test", 990)),
    read=read_nlvr,
    classes=CLASSES,
    photos="https://github.com/lil-lab/nlvr/tree/master/nlvr, with the statements",
    note="the published 74,460 / 5,934 / 5,940 examples count six orders of the boxes for each record",
)
