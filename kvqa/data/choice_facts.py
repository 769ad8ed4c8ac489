"""Facts for one choice: those around what it names, nearest to the question, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kb.lemmas import lemmas
from kvqa.data.graph_features import content_lemmas
from retrieval.knowledge_base import KnowledgeBase

Kind = Literal["answer", "rationale"]

FACT_FEATURES = 8
TOKEN_NUMBERS = 5
"""Numbers beside the vector of a token: for a fact, likeness to question and to choice, whether it touches the choice,
the picture, the answer that is given."""
ENTITY_NUMBERS = 6
"""Numbers beside the vector of an entity: whether choice, picture, given answer name it, the share of its words that
stand in the question, likeness to question and to choice."""
NO_FACT = -1
NEVER = -1e4
"""Rank of a fact that must not be given."""
HELD_FACTS = 200_000
"""How many facts' vectors are kept in memory, for entities that are named again and again."""


class Neighbourhood(NamedTuple):
    """N facts: their ids (N,), vectors (N, S) and triples (N, 3): head, relation, tail."""

    facts: NDArray[np.int64]
    vectors: NDArray[np.float32]
    triples: NDArray[np.int64]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Heads and tails, (N, 2)."""
        return self.triples[:, [0, 2]]


class ChoiceFacts(NamedTuple):
    """The K best facts of one choice, best first, as a graph over their M entities.

    Attributes:
        features: (FACT_FEATURES,) of all together.
        ids: (K,) fact ids. vectors: (K, S). numbers: (K, TOKEN_NUMBERS).
        relation_vectors: (K, S). ends: (K, 2) positions of head and tail among the entities.
        entity_vectors: (M, S). entity_numbers: (M, ENTITY_NUMBERS).
    """

    features: NDArray[np.float32]
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    numbers: NDArray[np.float32]
    relation_vectors: NDArray[np.float16]
    ends: NDArray[np.int64]
    entity_vectors: NDArray[np.float16]
    entity_numbers: NDArray[np.float32]


class Knowledge:
    """Facts of a knowledge base around the entities that a choice, a given answer and a picture name.

    Args:
        allowed: (num_facts,) bool, facts that may be seen; None is all.
    """

    def __init__(self, kb: KnowledgeBase, *, allowed: NDArray[np.bool_] | None = None) -> None:
        self.kb = kb
        self.allowed = allowed
        self.known: dict[str, int] = {}
        self.near: dict[int, Neighbourhood] = {}
        self.held = 0
        self.names: list[str] = []

    def entities(self, texts: Sequence[str]) -> dict[str, int]:
        """Return the entity of each text that names one, by its words or their dictionary forms."""
        forms = {text: (text.lower(), " ".join(lemmas(text))) for text in texts}
        missing = {form for pair in forms.values() for form in pair if form and form not in self.known}
        if missing:
            self.known.update(dict.fromkeys(missing, -1) | self.kb.store.find_entities(missing))
        found = {}
        for text, pair in forms.items():
            for form in pair:
                if self.known.get(form, -1) >= 0:
                    found[text] = self.known[form]
                    break
        return found

    def around(self, entity: int) -> Neighbourhood:
        """Return the facts that touch an entity and may be seen; the last ones asked for are kept."""
        if entity not in self.near:
            facts = np.asarray(self.kb.graph.facts_of(np.array([entity])), dtype=np.int64)
            facts = facts if self.allowed is None else facts[self.allowed[facts]]
            triples = np.asarray(self.kb.triples[facts], dtype=np.int64).reshape(-1, 3)
            if self.held + len(facts) > HELD_FACTS:
                self.near, self.held = {}, 0
            self.near[entity] = Neighbourhood(facts, self.kb.index.vectors(facts), triples)
            self.held += len(facts)
        return self.near[entity]

    def nothing(self) -> Neighbourhood:
        """Return no facts."""
        width = self.kb.manifest.dimension
        return Neighbourhood(np.zeros(0, np.int64), np.zeros((0, width), np.float32), np.zeros((0, 3), np.int64))

    def named(self, entity: int) -> frozenset[str]:
        """Return the words of an entity's name."""
        if not self.names:
            self.names = self.kb.store.entity_texts()
        return content_lemmas(self.names[entity])


