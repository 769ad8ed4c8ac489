"""FVQA-R: FVQA in the form of VCR, four answers and four reasons to each question.

A reason is a fact put into words. Distractors are the answers and facts of other questions, assigned as VCR does it
(Zellers et al. 2019, arXiv 1811.10830, section 4): as relevant as possible, yet unlike the truth, and each true text
serves equally often as a distractor, so that a choice by itself says nothing.

The folder holds `train.jsonl`, `val.jsonl`, `test.jsonl` in VCR's form and `vcr1images/` with boxes for each picture.
Beyond VCR, a record has `fact` and `question_id`, and the file of a picture `tags`, `captions` and `scores`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kb.relations import verbalise
from kvqa.data.example import Example
from kvqa.data.files import json_lines, open_text, record_at
from kvqa.data.published import Description, File, Split, coco_keys
from kvqa.data.vcr import IMAGES, read_vcr
from kvqa.errors import InputError
from kvqa.metrics import normalise_answer
from kvqa.vision.regions import Region
from retrieval.manifest import write_text_safely

SPLITS = ("train", "val", "test")
CHOICES = 4
NEVER = -1e4
"""Weight of what must not be assigned."""

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Matching:
    """How distractors are chosen.

    Attributes:
        answer_unlike, rationale_unlike: λ of log P(relevant) + λ log(1 - P(like the truth)); small is hard.
        seen: Weight of how well an answer fits what is seen, beside how well it fits the question. VCR puts the
            objects of this picture into the distractors; here they are chosen so.
        sharpness: Of P(relevant), a logistic function of the standardised likeness.
        fold: About how many questions exchange their texts.
    """

    answer_unlike: float = 0.1
    rationale_unlike: float = 0.01
    seen: float = 1.0
    sharpness: float = 2.0
    fold: int = 450


def rationale(example: Example) -> str:
    """Return the gold fact of an example as a sentence."""
    return verbalise(*example.facts[0])


def divide(training: Sequence[Example], *, share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split training questions by picture; about `share` of the pictures go to the second part."""
    images = sorted({example.image for example in training})
    chosen = set(random.Random(f"fvqa-r/{seed}").sample(images, round(share * len(images))))
    return [e for e in training if e.image not in chosen], [e for e in training if e.image in chosen]


def folds(examples: Sequence[Example], *, size: int, seed: int) -> list[list[Example]]:
    """Divide questions by picture into parts of about `size` questions."""
    images = sorted({example.image for example in examples})
    random.Random(f"fvqa-r folds/{seed}").shuffle(images)
    count = max(1, round(len(examples) / size))
    place = {image: number % count for number, image in enumerate(images)}
    parts: list[list[Example]] = [[] for _ in range(count)]
    for example in examples:
        parts[place[example.image]].append(example)
    return [part for part in parts if part]


def assign(weights: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.int64]:
    """Return three distractors (N, 3) for each of N items: rows of the items whose text is taken.

    Each round is the best assignment of all texts to all items, so every item gives its text away three times. An
    item never gets its own text, nor one twice.

    Args:
        weights: (N, N), how good text j is for item i.
        texts: What the items would give.

    Raises:
        InputError: if texts are too few or too alike for that.
    """
    from scipy.optimize import linear_sum_assignment

    names = np.array(texts)
    weights = np.where(names[:, None] == names[None], NEVER, weights)
    taken = np.zeros((len(texts), 0), dtype=np.int64)
    for _ in range(CHOICES - 1):
        rows, columns = linear_sum_assignment(weights, maximize=True)
        if (weights[rows, columns] <= NEVER / 2).any():
            raise InputError(f"{len(texts)} questions share too few answers and facts for three distractors each")
        taken = np.concatenate([taken, columns[:, None].astype(np.int64)], axis=1)
        weights[names[columns][:, None] == names[None]] = NEVER
    return taken


