"""From a query vector to evidence: dense search joined with the neighbourhoods of linked and of likely entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evidence import Evidence, evidence_of
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Links


@dataclass(frozen=True)
class Retriever:
    """Hybrid retrieval over one knowledge base.

    Args:
        dense: Facts taken from the search over all facts.
        linked: Further facts taken from those that touch an entity that question or picture name.
        likely: Further facts taken from those that touch one of the likeliest anchors: of all entities found so
            far, those nearest to the anchor query. A scene that nobody names is reached this way.
        anchors: How many likely anchors are followed.
        max_neighbourhood: Facts looked at around one group of entities; the rest of a huge hub is left out.
        allowed: Facts that may be found, (num_facts,) bool; None is all. Experiments hide facts with it.
    """

    kb: KnowledgeBase
    dense: int = 50
    linked: int = 10
    likely: int = 15
    anchors: int = 3
    max_neighbourhood: int = 4000
    allowed: NDArray[np.bool_] | None = None

    def retrieve(
        self, queries: NDArray[np.float32], anchors: NDArray[np.float32], links: Sequence[Links]
    ) -> list[Evidence]:
        """Return the evidence of each example.

        Args:
            queries, anchors: (B, dimension) where the fact, and its entity that is not the answer, are expected.
            links: The entities linked to each example.
        """
        found, scores = self.kb.index.search(queries, min(self.dense, len(self.kb.index)), allowed=self.allowed)
        return [
            self._evidence(queries[row], anchors[row], found[row][found[row] >= 0], scores[row][found[row] >= 0], named)
            for row, named in enumerate(links)
        ]

    def rank(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids (B, min(k, num_facts)) of the nearest facts, -1 where fewer are allowed."""
        return self.kb.index.search(queries, min(k, len(self.kb.index)), allowed=self.allowed)[0]

    def _evidence(
        self,
        query: NDArray[np.float32],
        anchor: NDArray[np.float32],
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        links: Links,
    ) -> Evidence:
        dense = len(ids)
        entities = np.array(links.entities, dtype=np.int64)
        ids, scores = self._extend(ids, scores, query, entities, self.linked)
        near = np.unique(np.concatenate([self.kb.triples[ids][:, [0, 2]].ravel().astype(np.int64), entities]))
        likeness = np.asarray(self.kb.entity_vectors[near], dtype=np.float32) @ anchor
        likely = near[np.argsort(-likeness, kind="stable")[: self.anchors]]
        ids, scores = self._extend(ids, scores, query, likely, self.likely)
        return evidence_of(ids, scores, np.arange(len(ids)) >= dense, self.kb.triples)

    def _extend(
        self,
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        query: NDArray[np.float32],
        entities: NDArray[np.int64],
        count: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Add the `count` best facts around `entities` that are not there yet."""
        near = self._neighbourhood(entities) if count > 0 else np.zeros(0, dtype=np.int64)
        near = near[~np.isin(near, ids)]
        if not len(near):
            return ids, scores
        near_scores = self.kb.index.vectors(near) @ query
        best = np.argsort(-near_scores, kind="stable")[:count]
        return np.concatenate([ids, near[best]]), np.concatenate([scores, near_scores[best]]).astype(np.float32)

    def _neighbourhood(self, entities: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(entities):
            return np.zeros(0, dtype=np.int64)
        budget = max(1, self.max_neighbourhood // len(entities))
        near = [self.kb.graph.facts_of(entities[i : i + 1])[:budget] for i in range(len(entities))]
        facts = np.unique(np.concatenate(near)).astype(np.int64)
        return facts if self.allowed is None else facts[self.allowed[facts]]
