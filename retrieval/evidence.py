"""`Evidence`: the part of the knowledge graph that may answer one question about one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evidence:
    """A subgraph of N facts over M entities, found from question and picture alone, never from the answer.

    Attributes:
        fact_ids: (N,) int64, facts of the knowledge base, best first.
        scores: (N,) float32, cosine of fact and query.
        heads, tails: (N,) int64, positions in `entity_ids`.
        relations: (N,) int64, relation ids of the knowledge base.
        entity_ids: (M,) int64, entities of the knowledge base, each once.
        neighbours: (N,) bool, True where the fact came from the neighbourhood of a linked entity only.
    """

    fact_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    heads: NDArray[np.int64]
    tails: NDArray[np.int64]
    relations: NDArray[np.int64]
    entity_ids: NDArray[np.int64]
    neighbours: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of facts."""
        return len(self.fact_ids)


def evidence_of(
    fact_ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    neighbours: NDArray[np.bool_],
    triples: NDArray[np.int32],
) -> Evidence:
    """Return the subgraph of `fact_ids` (N,) by the knowledge base's `triples` (num_facts, 3)."""
    rows = np.asarray(triples[fact_ids], dtype=np.int64).reshape(-1, 3)  # (N, 3)
    entity_ids, local = np.unique(rows[:, [0, 2]], return_inverse=True)
    local = local.reshape(-1, 2)
    return Evidence(fact_ids, scores, local[:, 0], local[:, 1], rows[:, 1], entity_ids, neighbours)
