"""Every data set by name, and the one way to open it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kvqa.data.aokvqa import AOKVQA
from kvqa.data.captions import COCO_CAPTIONS, FLICKR8K_CAPTIONS, FLICKR30K_CAPTIONS, VINVL_CAPTIONS
from kvqa.data.daquar import DAQUAR
from kvqa.data.example import Example
from kvqa.data.fvqa import COMBINED, CONCEPTS, RELEASE, ZERO_SHOT, FvqaDataset
from kvqa.data.fvqa_r import FVQA_R
from kvqa.data.gqa import GQA
from kvqa.data.kvqa_wikidata import KVQA
from kvqa.data.nlvr import NLVR
from kvqa.data.nlvr2 import NLVR2
from kvqa.data.okvqa import OKVQA
from kvqa.data.published import Description, File, Split, coco_keys
from kvqa.data.snli_ve import SNLI_VE
from kvqa.data.vcr import VCR
from kvqa.data.vqa2 import VQA2
from kvqa.errors import InputError
from kvqa.vision.regions import Regions

_ZS_F_VQA = "https://github.com/China-UK-ZSL/ZS-F-VQA/tree/main/data/KG_VQA/fvqa"


def _read_fvqa(root: Path, split: str) -> list[Example]:
    files = (COMBINED, RELEASE, CONCEPTS, ZERO_SHOT)
    stamps = tuple(path.stat().st_mtime_ns for name in files for path in sorted(root.glob(f"{name}*")))
    return _opened_fvqa(root, stamps).examples(split)


@lru_cache(maxsize=1)
def _opened_fvqa(root: Path, stamps: tuple[int, ...]) -> FvqaDataset:
    """Return the data set, which reads its files once for all of its 21 splits; `stamps` tell changed files."""
    return FvqaDataset(root)


FVQA = Description(
    name="fvqa",
    title="FVQA (Wang et al. 2018, arXiv 1606.05433)",
    files=(
        File(("all_qs_dict_release.json",), "questions with the annotators' answers", _ZS_F_VQA),
        File(("all_qs_dict_release_combine.json",), "questions with facts spelled out", _ZS_F_VQA),
        File(
            ("visual_concepts.jsonl",),
            "what several detectors saw, one picture a line",
            "https://github.com/afzaalhussain50/fvqa-features-generation, written as one JSON object a line",
        ),
        *(
            File((f"Name_Lists/{part}_list_{number}.txt",), "a list of pictures", _ZS_F_VQA, (f"{part}{number}",))
            for part in ("train", "test")
            for number in range(5)
        ),
        File(
            ("zs_split_ids.json",),
            "questions of the zero-shot splits",
            _ZS_F_VQA,
            tuple(f"zs_{part}{number}" for part in ("train", "test") for number in range(5)),
        ),
        File(("facts.tsv",), "distinct gold facts, for the knowledge base", _ZS_F_VQA, optional=True),
        File(
            ("new_dataset_release.zip",),
            "the first release: photos and the five splits",
            "https://www.dropbox.com/s/iyz6l7jhbt6jb7q/new_dataset_release.zip?dl=1",
            optional=True,
            direct=True,
        ),
    ),
    splits=(
        Split("all", 5_826, 2_190, scheme="all"),
        *(Split(f"{part}{number}", scheme=str(number)) for number in range(5) for part in ("train", "test")),
        # seen and unseen differ in answers, not in pictures: each is a scheme of its own
        *(
            Split(f"zs_{part}{number}", scheme=f"zs_{part}{number}")
            for number in range(5)
            for part in ("train", "test")
        ),
    ),
    read=_read_fvqa,
    keys=coco_keys,
    photos="in new_dataset_release.zip; the names are those of COCO and ImageNet",
    note="a split has 2,927 questions for training and 2,899 for testing on average; zero-shot splits share pictures",
)

DATASETS: dict[str, Description] = {
    "vqa2": VQA2,
    "okvqa": OKVQA,
    "aokvqa": AOKVQA,
    "fvqa": FVQA,
    "kvqa": KVQA,
    "fvqa_r": FVQA_R,
    "gqa": GQA,
    "daquar": DAQUAR,
    "nlvr": NLVR,
    "nlvr2": NLVR2,
    "snli_ve": SNLI_VE,
    "vcr": VCR,
    "coco_captions": COCO_CAPTIONS,
    "flickr8k": FLICKR8K_CAPTIONS,
    "flickr30k": FLICKR30K_CAPTIONS,
    "vinvl_captions": VINVL_CAPTIONS,
}
"""Name on the command line to reader and description."""


def describe(name: str) -> Description:
    """Return the description of a data set.

    Raises:
        InputError: if there is no data set of that name.
    """
    if name not in DATASETS:
        raise InputError(f"there is no data set {name!r}; use one of: {', '.join(DATASETS)}")
    return DATASETS[name]


class Dataset:
    """A data set in a folder.

    Args:
        name: A key of `DATASETS`.
        root: Folder with the published files.
        regions: What was seen in the pictures, by file name; where it has a picture, this replaces what the data set
            itself brings.

    Raises:
        InputError: if there is no data set of that name, or no such folder.
    """

    def __init__(self, name: str, root: str | Path, *, regions: Mapping[str, Regions] | None = None) -> None:
        self.description = describe(name)
        self.root = Path(root)
        self.seen = regions or {}
        if not self.root.is_dir():
            raise InputError(f"{self.root} is no folder; give the folder with the files of {name}")

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits."""
        return tuple(split.name for split in self.description.splits)

    def iterate(self, split: str) -> Iterator[Example]:
        """Yield the examples of a split in the order of its files.

        Raises:
            InputError: if there is no such split, a file is missing, or a record is broken.
        """
        self.description.split(split)
        for example in self.description.read(self.root, split):
            yield self._with_regions(example) if self.seen else example

    def examples(self, split: str) -> list[Example]:
        """Return the examples of a split in the order of its files.

        Raises:
            InputError: as `iterate`.
        """
        return list(self.iterate(split))

    def images(self, split: str) -> list[str]:
        """Return the file names of the pictures of a split, each once, in order of appearance.

        Raises:
            InputError: as `iterate`.
        """
        return list(dict.fromkeys(name for example in self.iterate(split) for name in example.all_images))

    def _with_regions(self, example: Example) -> Example:
        first, *more = (
            self.seen.get(name, own) for name, own in zip(example.all_images, example.all_regions, strict=True)
        )
        return replace(example, regions=first, more_regions=tuple(more))
