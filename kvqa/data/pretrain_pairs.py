"""Image-text pairs for pretraining, from the readers of the data sets: a text and its picture, seen or as a photo.

Three lists of sources say what is read. `seen`: where what is seen in a picture comes from. `texts`: where texts come
from; a text is used if something is seen in its picture. `leave_out`: evaluation splits, whose pictures are dropped
whatever source they come from. Pictures are recognised across data sets (COCO number, Flickr id, or file name).
For models that read pixels, folders of photos take the place of `seen`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kb.relations import verbalise
from kvqa.data.datasets import DATASETS, Dataset, describe
from kvqa.data.example import Example, unseen
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.published import COCO_NAME, FLICKR_NAME
from kvqa.errors import InputError
from kvqa.vision.regions import Regions, read_regions

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
REGION_FILES = "regions"
"""Name of a source in `seen` that is a folder of region files, `<photo>.regions.json`."""


@dataclass(frozen=True)
class Source:
    """A split of a data set, as it stands in a config.

    Attributes:
        data: Name of a data set (`kvqa data list`); in `seen` also `regions`, a folder of region files.
        folder: Below the root that the command is given, or absolute.
        split: Of the data set; nothing for `regions`.
    """

    data: str
    folder: str
    split: str = ""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with it."""
        if self.data == REGION_FILES:
            return
        if self.data not in DATASETS:
            yield f"there is no data set {self.data!r}; use one of: {', '.join(DATASETS)}"
        elif self.split not in (names := [split.name for split in describe(self.data).splits]):
            yield f"{self.data} has no split {self.split!r}; use one of: {', '.join(names)}"

    def __str__(self) -> str:
        return f"{self.data} {self.split}".strip()


@dataclass(frozen=True)
class Pair:
    """A text and its picture.

    Attributes:
        text: A question, or a sentence about the picture or a part of it.
        picture: Identity of the picture, the same in all data sets.
        regions: Objects and tags seen in it; no captions, which may be the text itself. Of a photo none, and the
            photo's path as `regions.image`.
        answers: Of a question: answer and weight.
        facts: Sentences that belong to it: gold facts of a question, the picture's other sentences for a sentence.
        source: Where the text comes from.
    """

    text: str
    picture: str
    regions: Regions
    answers: tuple[tuple[str, float], ...] = ()
    facts: tuple[str, ...] = ()
    source: str = ""


@dataclass
class SourceReport:
    """What became of the texts of a source: used, or why not."""

    used: int = 0
    evaluation: int = 0
    unseen: int = 0
    double: int = 0

    def __str__(self) -> str:
        return (
            f"{self.used} texts used, {self.evaluation} left out with pictures of evaluation splits, "
            f"{self.unseen} of pictures that are not at hand or in which nothing was seen, {self.double} doubles"
        )


@dataclass
class Pairs:
    """All pairs, with an account.

    Attributes:
        pairs: In the order of the sources.
        report: By source of texts.
        left_out: Number of pictures of the evaluation splits.
        dropped: Pictures of those that a source had.
    """

    pairs: list[Pair] = field(default_factory=list)
    report: dict[str, SourceReport] = field(default_factory=dict)
    left_out: int = 0
    dropped: set[str] = field(default_factory=set)

    @property
    def pictures(self) -> list[str]:
        """The pictures that are used, sorted."""
        return sorted({pair.picture for pair in self.pairs})


def gather_pairs(
    root: Path,
    *,
    seen: Sequence[Source],
    texts: Sequence[Source],
    leave_out: Sequence[Source] = (),
    also_leave_out: Iterable[str] = (),
) -> Pairs:
    """Read the pairs of all sources.

    Args:
        root: Folder that the sources' folders are in.
        seen: Where several have a picture, the first counts.
        texts: Questions, captions, and captions among the regions of an example.
        leave_out: Evaluation splits.
        also_leave_out: Further pictures, by identity.

    Raises:
        InputError: if a source is missing or broken, or no pair is left.
    """
    banned = {key for source in leave_out for key in _pictures(root, source)} | set(also_leave_out)
    return _gather(root, texts, _seen(root, seen, banned), banned, "seen")


