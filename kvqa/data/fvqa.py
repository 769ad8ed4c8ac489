"""FVQA: questions about photos that one everyday fact answers (Wang et al. 2018, arXiv 1606.05433).

The folder holds, each plain or as `.gz`:

- `all_qs_dict_release.json`: question id to a record with the answer as the annotator wrote it;
- `all_qs_dict_release_combine.json`: the same ids; `fact` as head, relation, tail, the answer in the spelling of the
  knowledge base (both from China-UK-ZSL/ZS-F-VQA);
- `visual_concepts.jsonl`: what several detectors saw, one picture a line;
- `Name_Lists/train_list_0.txt` ... `test_list_4.txt`: the pictures of the five official splits;
- `zs_split_ids.json`, where wanted: the questions of the five zero-shot splits, whose two parts share no answer
  (Chen et al. 2021, arXiv 2107.05348; China-UK-ZSL/ZS-F-VQA).
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kb.readers.fvqa import _fact as clean_fact
from kb.readers.reject import Reject
from kvqa.data.example import Example, Fact
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions, check_regions

RELEASE = "all_qs_dict_release.json"
COMBINED = "all_qs_dict_release_combine.json"
CONCEPTS = "visual_concepts.jsonl"
ZERO_SHOT = "zs_split_ids.json"
ZERO_SHOT_SPLITS = {
    **{f"zs_train{number}": f"train_seen_data/{number}" for number in range(5)},
    **{f"zs_test{number}": f"test_unseen_data/{number}" for number in range(5)},
}
"""Zero-shot split to its key in the file."""
SPLITS = (*(f"{part}{number}" for part in ("train", "test") for number in range(5)), "all", *ZERO_SHOT_SPLITS)

OBJECT_THRESHOLD = 0.1
"""Detections below this score are noise more often than not and are left out."""
TAG_SCORE = 0.5
"""Score of a label that the other two detectors give without one."""
ACTION_SCORE = 0.3
"""Score of a human-object action; they are the least reliable of the labels."""
ACTION_OBJECT_SCORE = 0.3
"""An action is kept only if its object was detected with at least this score."""
CAPTION_SCALE = 4.0
"""Caption scores are unbounded (about -0.6 to 16); sigmoid(score / 4) brings them to 0.46 ... 0.98."""


class FvqaDataset:
    """The questions of FVQA; files are read when they are first asked for.

    Args:
        root: Folder with the layout above.

    Raises:
        InputError: if a file of the layout is missing.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        for name in (RELEASE, COMBINED, CONCEPTS):
            _locate(self.root, name)

    def examples(self, split: str) -> list[Example]:
        """Return the questions on the pictures of `split` (`"train0"` ... `"test4"` or `"all"`), in file order.

        The zero-shot splits (`"zs_train0"` ... `"zs_test4"`) are lists of questions, not of pictures.

        Raises:
            InputError: if there is no such split, or a file is missing or broken.
        """
        if split in ZERO_SHOT_SPLITS:
            return self._zero_shot(split)
        if split == "all":
            return list(self._examples)
        wanted = set(self.images(split))
        return [example for example in self._examples if example.image in wanted]

    def images(self, split: str) -> list[str]:
        """Return the picture names of `split` in the order of its list, or of all questions in order of appearance.

        Raises:
            InputError: as `examples`.
        """
        if split not in SPLITS:
            raise InputError(f"FVQA has no split {split!r}; use one of: {', '.join(SPLITS)}")
        if split == "all" or split in ZERO_SHOT_SPLITS:
            return list(dict.fromkeys(example.image for example in self.examples(split)))
        path = _locate(self.root, f"Name_Lists/{split[:-1]}_list_{split[-1]}.txt")
        return [line.strip() for line in _lines(path) if line.strip()]

    def _zero_shot(self, split: str) -> list[Example]:
        """Return the questions of a zero-shot split; ids that the question files lack are an error."""
        path = _locate(self.root, ZERO_SHOT)
        key = ZERO_SHOT_SPLITS[split]
        wanted = _object(path).get(key)
        if not isinstance(wanted, list):
            raise InputError(f"{path} has no list {key}; fetch the file again")
        by_id = {example.question_id: example for example in self._examples}
        unknown = [number for number in wanted if number not in by_id]
        if unknown:
            raise InputError(f"{path}, {key}: {len(unknown)} questions such as {unknown[0]} are not in {COMBINED}")
        kept = set(wanted)
        return [example for number, example in by_id.items() if number in kept]

    @cached_property
    def regions(self) -> Mapping[str, Regions]:
        """What is seen in each picture, by picture name; also of pictures without a question."""
        path = _locate(self.root, CONCEPTS)
        found = {}
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                try:
                    regions = _regions(json.loads(line))
                    check_regions(regions)
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise _broken(path, f"line {number}", error) from None
                found[regions.image] = regions
        return found

    @cached_property
    def _examples(self) -> list[Example]:
        """All questions, in the order of the combined file."""
        release, combined = (_object(_locate(self.root, name)) for name in (RELEASE, COMBINED))
        path = _locate(self.root, COMBINED)
        examples = []
        for question_id, record in combined.items():
            try:
                examples.append(self._example(question_id, record, release[question_id]))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise _broken(path, f"question {question_id}", error) from None
        return examples

    def _example(self, question_id: str, record: Mapping[str, Any], release: Mapping[str, Any]) -> Example:
        """Build one Example from its records in the combined and in the release file."""
        fact = _gold_fact(record)
        image = record["img_file"]
        if image not in self.regions:
            raise InputError(f"its picture {image} has no line in {CONCEPTS}; add one")
        return Example(
            question_id=question_id,
            question=record["question"].strip(),
            image=image,
            regions=self.regions[image],
            answers=tuple(dict.fromkeys([record["answer"], release["answer"]])),
            facts=(fact,),
            meta={
                "answer_source": release["ans_source"],
                "visual_concept": release["visual_concept"],
                "kb_source": record["kb_source"],
                "relation": fact[1],
            },
        )


