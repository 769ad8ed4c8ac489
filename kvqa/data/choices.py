"""Choices among offered texts as tensors of sentence vectors: question, choice, facts and what is seen.

An item asks for one of C texts, an answer to a question or a reason for an answer (VCR, FVQA-R, A-OKVQA). Facts are
retrieved for picture, question and *choice*: whatever is reported with them is answer-aware, as QA-GNN's evidence is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.choice_facts import (
    ENTITY_NUMBERS,
    FACT_FEATURES,
    NO_FACT,
    TOKEN_NUMBERS,
    ChoiceFacts,
    FactsOfItem,
    Kind,
    Knowledge,
)
from kvqa.data.collate import SeenRegions, distinct_concepts, region_tensors
from kvqa.data.example import Example, Mention
from kvqa.data.graph_features import content_lemmas
from kvqa.data.vcr import answering, reasoning
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

KIND_NAMES: tuple[Kind, ...] = ("answer", "rationale")
Vectors = Callable[[Sequence[str]], NDArray[np.float32]]

SEGMENTS = ("choice", "context", "fact")
FIRST_FACT = 3
"""Position of the first fact among the tokens of a text: after choice, question and given answer."""
TEXT_FEATURES = 8
FEATURES = TEXT_FEATURES + FACT_FEATURES
CAPTIONS = 3
VCR_DETECTOR = "vcr"
"""Regions of VCR are those that some text mentions, so they are chosen anew for answers and for reasons."""


@dataclass(frozen=True)
class Item:
    """One choice to be made.

    Attributes:
        kind: What is chosen.
        context: Question, and for a reason the answer that is given.
        choices: The texts offered.
        label: Position of the right one; None where unknown.
        regions: What is seen.
        pointed: For each choice, the positions of regions that it or the context points to.
        hidden: Fact ids that this item must not see; its own gold fact, now and then, in training.
    """

    kind: Kind
    context: tuple[str, ...]
    choices: tuple[str, ...]
    label: int | None
    regions: Regions
    pointed: tuple[frozenset[int], ...]
    hidden: frozenset[int] = frozenset()


def answer_item(example: Example) -> Item:
    """Return the choice of an answer, without what only the reasons of VCR mention.

    Raises:
        InputError: if the example offers fewer than two answers.
    """
    if len(example.choices) < 2:
        raise InputError(f"{example.question_id} offers {len(example.choices)} answers; a choice needs two or more")
    example = answering(example) if example.regions.detector == VCR_DETECTOR else example
    asked, offered = example.mentions.question, example.mentions.choices
    pointed = _pointed(asked, offered, len(example.choices))
    return Item("answer", (example.question,), example.choices, example.label, example.regions, pointed)


def rationale_item(example: Example, given: int | None = None) -> Item:
    """Return the choice of a reason, given an answer, by default the right one.

    Raises:
        InputError: if there are no reasons, or the right answer is not known and none is given.
    """
    answer = example.label if given is None else given
    if answer is None or len(example.rationale_choices) < 2:
        raise InputError(f"{example.question_id} has no reasons to choose from, or no answer to give a reason for")
    mentions, regions, offered = example.mentions, example.regions, example.mentions.rationales
    asked = (*mentions.question, *(mentions.choices[answer] if mentions.choices else ()))
    if regions.detector == VCR_DETECTOR:
        given_that = reasoning(example, answer)
        regions, asked, offered = given_that.regions, given_that.mentions.question, given_that.mentions.choices
    context = (example.question, example.choices[answer])
    pointed = _pointed(asked, offered, len(example.rationale_choices))
    return Item("rationale", context, example.rationale_choices, example.rationale_label, regions, pointed)


def _pointed(asked: Sequence[Mention], offered: Sequence[Sequence[Mention]], count: int) -> tuple[frozenset[int], ...]:
    common = {row for mention in asked for row in mention.regions}
    own = [{row for mention in mentions for row in mention.regions} for mentions in offered] or [set()] * count
    return tuple(frozenset(common | rows) for rows in own)


@dataclass(frozen=True)
class Inputs:
    """What of an item is used; the switches are for ablations.

    Attributes:
        question, image, knowledge: False leaves that side out. Without the question there is no given answer either.
        facts: Facts given for each choice.
        regions: Region tokens besides the one of the whole picture.
    """

    question: bool = True
    image: bool = True
    knowledge: bool = True
    facts: int = 4
    regions: int = 14

    def problems(self) -> list[str]:
        """Return what is wrong with the values."""
        numbers = (("facts", self.facts), ("regions", self.regions))
        return [f"inputs.{name} {value} is less than 1" for name, value in numbers if value < 1]


@dataclass(frozen=True)
class ChoiceBatch(SeenRegions):
    """N items of C choices each, as the cross-modal encoder reads it: B = N * C texts of N pictures.

    Attributes:
        ids: (B, T, S + TOKEN_NUMBERS) float, the tokens of a text: choice, context, facts; each a sentence vector
            and what else is known of it.
        segments: (B, T) int64, position in `SEGMENTS`.
        mask: (B, T) bool.
        pointed: (B, R) bool, the regions that a text points to.
        features: (B, FEATURES) float, likeness and overlap of choice, question, picture and facts.
        facts: (B, K) int64, ids of the facts, `NO_FACT` where there are fewer; their tokens are the last K.
        heads, tails: (B, K) int64, positions of their ends among the M = 2 K entities of the text.
        relation_vectors: (B, K, S) and entity_vectors: (B, M, S), half precision; zeros where there are fewer.
        entity_numbers: (B, M, ENTITY_NUMBERS) float.
        kind: (N,) int64, position in `KIND_NAMES`.
        right: (N,) int64, position of the right choice, -1 where unknown.
        picture: (B,) int64, the picture of each text.
    """

    ids: Tensor
    segments: Tensor
    mask: Tensor
    pointed: Tensor
    features: Tensor
    facts: Tensor
    heads: Tensor
    tails: Tensor
    relation_vectors: Tensor
    entity_vectors: Tensor
    entity_numbers: Tensor
    kind: Tensor
    right: Tensor
    picture: Tensor

    @property
    def fact_mask(self) -> Tensor:
        """Which facts are there, (B, K) bool."""
        return self.mask[:, FIRST_FACT:]


BY_TEXT = frozenset(
    ["ids", "segments", "mask", "pointed", "features", "facts", "heads", "tails", "relation_vectors", "entity_vectors",
     "entity_numbers"]
)  # fmt: skip
"""What has a row for each text; the rest has one for each item."""


@dataclass(frozen=True)
class ChoiceCollator:
    """Makes the tensors of items; see `ChoiceBatch`.

    Args:
        vectors: Unit sentence vectors of texts.
        knowledge: None gives no facts.
        feature_width: F; image features of another length are left out.
    """

    vectors: Vectors
    inputs: Inputs
    knowledge: Knowledge | None = None
    feature_width: int = 300

    def texts(self, items: Sequence[Item]) -> list[str]:
        """Return every text that the items need vectors of, so that they can be made at once."""
        seen = (region.label for item in items for region in item.regions.regions)
        return sorted({"image", *seen} | {text for item in items for text in (*item.context, *item.choices)})

    def __call__(self, items: Sequence[Item]) -> ChoiceBatch:
        """Collate items with equally many choices."""
        return join([self._one(item) for item in items])

    def _one(self, item: Item) -> ChoiceBatch:
        inputs = self.inputs
        seen = self._seen(item.regions if inputs.image else replace(item.regions, regions=(), image_feature=None))
        names = [region.label for region in seen.regions if region.kind != "caption"]
        context = item.context if inputs.question else ()
        asked = self.vectors(context) if context else np.zeros((0, self._width), dtype=np.float32)
        offered = self.vectors(item.choices)
        described = self.vectors(names) if names else np.zeros((0, self._width), dtype=np.float32)
        count, tokens = len(item.choices), FIRST_FACT + inputs.facts
        width = self._width
        ids = np.zeros((count, tokens, width + TOKEN_NUMBERS), dtype=np.float32)
        mask = np.zeros((count, tokens), dtype=bool)
        features = np.zeros((count, FEATURES), dtype=np.float32)
        ids[:, 0, :width], mask[:, 0] = offered, True
        ids[:, 1 : 1 + len(context), :width], mask[:, 1 : 1 + len(context)] = asked, True
        features[:, :TEXT_FEATURES] = text_features(item.choices, context, names, offered, asked, described)
        graph = _no_graph(count, inputs.facts, width)
        if self.knowledge is not None and inputs.knowledge:
            around = FactsOfItem(self.knowledge, inputs.facts, context, names, asked, item.hidden)
            for row in range(count):
                found = around.of(item.choices[row], offered[row], item.kind)
                part = slice(FIRST_FACT, FIRST_FACT + len(found.ids))
                ids[row, part, :width], ids[row, part, width:], mask[row, part] = found.vectors, found.numbers, True
                features[row, TEXT_FEATURES:] = found.features
                _lay(graph, row, found)
        texts = {"ids": ids, "mask": mask, "features": features, **graph}
        return self._batch(item, seen, {name: torch.from_numpy(array) for name, array in texts.items()})

    @property
    def _width(self) -> int:
        return int(self.vectors(["image"]).shape[1])

    def _seen(self, regions: Regions) -> Regions:
        """Return the regions that become tokens."""
        kept: list[Region] = distinct_concepts(regions, limit=self.inputs.regions)
        kept += [region for region in regions.regions if region.kind == "caption"][:CAPTIONS]
        return replace(regions, regions=tuple(kept[: self.inputs.regions]), features=None)

    def _batch(self, item: Item, seen: Regions, texts: dict[str, Tensor]) -> ChoiceBatch:
        count, regions = len(item.choices), self.inputs.regions + 1
        # A region stands for all with its label, so a pointer to any of them is a pointer to it.
        where = {region.label: token for token, region in enumerate(seen.regions, 1)}
        pointed = torch.zeros(count, regions, dtype=torch.bool)
        for row, numbers in enumerate(item.pointed):
            targets = {where.get(item.regions.regions[n].label, 0) for n in numbers} - {0}
            pointed[row, list(targets)] = True
        return ChoiceBatch(
            **region_tensors([seen], self._label_vectors, feature_width=self.feature_width, count=regions),
            **texts,
            segments=torch.tensor([0, 1, 1] + [2] * self.inputs.facts).expand(count, -1).clone(),
            pointed=pointed,
            kind=torch.tensor([KIND_NAMES.index(item.kind)]),
            right=torch.tensor([-1 if item.label is None else item.label]),
            picture=torch.zeros(count, dtype=torch.long),
        )

    def _label_vectors(self, labels: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.vectors(labels))


def _no_graph(count: int, facts: int, width: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of `count` graphs without facts, with room for `facts` of them; see `ChoiceBatch`."""
    return {
        "facts": np.full((count, facts), NO_FACT, dtype=np.int64),
        "heads": np.zeros((count, facts), dtype=np.int64),
        "tails": np.zeros((count, facts), dtype=np.int64),
        "relation_vectors": np.zeros((count, facts, width), dtype=np.float16),
        "entity_vectors": np.zeros((count, 2 * facts, width), dtype=np.float16),
        "entity_numbers": np.zeros((count, 2 * facts, ENTITY_NUMBERS), dtype=np.float32),
    }


