"""Captions of photos, for pretraining: COCO, Flickr8k, Flickr30k, and machine captions of VinVL.

An example of these has no question: `question` is "", and `captions` are the sentences.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import lines, open_text, record_at, text, whole
from kvqa.data.json_stream import list_items
from kvqa.data.published import COCO_PHOTOS, Description, File, Split, coco_keys, flickr_keys
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

COCO_SITE = "http://images.cocodataset.org/annotations"
COCO_SIZES = {"train2014": 82_783, "val2014": 40_504, "train2017": 118_287, "val2017": 5_000}
COCO_FILES = {
    split: File(
        (f"annotations/captions_{split}.json", f"captions_{split}.json"),
        f"captions of {split}",
        f"{COCO_SITE}/annotations_trainval{split[-4:]}.zip",
        (split,),
        direct=True,
    )
    for split in COCO_SIZES
}

FLICKR8K_ZIP = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_text.zip"
FLICKR8K = File(
    ("Flickr8k.token.txt", "captions.txt"),
    "captions of all photos",
    FLICKR8K_ZIP,
    ("all", "train", "dev", "test"),
    direct=True,
)
FLICKR8K_MORE = File(
    ("all_captions_8091.csv",),
    "captions of more photos, as a table",
    "https://github.com/quantumnaan/sic_translator/tree/main/data",
    ("more",),
    optional=True,
)
FLICKR8K_LISTS = {
    split: File(
        (f"Flickr_8k.{word}Images.txt",), f"photos of {split}", FLICKR8K_ZIP, (split,), optional=True, direct=True
    )
    for split, word in (("train", "train"), ("dev", "dev"), ("test", "test"))
}
FLICKR30K = File(
    ("results_20130124.token", "results.csv", "captions.txt", "flickr30k.token.txt"),
    "captions of all photos",
    "https://shannon.cs.illinois.edu/DenotationGraph/ (a form to fill in)",
    ("all",),
)
VINVL = File(
    ("vinvl_captions_val2014.tsv",),
    "one machine caption with its confidence for each photo of val2014",
    "https://github.com/microsoft/PICa/tree/main/input_text/vinvl_caption",
    ("val2014",),
)


def read_coco_captions(root: Path, split: str) -> Iterator[Example]:
    """Yield the captioned photos of a COCO release in the order of its list of images.

    Raises:
        InputError: if the file is missing or a record broken, or a caption is for a photo that is not listed.
    """
    path = COCO_FILES[split].locate(root)
    names: dict[int, str] = {}
    for place, record in list_items(path, "images"):
        with record_at(path, place):
            names[whole(record, "id")] = text(record, "file_name")
    found: dict[int, list[str]] = {number: [] for number in names}
    for place, record in list_items(path, "annotations"):
        with record_at(path, place):
            number = whole(record, "image_id")
            if number not in found:
                raise InputError(f"image_id {number} is not among the images of the file")
            found[number].append(text(record, "caption"))
    yield from (_captioned(names[number], captions) for number, captions in found.items())


def read_flickr8k(root: Path, split: str) -> Iterator[Example]:
    """Yield the captioned photos of Flickr8k: all, or those of a published list; `more` is a second table.

    Raises:
        InputError: if a file is missing or a line broken.
    """
    path = (FLICKR8K_MORE if split == "more" else FLICKR8K).locate(root)
    wanted = None
    if split in FLICKR8K_LISTS:
        wanted = {line.strip() for _, line in lines(FLICKR8K_LISTS[split].locate(root))}
    for example in captioned_photos(path):
        if wanted is None or example.image in wanted:
            yield example


def read_flickr30k(root: Path, split: str) -> Iterator[Example]:
    """Yield the captioned photos of Flickr30k.

    Raises:
        InputError: if the file is missing or a line broken.
    """
    return captioned_photos(FLICKR30K.locate(root))


def captioned_photos(path: Path) -> Iterator[Example]:
    """Yield the photos of a table of captions, in order of appearance, with all captions of each.

    Three forms are told apart by the first line: `photo.jpg#0<TAB>caption`, `photo.jpg| 0| caption` below a header,
    and comma-separated `photo.jpg,caption` below a header, with quotes around captions that hold commas.

    Raises:
        InputError: naming the line that is not of the form of the first.
    """
    found: dict[str, list[str]] = {}
    for number, image, caption in _rows(path):
        with record_at(path, f"line {number}"):
            if not image.strip() or not caption.strip():
                raise InputError("expected the name of a photo and a caption")
        found.setdefault(image.strip(), []).append(" ".join(caption.split()))
    yield from (_captioned(image, captions) for image, captions in found.items())


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, photo and caption."""
    with open_text(path) as stream:
        first = stream.readline()
        stream.seek(0)
        if "|" in first:
            yield from _split_lines(enumerate(stream, start=1), path, _bar, header=True)
        elif "\t" in first:
            yield from _split_lines(enumerate(stream, start=1), path, _tab, header=False)
        else:
            table = csv.reader(stream)
            next(table, None)
            for row in table:
                if row:
                    with record_at(path, f"line {table.line_num}"):
                        image, caption = _two(row)
                    yield table.line_num, image, caption


