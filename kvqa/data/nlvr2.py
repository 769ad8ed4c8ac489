"""NLVR2: is a sentence true of two photos? (Suhr et al. 2019, arXiv 1811.00491), with its contrast set.

The contrast set (Gardner et al. 2020, arXiv 2004.02709) has edited sentences for the same pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import json_lines, open_text, record_at, text, truth
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError

REPOSITORY = "https://raw.githubusercontent.com/lil-lab/nlvr/master/nlvr2"
CLASSES = ("false", "true")
CONTRAST = "contrast"

STATEMENTS = {
    split: File(
        (f"{split}.json", f"data/{split}.json"),
        f"statements of {split}",
        f"{REPOSITORY}/data/{split}.json",
        (split,),
        direct=True,
    )
    for split in ("train", "dev", "test1", "test2")
}
STATEMENTS[CONTRAST] = File(
    ("contrast_set_nlvr2.jsonl", "contrast_set_nlvr2.json"),
    "contrast set of test1",
    "https://github.com/allenai/contrast-sets/tree/main/nlvr2",
    (CONTRAST,),
)
SUBSETS = {
    f"{kind}_{split}": File(
        (f"{kind}_{split}.ids.json", f"{kind}_{split}.json", f"data/{kind}/{kind}_{split}.json"),
        f"the {kind} part of {split}: a list of identifiers, or the statements themselves",
        f"{REPOSITORY}/data/{kind}/{kind}_{split}.json",
        (f"{kind}_{split}",),
        direct=True,
    )
    for kind in ("balanced", "unbalanced")
    for split in ("dev", "test1", "test2")
}


def read_nlvr2(root: Path, split: str) -> Iterator[Example]:
    """Yield the statements of a split in the order of its file.

    `images` are the left and the right photo under the names of the published download, `label` is 0 for false and 1
    for true, and `meta["group"]` is what consistency is counted over: the same sentence with its pairs of photos, in
    the contrast set the variants of one statement.

    Raises:
        InputError: if a file is missing or a record broken, or a part names a statement that is not there.
    """
    if split in SUBSETS:
        yield from _subset(root, split)
        return
    path = STATEMENTS[split].locate(root)
    for place, record in json_lines(path):
        with record_at(path, place):
            example = _example(record, contrast=split == CONTRAST)
        yield example


def _subset(root: Path, name: str) -> Iterator[Example]:
    """Yield the statements of a part of dev or of a test split."""
    path = SUBSETS[name].locate(root)
    with open_text(path) as stream:
        is_list = stream.read(1) == "["
    if not is_list:
        for place, record in json_lines(path):
            with record_at(path, place):
                example = _example(record, contrast=False)
            yield example
        return
    with open_text(path) as stream:
        try:
            listed = json.load(stream)
        except ValueError as error:
            raise InputError(f"{path} is no list of identifiers ({error}); fetch the file again") from None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"{path} is no list of identifiers; fetch the file again")
    wanted = set(listed)
    for example in read_nlvr2(root, name.partition("_")[2]):
        if example.question_id in wanted:
            wanted.remove(example.question_id)
            yield example
    if wanted:
        raise InputError(f"{path} names {len(wanted)} statements that are not in the split, such as {min(wanted)!r}")


def _example(record: Any, *, contrast: bool) -> Example:
    identifier = text(record, "identifier")
    parts = identifier.split("-")
    if len(parts) != 4 + contrast:
        form = "split-set-pair-sentence" + ("-variant" if contrast else "")
        raise InputError(f"identifier is {identifier!r}; expected the form {form}")
    pair = "-".join(parts[:3])
    images = (f"{pair}-img0.png", f"{pair}-img1.png")
    label = truth(record["label"]) if "label" in record else None
    group = identifier.rpartition("-")[0] if contrast else f"{parts[0]}-{parts[1]}-{parts[3]}"
    meta = {"group": group, "pair": pair, "left_url": record.get("left_url"), "right_url": record.get("right_url")}
    meta["synset"] = record.get("synset")
    return Example(
        identifier,
        text(record, "sentence"),
        images[0],
        unseen(images[0]),
        answers=() if label is None else (CLASSES[label],),
        label=None if label is None else int(label),
        images=images,
        more_regions=(unseen(images[1]),),
        meta={key: value for key, value in meta.items() if isinstance(value, str)},
    )


def photo_addresses(example: Example) -> tuple[str, ...]:
    """Return the web addresses of both photos: a photo can have several file names, one for each set it is in."""
    addresses = (example.meta.get("left_url"), example.meta.get("right_url"))
    return tuple(address or name for address, name in zip(addresses, example.all_images, strict=True))


NLVR2 = Description(
    name="nlvr2",
    title="NLVR2 (Suhr et al. 2019, arXiv 1811.00491)",
    files=(*STATEMENTS.values(), *SUBSETS.values()),
    splits=(
        Split("train", 86_373),
        Split("dev", 6_982),
        Split("test1", 6_967),
        Split("test2", 6_970),
        *(Split(name, count, scheme=name) for name, count in (("balanced_dev", 2_300), ("balanced_test1", 2_316))),
        *(Split(name, count, scheme=name) for name, count in (("unbalanced_dev", 3_562), ("unbalanced_test1", 3_536))),
        Split("balanced_test2", scheme="balanced_test2"),
        Split("unbalanced_test2", scheme="unbalanced_test2"),
        Split(CONTRAST, 994, scheme=CONTRAST),
    ),
    read=read_nlvr2,
    classes=CLASSES,
    keys=photo_addresses,
    photos="addresses in the statements, many of them dead; the form at https://github.com/lil-lab/nlvr/tree/master/nlvr2",
    note="the same photo is recognised by its address; the contrast set has 994 statements for 479 of test1",
)
