"""From examples of any data set to the batches of its task: one picture, two pictures, or offered answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from kvqa.data.collate import Batch, Collator
from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.scoring.vqa_accuracy import leave_one_out
from kvqa.scoring.vqa_normalise import normalise

OF_PICTURES = ("labels", "geometry", "scores", "kinds", "region_mask", "image_feature", "has_image_feature")


@dataclass(frozen=True)
class TextsOfPictures(Batch):
    """A batch in which a picture has several texts; what it holds of pictures is (I, …), of texts (B, …).

    Attributes:
        owner: (B,) int64, the picture of each text, so that each picture is encoded once.
    """

    owner: Tensor

    @property
    def picture(self) -> Tensor:  # type: ignore[override]
        """The picture of each text."""
        return self.owner


def pair_batch(examples: Sequence[Example], collator: Collator) -> Batch:
    """Return 2 N rows for N examples with two pictures: the statement with the first, then with the second.

    Raises:
        InputError: if an example has not two pictures.
    """
    rows = []
    for example in examples:
        if len(example.all_regions) != 2:
            raise InputError(f"{example.question_id} has {len(example.all_regions)} pictures; this task is about two")
        rows += [replace(example, regions=regions) for regions in example.all_regions]
    return collator(rows)


def offered_batch(examples: Sequence[Example], collator: Collator) -> TextsOfPictures:
    """Return N pictures with C texts each: the question followed by one of the offered answers.

    Raises:
        InputError: if the examples do not offer equally many answers.
    """
    counts = {len(example.choices) for example in examples}
    if len(counts) != 1 or counts == {0}:
        raise InputError(f"questions with {sorted(counts)} offered answers are in one batch; offer the same number")
    count = counts.pop()
    texts = collator([replace(e, question=f"{e.question} {choice}") for e in examples for choice in e.choices])
    parts = {f.name: getattr(texts, f.name) for f in fields(Batch)}
    parts.update({name: parts[name][::count] for name in OF_PICTURES})
    return TextsOfPictures(**parts, owner=torch.arange(len(examples)).repeat_interleave(count))


def answer_scores(example: Example) -> dict[str, float]:
    """Return the official score of each answer that somebody gave, in [0, 1]; of answers as they are normalised.

    VQA's accuracy over the ten human answers where they are there, else the scores that the data set gives, else 1
    for every accepted answer.
    """
    if example.human_answers:
        given = [normalise(answer) for answer in example.human_answers]
        return {answer: leave_one_out(answer, given) for answer in dict.fromkeys(given)}
    scores = example.answer_scores or (1.0,) * len(example.answers)
    return {normalise(answer): score for answer, score in zip(example.answers, scores, strict=True)}


def common_answers(examples: Sequence[Example], *, at_least: int) -> list[str]:
    """Return the vocabulary: answers that score in at least `at_least` examples, the most frequent first.

    Raises:
        InputError: if there is none.
    """
    counts = Counter(answer for example in examples for answer, score in answer_scores(example).items() if score > 0)
    kept = sorted((answer for answer, count in counts.items() if count >= at_least), key=lambda a: (-counts[a], a))
    if not kept:
        raise InputError(f"no answer occurs {at_least} times in {len(examples)} questions; lower answers_at_least")
    return kept


def answer_targets(examples: Sequence[Example], vocabulary: Sequence[str]) -> Tensor:
    """Return soft targets (N, A): the official score of each answer of the vocabulary."""
    place = {answer: number for number, answer in enumerate(vocabulary)}
    targets = torch.zeros(len(examples), len(vocabulary))
    for row, example in enumerate(examples):
        for answer, score in answer_scores(example).items():
            if answer in place:
                targets[row, place[answer]] = score
    return targets


def labels(examples: Sequence[Example]) -> Tensor:
    """Return the labels (N,) of examples.

    Raises:
        InputError: if one has none.
    """
    unknown = [example.question_id for example in examples if example.label is None]
    if unknown:
        raise InputError(f"{len(unknown)} examples have no label, the first {unknown[0]}; use a split with labels")
    return torch.tensor([example.label for example in examples], dtype=torch.long)
