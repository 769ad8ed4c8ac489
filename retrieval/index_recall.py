"""How many true neighbours an approximate index finds, and how wide it has to search for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retrieval.index import FactIndex

BLOCK = 65_536
TARGET = 0.97
"""Recall at which widening the search stops; above the 0.95 that is promised, as it is measured on a sample."""
TIE = 1e-5
"""Scores closer than this count as equal: sums in another order differ by as much."""


def index_recall(
    index: FactIndex,
    vectors: NDArray[np.float16],
    *,
    sample: int = 256,
    k: int = 10,
    seed: int = 0,
    queries: NDArray[np.float32] | None = None,
) -> float:
    """Return recall@k of `index` against exact search, in [0, 1].

    A fact that scores as the k-th neighbour does counts as a neighbour, so equal texts do no harm.

    Args:
        vectors: (num_facts, dimension), what was indexed; a memory map is read in pieces.
        sample: How many facts are taken as queries. A fact is not counted as a neighbour of itself.
        queries: (B, dimension) to be searched in place of the sample.

    Raises:
        ValueError: if there is no vector, or `k` or `sample` is below 1.
    """
    if not len(vectors) or k < 1 or sample < 1:
        raise ValueError(f"{len(vectors)} vectors, k {k} and sample {sample}; each must be at least 1")
    own = None if queries is not None else sample_rows(len(vectors), sample, seed)
    asked = vectors[own].astype(np.float32) if own is not None else np.asarray(queries, dtype=np.float32)
    return found_share(index, vectors, asked, own, exact_threshold(vectors, asked, own, k), k)


def sample_rows(total: int, sample: int, seed: int) -> NDArray[np.int64]:
    """Return up to `sample` distinct rows of `total`, ascending."""
    if sample >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(total, sample, replace=False).astype(np.int64))


def exact_threshold(
    vectors: NDArray[np.float16], queries: NDArray[np.float32], own: NDArray[np.int64] | None, k: int
) -> NDArray[np.float32]:
    """Return (B,) the score of the k-th true neighbour of each query, `own[i]` not counted for query i."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float32)
        scores = queries @ block.T  # (B, block)
        if own is not None:
            here = np.flatnonzero((own >= start) & (own < start + len(block)))
            scores[here, own[here] - start] = -np.inf
        joined = np.concatenate([best, scores], axis=1)
        best = np.partition(joined, joined.shape[1] - k, axis=1)[:, -k:]
    threshold: NDArray[np.float32] = best.min(axis=1)
    return threshold


def found_share(
    index: FactIndex,
    vectors: NDArray[np.float16],
    queries: NDArray[np.float32],
    own: NDArray[np.int64] | None,
    threshold: NDArray[np.float32],
    k: int,
) -> float:
    """Return the share of the k best that `index` finds, judged by the true scores of what it returns."""
    asked = min(k + (own is not None), len(index))
    ids, _ = index.search(queries, asked)
    hits = 0
    for row, found in enumerate(ids):
        others = found[(found >= 0) & (found != (own[row] if own is not None else -1))][:k]
        scores = vectors[others].astype(np.float32) @ queries[row]
        hits += int((scores >= threshold[row] - TIE).sum())
    possible = min(k, len(vectors) - (own is not None))
    return min(1.0, hits / (len(queries) * possible)) if possible else 1.0


def tune(index: FactIndex, vectors: NDArray[np.float16], *, sample: int = 256, k: int = 10, seed: int = 0) -> None:
    """Widen the search of `index` until it finds `TARGET` of the neighbours, or until widening no longer helps.

    The width is `nprobe` of cells and `efSearch` of HNSW; both are written with the index. Other kinds stay as
    they are.
    """
    widths = index.widths()
    if not widths or not len(vectors):
        return
    own = sample_rows(len(vectors), sample, seed + 1)
    queries = vectors[own].astype(np.float32)
    threshold = exact_threshold(vectors, queries, own, k)
    chosen, best = widths[0], -1.0
    for width in widths:
        index.set_width(width)
        recall = found_share(index, vectors, queries, own, threshold, k)
        if recall > best + 1e-3:
            chosen, best = width, recall
        if recall >= TARGET:
            break
    index.set_width(chosen)