def _lay(graph: dict[str, NDArray[Any]], row: int, found: ChoiceFacts) -> None:
    """Write the facts of a choice into row `row`."""
    facts, entities = len(found.ids), len(found.entity_vectors)
    graph["facts"][row, :facts] = found.ids
    graph["heads"][row, :facts], graph["tails"][row, :facts] = found.ends[:, 0], found.ends[:, 1]
    graph["relation_vectors"][row, :facts] = found.relation_vectors
    graph["entity_vectors"][row, :entities] = found.entity_vectors
    graph["entity_numbers"][row, :entities] = found.entity_numbers


def join(batches: Sequence[ChoiceBatch]) -> ChoiceBatch:
    """Return one batch of several, whose items have equally many choices."""
    parts = {f.name: torch.cat([getattr(b, f.name) for b in batches]) for f in fields(ChoiceBatch)}
    counts = torch.tensor([len(b.kind) for b in batches])
    starts = (counts.cumsum(0) - counts).tolist()
    parts["picture"] = torch.cat([b.picture + start for b, start in zip(batches, starts, strict=True)])
    return ChoiceBatch(**parts)


def take(batch: ChoiceBatch, rows: Sequence[int]) -> ChoiceBatch:
    """Return the items `rows` of a batch."""
    count = len(batch.picture) // len(batch.kind)
    items = torch.tensor(list(rows), dtype=torch.long)
    texts = (items[:, None] * count + torch.arange(count)).flatten()
    parts = {f.name: getattr(batch, f.name)[texts if f.name in BY_TEXT else items]
             for f in fields(ChoiceBatch) if f.name != "picture"}  # fmt: skip
    return ChoiceBatch(**parts, picture=torch.arange(len(items)).repeat_interleave(count))


def text_features(
    choices: Sequence[str],
    context: Sequence[str],
    names: Sequence[str],
    offered: NDArray[np.float32],
    asked: NDArray[np.float32],
    described: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return (C, TEXT_FEATURES) of choices beside question and picture, without any knowledge.

    Columns: likeness to the question, to the given answer, to the nearest seen name; named by the picture letter by
    letter; share of its words in seen names, in the question, in the given answer; share of the question's in it.
    """
    out = np.zeros((len(choices), TEXT_FEATURES), dtype=np.float32)
    seen = frozenset(word for name in names for word in content_lemmas(name))
    question, given = (content_lemmas(context[i]) if len(context) > i else frozenset[str]() for i in range(2))
    for row, choice in enumerate(choices):
        words = content_lemmas(choice)
        likeness = [float(offered[row] @ asked[i]) if len(asked) > i else 0.0 for i in range(2)]
        nearest = float((described @ offered[row]).max()) if len(described) else 0.0
        shares = [len(words & other) / max(1, len(words)) for other in (seen, question, given)]
        covered = len(words & question) / max(1, len(question))
        out[row] = [*likeness, nearest, float(choice in names), *shares, covered]
    return out
