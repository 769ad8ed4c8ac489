"""What is known of a published data set: its files, where each comes from, its splits and their sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kvqa.data.example import Example
from kvqa.errors import InputError

COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})\.jpg")
FLICKR_NAME = re.compile(r"(\d+)(?:_[0-9a-z]+)?\.jpg")


@dataclass(frozen=True)
class File:
    """A file of a data set.

    Attributes:
        names: Accepted paths below the data set's folder, each plain or as `.gz`; the published one first.
        what: What it holds.
        source: Where it comes from: an address.
        splits: The splits that need it; () if it is of use to all or none in particular.
        optional: The splits can be read without it.
        direct: `source` is the file itself, or an archive with it, and may be fetched by anyone.
        sha256: Of what `source` gives, in hexadecimal digits; "" where nobody recorded it.
    """

    names: tuple[str, ...]
    what: str
    source: str
    splits: tuple[str, ...] = ()
    optional: bool = False
    direct: bool = False
    sha256: str = ""

    def find(self, root: Path) -> Path | None:
        """Return where it lies below `root`, None if it is not there."""
        for name in self.names:
            for path in (root / name, root / f"{name}.gz"):
                if path.is_file():
                    return path
        return None

    def locate(self, root: Path) -> Path:
        """Return where it lies below `root`.

        Raises:
            InputError: naming the file and its source, if it is not there.
        """
        path = self.find(root)
        if path is None:
            raise InputError(f"{root} has no {' or '.join(self.names)} ({self.what}); get it from {self.source}")
        return path


@dataclass(frozen=True)
class Split:
    """A split with its published size.

    Attributes:
        name: As on the command line.
        questions: Questions, statements or captioned pictures in it; None where no source was found for a number.
        images: Distinct pictures in it; None as above.
        scheme: Splits of one scheme are meant to share no picture; a subset of a split, or another way of splitting
            the same questions, is a scheme of its own.
    """

    name: str
    questions: int | None = None
    images: int | None = None
    scheme: str = ""


COCO_PHOTOS = "http://images.cocodataset.org/zips/"
"""Folder of train2014.zip, val2014.zip, test2015.zip, train2017.zip, val2017.zip, test2017.zip."""


def photo_keys(example: Example) -> tuple[str, ...]:
    """Return what identifies the photos of an example in this data set alone: their file names."""
    return example.all_images


def coco_keys(example: Example) -> tuple[str, ...]:
    """Return `coco:<number>` for names of COCO photos; the releases of 2014 and 2017 share the numbers."""
    return tuple(f"coco:{int(m[1])}" if (m := COCO_NAME.fullmatch(name)) else name for name in example.all_images)


def flickr_keys(example: Example) -> tuple[str, ...]:
    """Return `flickr:<photo id>` for names of Flickr8k and Flickr30k photos, with or without the secret."""
    return tuple(f"flickr:{m[1]}" if (m := FLICKR_NAME.fullmatch(name)) else name for name in example.all_images)


@dataclass(frozen=True)
class Description:
    """A data set.

    Attributes:
        name: As on the command line.
        title: Its name in print, with the paper.
        files: Its files.
        splits: Its splits.
        read: The reader: folder and split to examples, one by one in the order of the file.
        classes: Names of what `Example.label` counts, for data sets without choices.
        keys: What identifies the photos of an example, equal for the same photo in other data sets.
        photos: Where its photos come from.
        note: What the published numbers count, or what else a user should know.
    """

    name: str
    title: str
    files: tuple[File, ...]
    splits: tuple[Split, ...]
    read: Callable[[Path, str], Iterable[Example]]
    classes: tuple[str, ...] = ()
    keys: Callable[[Example], tuple[str, ...]] = photo_keys
    photos: str = ""
    note: str = ""

    def split(self, name: str) -> Split:
        """Return the split called `name`.

        Raises:
            InputError: if there is none.
        """
        for split in self.splits:
            if split.name == name:
                return split
        allowed = ", ".join(split.name for split in self.splits)
        raise InputError(f"{self.name} has no split {name!r}; use one of: {allowed}")
