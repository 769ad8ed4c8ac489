"""What the gold answer and fact of an example are in terms of a knowledge base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.gold import UNKNOWN, gold_fact_ids
from kvqa.data.graph_features import normal
from retrieval.knowledge_base import KnowledgeBase


@dataclass(frozen=True)
class Targets:
    """Gold ids of E examples, each (E,) int64, -1 where there is none.

    Attributes:
        fact: The gold fact. answer, anchor: Its entity that is the answer, and its other entity.
        relation: Its relation. side: 0 where the answer is its head, 1 its tail.
        visible: 1 where the answer is seen in the picture, 0 where the knowledge base names it.
        vocabulary: Position in the answer vocabulary.
    """

    fact: NDArray[np.int64]
    answer: NDArray[np.int64]
    anchor: NDArray[np.int64]
    relation: NDArray[np.int64]
    side: NDArray[np.int64]
    visible: NDArray[np.int64]
    vocabulary: NDArray[np.int64]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Targets:
        """Return the targets of some examples."""
        return Targets(**{name: values[rows] for name, values in vars(self).items()})


def build_vocabulary(examples: Sequence[Example], *, at_least: int = 2) -> tuple[str, ...]:
    """Return answers as people write them that occur at least so often, commonest first, one spelling each."""
    spellings: dict[str, Counter[str]] = {}
    for example in examples:
        written = example.answers[-1].strip(" .").lower()
        spellings.setdefault(normal(written), Counter())[written] += 1
    counted = sorted(((sum(c.values()), key, c) for key, c in spellings.items() if key), key=lambda x: (-x[0], x[1]))
    return tuple(c.most_common(1)[0][0] for total, _, c in counted if total >= at_least)


def build_targets(examples: Sequence[Example], kb: KnowledgeBase, vocabulary: Sequence[str]) -> Targets:
    """Look up what is gold for each example in `kb` and `vocabulary`."""
    facts = gold_fact_ids(examples, kb)
    position = {normal(answer): i for i, answer in enumerate(vocabulary)}
    size = len(examples)
    named = ("answer", "anchor", "relation", "side", "visible", "vocabulary")
    columns = {name: np.full(size, UNKNOWN, dtype=np.int64) for name in named}
    for row, example in enumerate(examples):
        answers = {normal(a) for a in example.answers}
        columns["visible"][row] = int(example.meta.get("answer_source") == "image")
        columns["vocabulary"][row] = next((position[a] for a in sorted(answers) if a in position), UNKNOWN)
        if facts[row] < 0:
            continue
        head, relation, tail = (int(x) for x in kb.triples[facts[row]])
        columns["relation"][row] = relation
        sides = [normal(example.facts[0][i]) in answers for i in (0, 2)]
        if sum(sides) == 1:
            side = sides.index(True)
            columns["side"][row] = side
            columns["answer"][row], columns["anchor"][row] = (head, tail) if side == 0 else (tail, head)
    return Targets(fact=facts, **columns)
