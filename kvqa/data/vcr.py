"""VCR: four answers and four reasons for a scene of a film (Zellers et al. 2019, arXiv 1811.10830).

The folder holds `train.jsonl`, `val.jsonl`, `test.jsonl` and, beside or below it, `vcr1images/` with a JSON file for
each picture: boxes, size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, Mention, Mentions
from kvqa.data.files import choice, json_lines, open_text, record_at, text, texts, whole
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError
from kvqa.vision.regions import Box, Region, Regions, check_regions

NAMES = (
    *("Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry"),
    *("Jody", "Kendall", "Peyton", "Skyler", "Frankie", "Pat", "Quinn"),
)
"""What a person is called: `NAMES[i % 15]` for object number i; any gender, and Peyton stands twice."""

EVERYONE = ("everyone", "everyones")

ANNOTATIONS = "https://s3.us-west-2.amazonaws.com/ai2-rowanz/vcr1annots.zip"
TERMS = "https://visualcommonsense.com/download.html"
IMAGES = "vcr1images"

ITEMS = {
    split: File(
        (f"{split}.jsonl", f"vcr1annots/{split}.jsonl"),
        f"questions of {split}",
        f"{TERMS} (terms to accept; then {ANNOTATIONS})",
        (split,),
    )
    for split in ("train", "val", "test")
}

Tokens = Sequence[str | Sequence[int]]
"""A text of VCR: words, and lists of object numbers where the annotator pointed at something."""


def read_vcr(root: Path, split: str, *, only_mentioned: bool = True) -> Iterator[Example]:
    """Yield the items of a split in the order of its file.

    Texts are written out with neutral names for persons and class names for other objects; `mentions` says which
    characters point to which regions. The regions are the objects that some text mentions, all persons where a text
    says "everyone" (a mention of them all), and all persons if nothing is mentioned. Without the picture's JSON file
    they are tags without boxes. A model gets the items as `answering` or `reasoning` makes them: the plain item holds
    what the reasons mention, which must not be seen while answering.

    Args:
        root: Folder with the layout above.
        split: `"train"`, `"val"` or `"test"`; test has no labels.
        only_mentioned: False keeps all objects.

    Raises:
        InputError: if a file is missing or a record broken.
    """
    path = ITEMS[split].locate(root)
    folder = next((f for f in (root / IMAGES, path.parent / IMAGES) if f.is_dir()), None)
    for place, record in json_lines(path):
        with record_at(path, place):
            example = _example(record, folder, only_mentioned=only_mentioned)
        yield example


def answering(example: Example) -> Example:
    """Return the item as the choice among four answers, without anything that only the reasons mention."""
    kept = _kept(example, [example.mentions.question, *example.mentions.choices])
    return replace(
        _with_regions(example, kept),
        rationale_choices=(),
        rationale_label=None,
        mentions=_moved(Mentions(example.mentions.question, example.mentions.choices), kept),
    )


def reasoning(example: Example, answer: int | None = None) -> Example:
    """Return the item as the choice among four reasons, given an answer, which is added to the question.

    Args:
        example: As `read_vcr` gives it.
        answer: Position of the answer that is given; the right one by default, as QA→R is scored. The leaderboard
            asks for the reasons under each of the four.

    Raises:
        InputError: if no answer is given and the right one is not known.
    """
    given = example.label if answer is None else answer
    if given is None:
        raise InputError(f"item {example.question_id} has no label; say under which answer to reason")
    shift = len(example.question) + 1
    mentioned = example.mentions.choices[given] if example.mentions.choices else ()
    question = (*example.mentions.question, *(replace(m, start=m.start + shift, end=m.end + shift) for m in mentioned))
    kept = _kept(example, [question, *example.mentions.rationales])
    right = example.rationale_label
    return replace(
        _with_regions(example, kept),
        question=f"{example.question} {example.choices[given]}",
        choices=example.rationale_choices,
        label=right,
        answers=() if right is None else (example.rationale_choices[right],),
        rationale_choices=(),
        rationale_label=None,
        mentions=_moved(Mentions(question, example.mentions.rationales), kept),
    )


def _example(record: Any, folder: Path | None, *, only_mentioned: bool) -> Example:
    objects = texts(record, "objects")
    question = _tokens(record, "question", len(objects))
    choices = [_tokens(item, None, len(objects)) for item in _four(record, "answer_choices")]
    reasons = [_tokens(item, None, len(objects)) for item in _four(record, "rationale_choices")]
    numbers = list(range(len(objects)))
    if only_mentioned:
        numbers = _mentioned([question, *choices, *reasons], objects)
    place = {number: row for row, number in enumerate(numbers)}
    (asked, pointed), answers, why = (
        written(question, objects, place),
        [written(tokens, objects, place) for tokens in choices],
        [written(tokens, objects, place) for tokens in reasons],
    )
    label = choice(record["answer_label"], "answer_label", 4) if "answer_label" in record else None
    right = choice(record["rationale_label"], "rationale_label", 4) if "rationale_label" in record else None
    return Example(
        text(record, "annot_id"),
        asked,
        text(record, "img_fn"),
        _regions(record, objects, numbers, folder),
        answers=() if label is None else (answers[label][0],),
        choices=tuple(sentence for sentence, _ in answers),
        label=label,
        rationale_choices=tuple(sentence for sentence, _ in why),
        rationale_label=right,
        mentions=Mentions(pointed, tuple(found for _, found in answers), tuple(found for _, found in why)),
        meta={k: record[k] for k in ("match_fold", "movie", "img_id", "metadata_fn") if isinstance(record.get(k), str)},
    )


def _four(record: Any, key: str) -> list[Any]:
    items = record[key]
    if not isinstance(items, list) or len(items) != 4:
        raise InputError(f"{key} has {len(items) if isinstance(items, list) else 'no'} entries; expected 4")
    return items


def _tokens(record: Any, key: str | None, count: int) -> Tokens:
    """Return the tokens of a text, checked; `count` is the number of objects."""
    tokens = record if key is None else record[key]
    if not isinstance(tokens, list) or not tokens:
        raise InputError(f"{key or 'a choice'} is {str(tokens)[:60]!r}; expected words and lists of object numbers")
    for token in tokens:
        numbers = token if isinstance(token, list) else []
        if not isinstance(token, str | list) or token == []:
            raise InputError(f"a text holds {token!r}; expected a word or a list of object numbers")
        for number in numbers:
            choice(number, "an object number", count)
    return tokens


def _mentioned(sentences: Iterable[Tokens], objects: Sequence[str]) -> list[int]:
    """Return the numbers of the objects that the texts point to, in ascending order."""
    people = {number for number, name in enumerate(objects) if name == "person"}
    found: set[int] = set()
    for tokens in sentences:
        for token in tokens:
            if not isinstance(token, str):
                found.update(token)
            elif token.lower() in EVERYONE:
                found |= people
    return sorted(found or people)


def written(tokens: Tokens, objects: Sequence[str], place: dict[int, int]) -> tuple[str, tuple[Mention, ...]]:
    """Return a text of VCR in plain words, and its mentions.

    Args:
        tokens: Words, and lists of object numbers.
        objects: Class names by object number.
        place: Position of each object among the regions.
    """
    everybody = [number for number, name in enumerate(objects) if name == "person"]
    sentence, mentions, glued = "", [], True
    for token in tokens:
        word = token if isinstance(token, str) else " and ".join(_called(number, objects) for number in token)
        tight = isinstance(token, str) and (not word[:1].isalnum() or word == "n't") and word[:1] not in '(["$#&-'
        sentence += word if glued or tight else f" {word}"
        glued = word in ("(", "[", "$", "#", "-")
        numbers = everybody if isinstance(token, str) and token.lower() in EVERYONE else token
        if numbers and not isinstance(numbers, str):
            mentions.append(Mention(len(sentence) - len(word), len(sentence), tuple(place[n] for n in numbers)))
    return sentence, tuple(mentions)


def _called(number: int, objects: Sequence[str]) -> str:
    return NAMES[number % len(NAMES)] if objects[number] == "person" else objects[number]


def _regions(record: Any, objects: Sequence[str], numbers: Sequence[int], folder: Path | None) -> Regions:
    """Return the objects `numbers` with the boxes of the picture's JSON file, if it is there."""
    image, name = text(record, "img_fn"), text(record, "metadata_fn")
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        return Regions(image, 1, 1, tuple(Region(objects[n], 1.0, None, "tag") for n in numbers), detector="vcr")
    with open_text(path) as stream, record_at(path, "the boxes"):
        content = json.load(stream)
        width, height = whole(content, "width"), whole(content, "height")
        boxes = content["boxes"]
        if not isinstance(boxes, list) or len(boxes) != len(objects):
            raise InputError(f"there are not as many boxes as objects; expected {len(objects)}")
        found = tuple(_region(objects[n], boxes[n], width, height) for n in numbers)
        regions = Regions(image, width, height, found, detector="vcr")
        check_regions(regions)
    return regions