def gather_photos(
    root: Path,
    *,
    photos: Sequence[str],
    texts: Sequence[Source],
    leave_out: Sequence[Source] = (),
) -> Pairs:
    """Read the pairs of texts and photos of all sources; the path of a photo is the `image` of its pair's regions.

    Args:
        root: Folder that all other folders are in.
        photos: Folders, searched to any depth; where several have a photo, the first counts.
        texts, leave_out: As of `gather_pairs`.

    Raises:
        InputError: if a folder or source is missing or broken, or no pair is left.
    """
    banned = {key for source in leave_out for key in _pictures(root, source)}
    known: dict[str, Regions] = {}
    for folder in photos:
        if not (root / folder).is_dir():
            raise InputError(f"{root / folder} is no folder; name a folder of photos")
        for path in sorted((root / folder).rglob("*")):
            if path.suffix.lower() in PHOTO_SUFFIXES:
                known.setdefault(picture_key(path.name), unseen(str(path)))
    return _gather(root, texts, known, banned, "photos")


def gather_features(
    root: Path, images: Iterable[str], *, texts: Sequence[Source], leave_out: Sequence[Source] = ()
) -> Pairs:
    """Read the pairs of texts and pictures that have features; the id of an image is the `image` of its pair's regions.

    Args:
        images: Ids: file names with or without the end, or the numbers of COCO photos.

    Raises:
        InputError: if a source is missing or broken, or no pair is left.
    """
    banned = {key for source in leave_out for key in _pictures(root, source)}
    known: dict[str, Regions] = {}
    for image in images:
        name = f"coco:{int(image)}" if image.isdecimal() else image if Path(image).suffix else f"{image}.jpg"
        known.setdefault(picture_key(name), unseen(image))
    return _gather(root, texts, known, banned, "features")


def _gather(
    root: Path, texts: Sequence[Source], known: Mapping[str, Regions], banned: set[str], pictures: str
) -> Pairs:
    """Return the texts whose pictures are known, with what is known of them; `pictures` is the config's word for it."""
    found = Pairs(left_out=len(banned))
    taken: set[tuple[str, str]] = set()
    for source in texts:
        report = found.report.setdefault(str(source), SourceReport())
        for pair in _texts(root, source):
            if pair.picture in banned:
                report.evaluation += 1
                found.dropped.add(pair.picture)
            elif pair.picture not in known:
                report.unseen += 1
            elif (pair.picture, pair.text) in taken:
                report.double += 1
            else:
                report.used += 1
                taken.add((pair.picture, pair.text))
                found.pairs.append(replace(pair, regions=known[pair.picture]))
    if not found.pairs:
        account = "; ".join(f"{name}: {report}" for name, report in found.report.items())
        raise InputError(f"no image-text pair is left ({account}); give more sources in {pictures} or texts")
    return found


def picture_key(name: str) -> str:
    """Return the identity of a photo by its file name: COCO and Flickr photos are the same in all data sets."""
    if match := COCO_NAME.fullmatch(name):
        return f"coco:{int(match[1])}"
    if match := FLICKR_NAME.fullmatch(name):
        return f"flickr:{match[1]}"
    return name


def common_labels(pairs: Sequence[Pair], *, limit: int) -> tuple[str, ...]:
    """Return the labels of most pictures, commonest first."""
    pictures = {pair.picture: pair.regions for pair in pairs}
    counts = Counter(label for regions in pictures.values() for label in {r.label for r in regions.regions})
    return _commonest(counts, limit)