class FactsOfItem:
    """The facts around one item; asked for each of its choices."""

    def __init__(
        self, knowledge: Knowledge, count: int, context: Sequence[str], names: Sequence[str],
        asked: NDArray[np.float32], hidden: frozenset[int],
    ) -> None:  # fmt: skip
        self.knowledge, self.count = knowledge, count
        self.hidden = np.array(sorted(hidden), dtype=np.int64)
        self.asked = asked
        self.gathered: dict[frozenset[int], Neighbourhood] = {}
        self.words = content_lemmas(context[0]) if context else frozenset[str]()
        self.seen = set(knowledge.entities(list(names)).values())
        self.given = set(knowledge.entities(list(context[1:])).values())

    def of(self, choice: str, vector: NDArray[np.float32], kind: Kind) -> ChoiceFacts:
        """Return the best facts of a choice with this vector (S,).

        For an answer the facts touch it; for a reason they touch the given answer or something seen, and the ones
        nearest to question and reason are taken.
        """
        own = set(self.knowledge.entities([choice]).values())
        start = own if kind == "answer" else self.given or self.seen
        features = np.zeros(FACT_FEATURES, dtype=np.float32)
        near = self._near(frozenset(start))
        alive = ~np.isin(near.facts, self.hidden)
        question, likeness = self._likeness(near.vectors, vector)
        rank = question if kind == "answer" else question + likeness
        rank = np.where(alive, rank, NEVER)
        best = np.argsort(-rank, kind="stable")[: min(self.count, int(alive.sum()))]
        touches = [np.any(np.isin(near.ends, list(group)), axis=1) for group in (own, self.seen - own, self.given)]
        linked = touches[1] if kind == "answer" else touches[1] | touches[2]
        if len(best):
            features[:] = [
                1.0,
                question[best[0]],
                question[best].mean(),
                likeness[best].max(),
                self._overlap(near.ends[best], start),
                float((linked & alive).any()),
                float((rank * (linked & alive)).max()),
                np.log1p(int(alive.sum())) / 5,
            ]
        numbers = np.stack([question[best], likeness[best], *(t[best] for t in touches)], axis=1).astype(np.float32)
        entities, ends = np.unique(near.ends[best], return_inverse=True)
        kb = self.knowledge.kb
        vectors = np.asarray(kb.entity_vectors[entities], dtype=np.float16)
        return ChoiceFacts(
            features=features,
            ids=near.facts[best],
            vectors=near.vectors[best],
            numbers=numbers,
            relation_vectors=np.asarray(kb.relation_vectors[near.triples[best, 1]], dtype=np.float16),
            ends=ends.reshape(-1, 2),
            entity_vectors=vectors,
            entity_numbers=self._described(entities, vectors, own, vector),
        )

    def _described(
        self, entities: NDArray[np.int64], vectors: NDArray[np.float16], own: set[int], vector: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return (M, ENTITY_NUMBERS) of entities with these vectors (M, S)."""
        named = [np.isin(entities, list(group)) for group in (own, self.seen, self.given)]
        shares = [self._share(int(entity)) for entity in entities]
        question, likeness = self._likeness(vectors.astype(np.float32), vector)
        return np.stack([*named, shares, question, likeness], axis=1).astype(np.float32)

    def _near(self, start: frozenset[int]) -> Neighbourhood:
        """Return the facts that touch one of the entities, each once."""
        if start not in self.gathered:
            parts = [self.knowledge.around(entity) for entity in sorted(start)] or [self.knowledge.nothing()]
            near = parts[0]
            if len(parts) > 1:
                facts, kept = np.unique(np.concatenate([part.facts for part in parts]), return_index=True)
                vectors = np.concatenate([part.vectors for part in parts])[kept]
                near = Neighbourhood(facts, vectors, np.concatenate([part.triples for part in parts])[kept])
            self.gathered[start] = near
        return self.gathered[start]

    def _likeness(
        self, vectors: NDArray[np.float32], vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the likeness (N,) of vectors (N, S) to the question, and to the choice."""
        asked = self.asked[0] if len(self.asked) else np.zeros_like(vector)
        both = vectors @ np.stack([asked, vector], axis=1)
        return both[:, 0], both[:, 1]

    def _overlap(self, ends: NDArray[np.int64], start: set[int]) -> float:
        """Return the largest share of words that the far end of a fact has in common with the question."""
        return max([0.0, *(self._share(entity) for entity in {int(e) for pair in ends for e in pair} - start)])

    def _share(self, entity: int) -> float:
        """Return the share of an entity's words that stand in the question."""
        words = self.knowledge.named(entity)
        return len(words & self.words) / max(1, len(words))