def _region(name: str, row: Any, width: int, height: int) -> Region:
    """Return an object from its row x1, y1, x2, y2, score; the box is cut to the picture."""
    x1, y1, x2, y2, score = (float(value) for value in row)
    box: Box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    return Region(name, min(1.0, score), box)


def _kept(example: Example, mentions: Iterable[Sequence[Mention]]) -> list[int]:
    """Return the rows of the regions that these mentions point to; those of all persons if there are none."""
    found = {row for sentence in mentions for mention in sentence for row in mention.regions}
    rows = range(len(example.regions.regions))
    return sorted(found) or [row for row in rows if example.regions.regions[row].label == "person"]


def _with_regions(example: Example, kept: Sequence[int]) -> Example:
    regions = example.regions
    features = None if regions.features is None else regions.features[list(kept)]
    return replace(
        example, regions=replace(regions, regions=tuple(regions.regions[row] for row in kept), features=features)
    )


def _moved(mentions: Mentions, kept: Sequence[int]) -> Mentions:
    """Return the mentions with the positions that their regions have among `kept`."""
    place = {row: position for position, row in enumerate(kept)}

    def move(sentence: Sequence[Mention]) -> tuple[Mention, ...]:
        return tuple(replace(m, regions=tuple(place[row] for row in m.regions)) for m in sentence)

    return Mentions(move(mentions.question), tuple(map(move, mentions.choices)), tuple(map(move, mentions.rationales)))


def picture_keys(example: Example) -> tuple[str, ...]:
    """Return `vcr:<picture>`."""
    return tuple(f"vcr:{name}" for name in example.all_images)


VCR = Description(
    name="vcr",
    title="VCR 1.0 (Zellers et al. 2019, arXiv 1811.10830)",
    files=tuple(ITEMS.values()),
    splits=(Split("train", 212_923, 80_418), Split("val", 26_534, 9_929), Split("test", 25_263, 9_557)),
    read=read_vcr,
    keys=picture_keys,
    photos=f"{TERMS} (vcr1images.zip, with the boxes)",
    note="boxes are read from vcr1images/ (vcr1images.zip, behind the same terms)",
)