def common_answers(pairs: Sequence[Pair], *, limit: int, at_least: int) -> tuple[str, ...]:
    """Return the answers that are the best one of at least `at_least` questions, commonest first."""
    best = (max(pair.answers, key=lambda item: item[1])[0] for pair in pairs if pair.answers)
    return _commonest(Counter({a: n for a, n in Counter(best).items() if n >= at_least}), limit)


def _commonest(counts: Counter[str], limit: int) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:limit])


def _folder(root: Path, source: Source) -> Path:
    return root / source.folder  # an absolute folder replaces the root


def _examples(root: Path, source: Source) -> Iterable[Example]:
    return Dataset(source.data, _folder(root, source)).iterate(source.split)


def _pictures(root: Path, source: Source) -> Iterator[str]:
    """Yield the pictures of a split; those of an image split of FVQA by its list, with or without a question."""
    if source.data == "fvqa":
        yield from map(picture_key, FvqaDataset(_folder(root, source)).images(source.split))
        return
    for example in _examples(root, source):
        yield from map(picture_key, example.all_images)


def _seen(root: Path, sources: Sequence[Source], banned: set[str]) -> dict[str, Regions]:
    found: dict[str, Regions] = {}
    for source in sources:
        for name, regions in _regions(root, source):
            key = picture_key(name)
            if key not in banned and key not in found:
                kept = tuple(region for region in regions.regions if region.kind != "caption")
                if kept:
                    found[key] = replace(regions, regions=kept, features=None)
    return found


def _regions(root: Path, source: Source) -> Iterator[tuple[str, Regions]]:
    folder = _folder(root, source)
    if source.data == REGION_FILES:
        paths = sorted(folder.glob("*.regions.json"))
        if not paths:
            raise InputError(f"{folder} holds no region files (*.regions.json); make them: scripts/detect_regions.py")
        for path in paths:
            yield path.name.removesuffix(".regions.json"), read_regions(path)
    elif source.data == "fvqa" and source.split == "all":
        yield from FvqaDataset(folder).regions.items()  # also pictures without a question
    else:
        for example in _examples(root, source):
            yield example.image, example.regions


def _texts(root: Path, source: Source) -> Iterator[Pair]:
    """Yield every text of a source, with regions still to be found."""
    name = str(source)
    sentences: dict[str, dict[str, None]] = {}
    if source.data == "fvqa" and source.split == "all":  # sentences of all pictures; questions only of train splits
        for image, regions in FvqaDataset(_folder(root, source)).regions.items():
            sentences.setdefault(picture_key(image), {}).update(dict.fromkeys(_captions(regions)))
    else:
        for example in _examples(root, source):
            key = picture_key(example.image)
            if example.question and len(example.all_images) == 1:
                facts = tuple(verbalise(*fact) for fact in example.facts)
                yield Pair(example.question, key, unseen(example.image), _answers(example), facts, name)
            written = [*example.captions, *_captions(example.regions)]
            sentences.setdefault(key, {}).update(dict.fromkeys(written))
    for key, written_of in sentences.items():
        every = tuple(written_of)
        for number, text in enumerate(every):
            others = (*every[:number], *every[number + 1 :])
            yield Pair(text, key, unseen(key), (), others, f"{name} sentences")


def _captions(regions: Regions) -> list[str]:
    return [region.label for region in regions.regions if region.kind == "caption"]


def _answers(example: Example) -> tuple[tuple[str, float], ...]:
    """Return answers with weights, by people's votes where there are any."""
    weights: Mapping[str, float]
    if example.human_answers:
        weights = Counter(map(_clean, example.human_answers))
    elif example.answer_scores:
        weights = {_clean(a): s for a, s in zip(example.answers, example.answer_scores, strict=True)}
    else:
        weights = {_clean(example.answers[-1]): 1.0} if example.answers else {}
    return tuple((answer, float(weight)) for answer, weight in weights.items() if answer and weight > 0)


def _clean(answer: str) -> str:
    return " ".join(answer.lower().strip(" .").split())