def answer_weights(examples: Sequence[Example], vectors: Vectors, matching: Matching) -> NDArray[np.float64]:
    """Return how good (N, N) the answer of question j is as a distractor of question i."""
    from kvqa.data.collate import distinct_concepts  # brings torch, which the reader does without

    question, answer = vectors([e.question for e in examples]), vectors([e.answers[0] for e in examples])
    relevant = _standard(question @ answer.T)
    if matching.seen:
        seen = [[r.label for r in distinct_concepts(e.regions, limit=24)] for e in examples]
        likeness = [(vectors(names) @ answer.T).max(0) if names else np.zeros(len(examples)) for names in seen]
        relevant = relevant + matching.seen * _standard(np.stack(likeness))
    weights = _log_chance(relevant, matching.sharpness) + matching.answer_unlike * _log_unlike(answer)
    return _without_right(weights, examples)


def rationale_weights(examples: Sequence[Example], vectors: Vectors, matching: Matching) -> NDArray[np.float64]:
    """Return how good (N, N) the fact of question j is as a distractor of question i with its right answer."""
    asked = vectors([e.question for e in examples]) + vectors([e.answers[0] for e in examples])
    facts = vectors([rationale(e) for e in examples])
    relevant = _standard(asked / np.linalg.norm(asked, axis=1, keepdims=True) @ facts.T)
    return _log_chance(relevant, matching.sharpness) + matching.rationale_unlike * _log_unlike(facts)


def _standard(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / max(1e-9, float(values.std())), dtype=np.float64)


def _log_chance(values: NDArray[np.float64], sharpness: float) -> NDArray[np.float64]:
    return -np.logaddexp(0.0, -sharpness * _standard(values))