def _gold_fact(record: Mapping[str, Any]) -> Fact:
    """Return the key of the record's fact, cleaned as the reader of the knowledge base cleans it."""
    head, relation, tail = record["fact"]
    triple = clean_fact(head, relation, tail, record.get("fact_surface"), "fvqa", 1, str(record["fact"]))
    if isinstance(triple, Reject):
        raise InputError(f"its fact {triple.text} cannot be used ({triple.reason}); correct it")
    return triple.key


def _regions(record: Mapping[str, Any]) -> Regions:
    """Turn one line of `visual_concepts.jsonl` into Regions.

    The file does not give the size of the picture: width and height are the largest corner of all its detections,
    a lower bound that is close where something reaches the right and the lower edge. `places` is not used: its labels
    do not fit the pictures.
    """
    detections = record["det"]
    objects = [
        Region(label, float(score), (float(x1), float(y1), float(x2), float(y2)))
        for label, score, x1, y1, x2, y2 in detections
        if score >= OBJECT_THRESHOLD
    ]
    known = {region.label for region in objects}
    tags = [label for label in dict.fromkeys([*record["coco"], *record["imagenet"]]) if label not in known]
    captions = [
        Region(text, 1 / (1 + math.exp(-score / CAPTION_SCALE)), None, "caption")
        for text, score in record["densecap"]
        if text.strip()
    ]
    return Regions(
        image=record["image"],
        width=max([1, *(math.ceil(row[4]) for row in detections)]),
        height=max([1, *(math.ceil(row[5]) for row in detections)]),
        regions=(
            *objects,
            *(Region(label, TAG_SCORE, None, "tag") for label in tags),
            *(Region(label, ACTION_SCORE, None, "tag") for label in _actions(record["hoi"], objects)),
            *captions,
        ),
        image_feature=np.array(record["feat300"], dtype=np.float32),
        detector="fvqa",
    )


def _actions(pairs: list[str], objects: list[Region]) -> list[str]:
    """Return the human-object actions (`"cell_phone talk_on"`) that the detections bear out, as plain words.

    The actions' objects fit the detections of the same picture hardly better (9 %) than those of another one (5 %),
    so an action counts only where its object was detected; "no interaction" says nothing.
    """
    seen = {region.label for region in objects if region.score >= ACTION_OBJECT_SCORE}
    kept = []
    for pair in dict.fromkeys(pairs):
        thing, _, action = pair.partition(" ")
        if thing.replace("_", " ") in seen and action not in ("", "no_interaction"):
            kept.append(pair.replace("_", " "))
    return kept


def _locate(root: Path, name: str) -> Path:
    """Return `root/name` or `root/name.gz`, whichever exists."""
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    layout = f"{RELEASE}, {COMBINED}, {CONCEPTS} (each plain or .gz) and Name_Lists/"
    raise InputError(f"{root} has no {name}; an FVQA folder holds {layout}")


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, unpacking `.gz`."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
            yield from stream
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); fetch the file again") from None


def _object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`."""
    try:
        content = json.loads("".join(_lines(path)))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not whole JSON ({error}); fetch the file again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}; expected an object by question id")
    return content


def _broken(path: Path, place: str, error: Exception) -> InputError:
    """Return the error for a record that is not as the layout says."""
    reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
    return InputError(f"{path}, {place}: {reason}")