def _split_lines(
    numbered: Iterable[tuple[int, str]], path: Path, cut: Callable[[str], tuple[str, str]], *, header: bool
) -> Iterator[tuple[int, str, str]]:
    for number, line in numbered:
        if line.strip() and not (header and number == 1):
            with record_at(path, f"line {number}"):
                image, caption = cut(line)
            yield number, image, caption


def _bar(line: str) -> tuple[str, str]:
    # One line of the published table lacks its second bar: `photo.jpg| 4   A dog runs …`.
    image, bar, rest = line.partition("|")
    if not bar:
        raise InputError(f"{line.strip()[:60]!r} has no bar; expected photo | number | caption")
    return image, rest.partition("|")[2] or rest.strip().lstrip("0123456789")


def _tab(line: str) -> tuple[str, str]:
    image, tab, caption = line.partition("\t")
    if not tab:
        raise InputError(f"{line.strip()[:60]!r} has no tab; expected photo#number and caption")
    return image.partition("#")[0], caption


def _two(row: list[str]) -> tuple[str, str]:
    if len(row) != 2:
        raise InputError(f"there are {len(row)} columns; expected 2, the photo and its caption in quotes")
    return row[0], row[1]


def _captioned(image: str, captions: Iterable[str]) -> Example:
    return Example(image, "", image, unseen(image), captions=tuple(captions))


def read_vinvl(root: Path, split: str) -> Iterator[Example]:
    """Yield the photos of COCO val2014 with a machine caption as a region of kind `caption`, not as `captions`.

    Raises:
        InputError: if the file is missing or a line broken.
    """
    path = VINVL.locate(root)
    for number, line in lines(path):
        with record_at(path, f"line {number}"):
            key, tab, content = line.partition("\t")
            if not tab or not key.isdigit():
                raise InputError(f"{line[:60]!r} does not begin with a picture id and a tab")
            image = f"COCO_val2014_{int(key):012}.jpg"
            found = tuple(_machine_caption(record) for record in json.loads(content))
            example = Example(image, "", image, Regions(image, 1, 1, found, detector="vinvl captions"))
        yield example


def _machine_caption(record: Any) -> Region:
    confidence = record["conf"]
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise InputError(f"conf is {confidence!r}; expected a number from 0 to 1")
    return Region(text(record, "caption"), float(confidence), None, "caption")


COCO_CAPTIONS = Description(
    name="coco_captions",
    title="COCO captions (Chen et al. 2015, arXiv 1504.00325)",
    files=tuple(COCO_FILES.values()),
    splits=tuple(Split(split, size, size, scheme=split[-4:]) for split, size in COCO_SIZES.items()),
    read=read_coco_captions,
    keys=coco_keys,
    photos=COCO_PHOTOS,
    note="counts are of photos; a release of 2017 shares its photos with that of 2014",
)
FLICKR8K_CAPTIONS = Description(
    name="flickr8k",
    title="Flickr8k (Hodosh et al. 2013, JAIR)",
    files=(FLICKR8K, *FLICKR8K_LISTS.values(), FLICKR8K_MORE),
    splits=(
        Split("all", 8_092, 8_092, scheme="all"),
        Split("train", 6_000, 6_000),
        Split("dev", 1_000, 1_000),
        Split("test", 1_000, 1_000),
        Split("more", scheme="more"),
    ),
    read=read_flickr8k,
    keys=flickr_keys,
    photos="https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_Dataset.zip",
    note="counts are of photos",
)
FLICKR30K_CAPTIONS = Description(
    name="flickr30k",
    title="Flickr30k (Young et al. 2014, TACL)",
    files=(FLICKR30K,),
    splits=(Split("all", 31_783, 31_783),),
    read=read_flickr30k,
    keys=flickr_keys,
    photos=FLICKR30K.source,
    note="counts are of photos",
)
VINVL_CAPTIONS = Description(
    name="vinvl_captions",
    title="Machine captions of COCO val2014 by VinVL (Zhang et al. 2021, arXiv 2101.00529; file of PICa)",
    files=(VINVL,),
    splits=(Split("val2014", 40_504, 40_504),),
    read=read_vinvl,
    keys=coco_keys,
    photos=f"{COCO_PHOTOS}val2014.zip",
)
