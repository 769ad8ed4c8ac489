"""From a query vector to evidence: dense search joined with the neighbourhood of linked entities."""

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
        neighbours: Further facts taken from those that touch a linked entity, by the same score.
        max_neighbourhood: Facts looked at around the linked entities; the rest of a huge hub is left out.
        allowed: Facts that may be found, (num_facts,) bool; None is all. Experiments hide facts with it.
    """

    kb: KnowledgeBase
    dense: int = 80
    neighbours: int = 20
    max_neighbourhood: int = 4000
    allowed: NDArray[np.bool_] | None = None

    def retrieve(self, queries: NDArray[np.float32], links: Sequence[Links]) -> list[Evidence]:
        """Return the evidence of each of `queries` (B, dimension), given the entities linked to each."""
        found, scores = self.kb.index.search(queries, min(self.dense, len(self.kb.index)), allowed=self.allowed)
        return [
            self._with_neighbours(queries[row], found[row][found[row] >= 0], scores[row][found[row] >= 0], linked)
            for row, linked in enumerate(links)
        ]

    def rank(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids (B, k) of the nearest facts, -1 where there are fewer."""
        return self.kb.index.search(queries, min(k, len(self.kb.index)), allowed=self.allowed)[0]

    def _with_neighbours(
        self, query: NDArray[np.float32], ids: NDArray[np.int64], scores: NDArray[np.float32], links: Links
    ) -> Evidence:
        near = self._neighbourhood(links)
        near = near[~np.isin(near, ids)]
        near_scores = self.kb.index.vectors(near) @ query if len(near) else np.zeros(0, dtype=np.float32)
        best = np.argsort(-near_scores, kind="stable")[: self.neighbours]
        fact_ids = np.concatenate([ids, near[best]])
        all_scores = np.concatenate([scores, near_scores[best]]).astype(np.float32)
        from_graph = np.arange(len(fact_ids)) >= len(ids)
        return evidence_of(fact_ids, all_scores, from_graph, self.kb.triples)

    def _neighbourhood(self, links: Links) -> NDArray[np.int64]:
        if self.neighbours <= 0 or not links.entities:
            return np.zeros(0, dtype=np.int64)
        budget = max(1, self.max_neighbourhood // len(links.entities))
        near = [self.kb.graph.facts_of(np.array([entity]))[:budget] for entity in links.entities]
        facts = np.unique(np.concatenate(near)).astype(np.int64)
        return facts if self.allowed is None else facts[self.allowed[facts]]
