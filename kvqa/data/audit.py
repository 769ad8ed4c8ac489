"""What of a data set is there, how much of it, and which pictures its parts and other data sets share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from kvqa.data.datasets import Dataset
from kvqa.data.published import Description, Split
from kvqa.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
SHOWN = 3
"""How many of the shared pictures a report names."""


@dataclass
class _Part:
    """What was found in one split.

    Attributes:
        state: `missing`, `broken`, `complete`, `subset`, `larger`, or `read` where no published count is known.
        keys: What identifies its photos.
        names: Their file names.
    """

    split: Split
    state: str = "missing"
    questions: int = 0
    keys: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    twice: int = 0
    problem: str = ""


def audit(
    name: str,
    root: str | Path,
    *,
    against: Sequence[tuple[str, Path]] = (),
    splits: Sequence[str] = (),
    photos: Path | None = None,
) -> dict[str, Any]:
    """Return a report on a data set, ready for JSON.

    Args:
        name: A key of `kvqa.data.datasets.DATASETS`.
        root: Its folder.
        against: Other data sets with their folders, to look for shared photos.
        splits: Read only these splits; () reads every split whose files are there.
        photos: Folder, searched to any depth, in which photos are looked up besides `root`.

    Returns:
        `dataset`, `title`, `root`, `photos` (where they come from), `note`; `files`: one record for each with `name`,
        `what`, `splits`, `found` (path or null), `bytes`, `needed` (false if optional, or if its splits were read from
        other files), `source`; `splits`: one record for each with `split`, `state`, `questions`, `published`,
        `images`, `published_images`, `photos_at_hand`, `duplicate_ids`, `problem`; `overlaps`: pairs of splits that
        are meant to be apart and share photos; `against`: the same with the splits of the other data sets.

    Raises:
        InputError: if a data set, a split or a folder is not there.
    """
    dataset = Dataset(name, root)
    description = dataset.description
    for split in splits:
        description.split(split)
    if photos is not None and not photos.is_dir():
        raise InputError(f"{photos} is no folder; give the folder with the photos")
    parts = [_read(dataset, split) for split in description.splits if not splits or split.name in splits]
    at_hand = _stems([dataset.root, *([photos] if photos else [])])
    return {
        "dataset": name,
        "title": description.title,
        "root": str(dataset.root),
        "photos": description.photos,
        "note": description.note,
        "files": _files(description, dataset.root, {part.split.name for part in parts if part.state != "missing"}),
        "splits": [_split_record(part, at_hand) for part in parts],
        "overlaps": [
            found
            for one, two in combinations(parts, 2)
            if one.split.scheme == two.split.scheme and (found := _shared(one, two.split.name, two.keys))
        ],
        "against": _against(parts, against),
    }


def is_broken(report: dict[str, Any]) -> bool:
    """Return whether a split of the report could not be read to its end."""
    return any(split["state"] == "broken" for split in report["splits"])


def _read(dataset: Dataset, split: Split) -> _Part:
    """Count a split; nothing is kept of its examples but ids and pictures."""
    part = _Part(split)
    needed = [f for f in dataset.description.files if split.name in f.splits or not (f.splits or f.optional)]
    ids: set[str] = set()
    try:
        for example in dataset.iterate(split.name):
            part.questions += 1
            ids.add(example.question_id)
            part.keys.update(dataset.description.keys(example))
            part.names.update(example.all_images)
    except InputError as error:
        part.problem = str(error)
        is_missing = not part.questions and any(file.find(dataset.root) is None for file in needed)
        part.state = "missing" if is_missing else "broken"
        return part
    part.twice = part.questions - len(ids)
    part.state = _state(part.questions, split.questions)
    return part


def _state(count: int, published: int | None) -> str:
    if published is None:
        return "read"
    return "complete" if count == published else "subset" if count < published else "larger"


def _files(description: Description, root: Path, read: set[str]) -> list[dict[str, Any]]:
    records = []
    for file in description.files:
        path = file.find(root)
        records.append(
            {
                "name": file.names[0],
                "what": file.what,
                "splits": list(file.splits),
                "found": None if path is None else str(path.relative_to(root)),
                "bytes": None if path is None else path.stat().st_size,
                "needed": not file.optional and not (file.splits and read.issuperset(file.splits)),
                "source": file.source,
            }
        )
    return records


def _split_record(part: _Part, at_hand: set[str]) -> dict[str, Any]:
    return {
        "split": part.split.name,
        "state": part.state,
        "questions": part.questions,
        "published": part.split.questions,
        "images": len(part.keys),
        "published_images": part.split.images,
        "photos_at_hand": sum(_stem(name) in at_hand for name in part.names),
        "duplicate_ids": part.twice,
        "problem": part.problem,
    }


def _shared(part: _Part, other: str, keys: set[str]) -> dict[str, Any] | None:
    """Return how many photos of `part` are also among `keys`, None if there are none."""
    common = part.keys & keys
    if not common:
        return None
    return {"split": part.split.name, "other": other, "images": len(common), "such_as": sorted(common)[:SHOWN]}


def _against(parts: Sequence[_Part], others: Iterable[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Return the photos shared with the splits of other data sets: of their main scheme, that of the first split."""
    found: list[dict[str, Any]] = []
    for name, root in others:
        other = Dataset(name, root)
        main = other.description.splits[0].scheme
        for theirs in (_read(other, split) for split in other.description.splits if split.scheme == main):
            if theirs.state == "broken":
                raise InputError(f"{name}: {theirs.problem}")
            label = f"{name}:{theirs.split.name}"
            found += [record for part in parts if (record := _shared(part, label, theirs.keys))]
    return found


def _stems(folders: Iterable[Path]) -> set[str]:
    """Return the names, without suffix, of all pictures below `folders`."""
    return {
        _stem(name)
        for folder in folders
        for _, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(PICTURE_SUFFIXES)
    }


def _stem(name: str) -> str:
    """Return a picture's name without folder and suffix: copies differ in both."""
    return Path(name).stem
