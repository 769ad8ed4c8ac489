"""From a query vector to evidence: dense search joined with the neighbourhoods of linked and of likely entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evidence import Evidence, evidence_of
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Links
from retrieval.reranking import RerankedIndex


@dataclass(frozen=True)
class Retriever:
    """Hybrid retrieval over one knowledge base.

    Args:
        dense: Facts taken from the search over all facts.
        linked: Further facts taken from those that touch an entity that question or picture name.
        likely: Further facts taken from those that touch one of the likeliest anchors: of all entities found so
            far, those nearest to the anchor query. A scene that nobody names is reached this way.
        anchors: How many likely anchors are followed.
        shortlist: Of those, the facts that are scored where each has to be embedded first, in a knowledge base of
            static vectors.
        max_neighbourhood: Facts looked at around one group of entities; the rest of a huge hub is left out.
        allowed: Facts that may be found, (num_facts,) bool; None is all. Experiments hide facts with it.
    """

    kb: KnowledgeBase
    dense: int = 50
    linked: int = 10
    likely: int = 15
    anchors: int = 3
    max_neighbourhood: int = 4000
    shortlist: int = 100
    allowed: NDArray[np.bool_] | None = None

    def retrieve(
        self,
        queries: NDArray[np.float32],
        anchors: NDArray[np.float32],
        links: Sequence[Links],
        words: Sequence[Sequence[str]] | None = None,
    ) -> list[Evidence]:
        """Return the evidence of each example.

        Args:
            queries, anchors: (B, dimension) where the fact, and its entity that is not the answer, are expected.
            links: The entities linked to each example.
            words: The question of each example, then the names of what is seen; only a knowledge base of static
                vectors needs them, which is searched by text.
        """
        found, scores = self._search(queries, self.dense, words)
        asked = words if words is not None else [()] * len(links)
        return [
            self._evidence(queries[row], anchors[row], ids[ids >= 0], scores[row][ids >= 0], named, asked[row])
            for row, (ids, named) in enumerate(zip(found, links, strict=True))
        ]

    def rank(
        self, queries: NDArray[np.float32], k: int, words: Sequence[Sequence[str]] | None = None
    ) -> NDArray[np.int64]:
        """Return the ids (B, min(k, num_facts)) of the nearest facts, -1 where fewer are allowed.

        Args:
            words: As of `retrieve`.
        """
        return self._search(queries, k, words)[0]

    def _search(
        self, queries: NDArray[np.float32], k: int, words: Sequence[Sequence[str]] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        index = self.kb.index
        if isinstance(index, RerankedIndex):
            return index.search(queries, min(k, len(index)), allowed=self.allowed, texts=words)
        return index.search(queries, min(k, len(index)), allowed=self.allowed)

    def _evidence(
        self,
        query: NDArray[np.float32],
        anchor: NDArray[np.float32],
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        links: Links,
        words: Sequence[str],
    ) -> Evidence:
        dense = len(ids)
        entities = np.array(links.entities, dtype=np.int64)
        ids, scores = self._extend(ids, scores, query, entities, self.linked, words)
        near = np.unique(np.concatenate([self.kb.triples[ids][:, [0, 2]].ravel().astype(np.int64), entities]))
        likeness = np.asarray(self.kb.entity_vectors[near], dtype=np.float32) @ anchor
        likely = near[np.argsort(-likeness, kind="stable")[: self.anchors]]
        ids, scores = self._extend(ids, scores, query, likely, self.likely, words)
        return evidence_of(ids, scores, np.arange(len(ids)) >= dense, self.kb.triples)

    def _extend(
        self,
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        query: NDArray[np.float32],
        entities: NDArray[np.int64],
        count: int,
        words: Sequence[str],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Add the `count` best facts around `entities` that are not there yet."""
        near = self._neighbourhood(entities) if count > 0 else np.zeros(0, dtype=np.int64)
        near = near[~np.isin(near, ids)]
        if isinstance(self.kb.index, RerankedIndex):
            near = self.kb.index.shortlist(near, words, self.shortlist)
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