def _log_unlike(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.log(np.clip(1.0 - (vectors @ vectors.T).astype(np.float64), 1e-4, 1.0))


def _without_right(weights: NDArray[np.float64], examples: Sequence[Example]) -> NDArray[np.float64]:
    """Rule out answers that may be right as well: some question of the fold has the same fact of them."""
    other: dict[tuple[str, str], set[str]] = {}
    for head, relation, tail in {fact for e in examples for fact in e.facts[:1]}:
        other.setdefault((relation, tail), set()).add(head)
        other.setdefault((head, relation), set()).add(tail)
    answers = [e.answers[0] for e in examples]
    for row, example in enumerate(examples):
        head, relation, tail = example.facts[0]
        known = other[relation, tail] | other[head, relation]
        spellings = {normalise_answer(text) for text in example.answers}
        wrong = [a in known or normalise_answer(a) in spellings for a in answers]
        weights[row, np.array(wrong)] = NEVER
    return weights


def make_split(
    examples: Sequence[Example], split: str, vectors: Vectors, matching: Matching, *, seed: int
) -> list[dict[str, Any]]:
    """Return the records of a split in VCR's form, in the order of `examples`.

    Raises:
        InputError: if a fold has too few distinct answers or facts.
    """
    rng = random.Random(f"fvqa-r/{split}/{seed}")
    records = {}
    for number, part in enumerate(folds(examples, size=matching.fold, seed=seed)):
        answers, reasons = [e.answers[0] for e in part], [rationale(e) for e in part]
        false_answers = assign(answer_weights(part, vectors, matching), answers)
        false_reasons = assign(rationale_weights(part, vectors, matching), reasons)
        for row, example in enumerate(part):
            offered = _shuffled(answers, row, false_answers[row], rng), _shuffled(reasons, row, false_reasons[row], rng)
            records[example.question_id] = _record(example, split, f"{split}-{number}", *offered)
    return [records[example.question_id] for example in examples]


def _shuffled(texts: Sequence[str], row: int, others: NDArray[np.int64], rng: random.Random) -> tuple[list[str], int]:
    """Return the four texts in a random order, and where the right one is."""
    order = [row, *map(int, others)]
    rng.shuffle(order)
    return [texts[i] for i in order], order.index(row)


def _record(
    example: Example, split: str, fold: str, answers: tuple[list[str], int], reasons: tuple[list[str], int]
) -> dict[str, Any]:
    objects = [region for region in example.regions.regions if region.kind == "object"]
    place = {region.label: number for number, region in reversed(list(enumerate(objects)))}
    return {
        "annot_id": f"{split}-{example.question_id}",
        "question_id": example.question_id,
        "img_fn": example.image,
        "metadata_fn": f"{Path(example.image).stem}.json",
        "objects": [region.label for region in objects],
        "question": tokens(example.question, place),
        "answer_choices": [tokens(text, place) for text in answers[0]],
        "answer_label": answers[1],
        "rationale_choices": [tokens(text, place) for text in reasons[0]],
        "rationale_label": reasons[1],
        "match_fold": fold,
        "fact": list(example.facts[0]),
    }


def tokens(text: str, place: dict[str, int]) -> list[str | list[int]]:
    """Return a text in VCR's form: the first object of a label stands for it wherever the text names it.

    Persons stay words: VCR's reader would give them names.
    """
    words = text.split()
    out: list[str | list[int]] = []
    at = 0
    while at < len(words):
        for size in (2, 1):
            label = " ".join(words[at : at + size])
            if len(words) - at >= size and label in place and label != "person":
                out.append([place[label]])
                break
        else:
            size = 1
            out.append(words[at])
        at += size
    return out


def picture_record(example: Example) -> dict[str, Any]:
    """Return the file of a picture in VCR's form, with tags and captions beside it."""
    regions = example.regions
    objects = [region for region in regions.regions if region.kind == "object"]
    return {
        "boxes": [[*(region.box or ()), region.score] for region in objects],
        "segms": [[] for _ in objects],
        "names": [region.label for region in objects],
        "width": regions.width,
        "height": regions.height,
        "tags": [[region.label, region.score] for region in regions.regions if region.kind == "tag"],
        "captions": [[region.label, region.score] for region in regions.regions if region.kind == "caption"],
    }


def write_fvqa_r(
    parts: dict[str, Sequence[Example]], out: Path, vectors: Vectors, matching: Matching, *, seed: int
) -> dict[str, int]:
    """Write FVQA-R into `out`; return the number of questions by split.

    Args:
        parts: Questions with a gold fact for each of `SPLITS`; no picture in two of them.
        vectors: Unit sentence vectors, which judge what is relevant and what is alike.

    Raises:
        InputError: if a picture is in two splits, or distractors run out.
    """
    owner: dict[str, str] = {}
    for split, examples in parts.items():
        for example in examples:
            if owner.setdefault(example.image, split) != split:
                raise InputError(f"{example.image} is in {owner[example.image]} and in {split}; divide by picture")
    (out / IMAGES).mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, examples in parts.items():
        records = make_split(examples, split, vectors, matching, seed=seed)
        for example in {e.image: e for e in examples}.values():
            path = out / IMAGES / f"{Path(example.image).stem}.json"
            write_text_safely(path, json.dumps(picture_record(example)) + "\n")
        write_text_safely(out / f"{split}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        counts[split] = len(records)
    return counts


def read_fvqa_r(root: Path, split: str) -> Iterator[Example]:
    """Yield the items of a split as VCR's reader gives them, with all objects, tags, captions and the gold fact.

    Raises:
        InputError: if a file is missing or a record broken.
    """
    path = ITEMS[split].locate(root)
    for example, (place, record) in zip(read_vcr(root, split, only_mentioned=False), json_lines(path), strict=True):
        with record_at(path, place):
            head, relation, tail = record["fact"]
            extra = _words_seen(root / IMAGES / record["metadata_fn"])
        regions = replace(example.regions, regions=(*example.regions.regions, *extra), detector="fvqa")
        yield replace(example, regions=regions, facts=((head, relation, tail),))


def _words_seen(path: Path) -> list[Region]:
    """Return the tags and captions in the file of a picture."""
    if not path.is_file():
        return []
    with open_text(path) as stream:
        record = json.load(stream)
    found = [Region(label, score, None, "tag") for label, score in record.get("tags", [])]
    found += [Region(label, score, None, "caption") for label, score in record.get("captions", [])]
    if not all(math.isfinite(region.score) for region in found):
        raise InputError(f"{path} holds a score that is not finite; make the data set again")
    return found


ITEMS = {
    split: File((f"{split}.jsonl",), f"questions of {split}", "python scripts/make_fvqa_r.py", (split,))
    for split in SPLITS
}

FVQA_R = Description(
    name="fvqa_r",
    title="FVQA-R, made of FVQA (Wang et al. 2018, arXiv 1606.05433) in the form of VCR",
    files=tuple(ITEMS.values()),
    splits=tuple(Split(split) for split in SPLITS),
    read=read_fvqa_r,
    keys=coco_keys,
    photos="those of FVQA",
    note="made by scripts/make_fvqa_r.py; its size depends on the questions of FVQA that are at hand",
)
