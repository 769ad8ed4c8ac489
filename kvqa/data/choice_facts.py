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
NEVER = -1e4
"""Rank of a fact that must not be given."""
HELD_FACTS = 200_000
"""How many facts' vectors are kept in memory, for entities that are named again and again."""


class Neighbourhood(NamedTuple):
    """N facts: their ids (N,), vectors (N, S) and ends (N, 2), head and tail."""

    facts: NDArray[np.int64]
    vectors: NDArray[np.float32]
    ends: NDArray[np.int64]


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
            ends = np.asarray(self.kb.triples[facts][:, [0, 2]], dtype=np.int64)
            if self.held + len(facts) > HELD_FACTS:
                self.near, self.held = {}, 0
            self.near[entity] = Neighbourhood(facts, self.kb.index.vectors(facts), ends)
            self.held += len(facts)
        return self.near[entity]

    def nothing(self) -> Neighbourhood:
        """Return no facts."""
        width = self.kb.manifest.dimension
        return Neighbourhood(np.zeros(0, np.int64), np.zeros((0, width), np.float32), np.zeros((0, 2), np.int64))

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

    def of(
        self, choice: str, vector: NDArray[np.float32], kind: Kind
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return features (FACT_FEATURES,), vectors (K, S) and token numbers (K, TOKEN_NUMBERS) of the best facts.

        For an answer the facts touch it; for a reason they touch the given answer or something seen, and the ones
        nearest to question and reason are taken.
        """
        own = set(self.knowledge.entities([choice]).values())
        start = own if kind == "answer" else self.given or self.seen
        numbers = np.zeros(FACT_FEATURES, dtype=np.float32)
        near = self._near(frozenset(start))
        alive = ~np.isin(near.facts, self.hidden)
        if not alive.any():
            return numbers, np.zeros((0, len(vector)), np.float32), np.zeros((0, TOKEN_NUMBERS), np.float32)
        question, likeness = self._likeness(frozenset(start), vector)
        rank = question if kind == "answer" else question + likeness
        rank = np.where(alive, rank, NEVER)
        best = np.argsort(-rank, kind="stable")[: min(self.count, int(alive.sum()))]
        touches = [np.any(np.isin(near.ends, list(group)), axis=1) for group in (own, self.seen - own, self.given)]
        linked = touches[1] if kind == "answer" else touches[1] | touches[2]
        numbers[:] = [
            1.0,
            question[best[0]],
            question[best].mean(),
            likeness[best].max(),
            self._overlap(near.ends[best], start),
            float((linked & alive).any()),
            float((rank * (linked & alive)).max()),
            np.log1p(int(alive.sum())) / 5,
        ]
        extra = np.stack([question[best], likeness[best], *(t[best] for t in touches)], axis=1).astype(np.float32)
        return numbers, near.vectors[best], extra

    def _near(self, start: frozenset[int]) -> Neighbourhood:
        """Return the facts that touch one of the entities, each once."""
        if start not in self.gathered:
            parts = [self.knowledge.around(entity) for entity in sorted(start)] or [self.knowledge.nothing()]
            near = parts[0]
            if len(parts) > 1:
                facts, kept = np.unique(np.concatenate([part.facts for part in parts]), return_index=True)
                vectors = np.concatenate([part.vectors for part in parts])[kept]
                near = Neighbourhood(facts, vectors, np.concatenate([part.ends for part in parts])[kept])
            self.gathered[start] = near
        return self.gathered[start]

    def _likeness(
        self, start: frozenset[int], vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the likeness (N,) of the facts around `start` to the question, and to the choice."""
        asked = self.asked[0] if len(self.asked) else np.zeros_like(vector)
        both = self._near(start).vectors @ np.stack([asked, vector], axis=1)
        return both[:, 0], both[:, 1]

    def _overlap(self, ends: NDArray[np.int64], start: set[int]) -> float:
        """Return the largest share of words that the far end of a fact has in common with the question."""
        shares = [0.0]
        for entity in {int(e) for pair in ends for e in pair if int(e) not in start}:
            words = self.knowledge.named(entity)
            shares.append(len(words & self.words) / max(1, len(words)))
        return max(shares)
