"""What the gold answer and fact of an example are in terms of a knowledge base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.graph_features import normal
from retrieval.knowledge_base import KnowledgeBase

UNKNOWN = -1


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


def gold_fact_ids(examples: Sequence[Example], kb: KnowledgeBase) -> NDArray[np.int64]:
    """Return the fact id (E,) of each example's first gold fact, -1 where the knowledge base lacks it."""
    relation_ids = {name: i for i, name in enumerate(kb.store.relation_names())}
    keys = {key for e in examples for fact in e.facts for key in (fact[0], fact[2])}
    entity_ids = kb.store.find_entities(keys)
    columns = np.asarray(kb.triples, dtype=np.int64)
    order, codes = _sorted_codes(columns, kb.manifest.entities)
    ids = np.full(len(examples), UNKNOWN, dtype=np.int64)
    for row, example in enumerate(examples):
        if not example.facts:
            continue
        head, relation, tail = example.facts[0]
        if head in entity_ids and tail in entity_ids and relation in relation_ids:
            wanted = np.array([[entity_ids[head], relation_ids[relation], entity_ids[tail]]], dtype=np.int64)
            code = _codes(wanted, kb.manifest.entities)[0]
            at = int(np.searchsorted(codes, code))
            if at < len(codes) and codes[at] == code:
                ids[row] = order[at]
    return ids


def _codes(columns: NDArray[np.int64], entities: int) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = (columns[:, 1] * entities + columns[:, 0]) * entities + columns[:, 2]
    return codes


def _sorted_codes(columns: NDArray[np.int64], entities: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    codes = _codes(columns, entities)
    order = np.argsort(codes, kind="stable")
    return order, codes[order]


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
