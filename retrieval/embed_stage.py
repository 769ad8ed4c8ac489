"""The second stage of a build: vectors for facts, entities and relations, shard by shard.

A vector depends on the text alone, so what the generation before has a vector for is taken from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kb.packed import StringTable
from kb.relations import verbalise
from kb.store import KnowledgeStore
from retrieval.embedding import Encoder
from retrieval.vector_file import SHARD, VectorFile, save_array
from retrieval.workers import EncodeShards

Vectors: TypeAlias = NDArray[np.float16]
Between: TypeAlias = Callable[[int, int], list[str]]
"""Texts of the rows from one number to another (excluded)."""


@dataclass(frozen=True)
class Kept:
    """The vectors of the generation before.

    Attributes:
        vectors: (rows, dimension) float16, memory-mapped.
        texts: The texts of its rows.
        same: So many rows at the beginning have the same text in the new generation.
    """

    vectors: Vectors
    texts: Between
    same: int

    def by_text(self) -> Callable[[Sequence[str]], NDArray[np.int64]]:
        """Return a function from texts to the rows of their vectors, -1 for a text that has none."""
        table, rows = StringTable(), [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(self.vectors), SHARD):
            first: dict[str, int] = {}
            for row, text in enumerate(self.texts(start, min(start + SHARD, len(self.vectors))), start):
                first.setdefault(text, row)
            known = len(table)
            new = table.add(list(first)) >= known
            rows.append(np.fromiter(first.values(), dtype=np.int64, count=len(first))[new])
        row_of = np.concatenate(rows)

        def find(texts: Sequence[str]) -> NDArray[np.int64]:
            ids = table.find(texts)
            return np.where(ids < 0, -1, row_of[ids]) if len(row_of) else ids

        return find


def embed_rows(
    path: Path,
    count: int,
    encoder: Encoder,
    texts: Between,
    encode: EncodeShards,
    *,
    kept: Kept | None = None,
    tell: Callable[[int], None],
) -> None:
    """Write the vectors of `count` texts to `path`, going on with what an earlier run wrote.

    Args:
        texts: The texts of the rows.
        encode: Encodes shards, here or elsewhere.
        kept: Vectors that need not be made again.
        tell: Called with the number of texts done since the last call.

    Raises:
        OSError: if the disk refuses.
    """
    if path.is_file():
        tell(count)
        return
    file = VectorFile(path, (count, encoder.dimension))
    try:
        tell(sum(stop - start for start, stop in map(file.span, file.done)))
        missing: dict[int, tuple[Vectors, NDArray[np.int64]]] = {}
        shards = _missing_texts(file, texts, kept, missing, tell)
        for number, vectors in encode(encoder, shards, tell):
            rows, places = missing.pop(number)
            rows[places] = vectors
            file.write(number, rows)
        file.finish()
    finally:
        file.close()


def _missing_texts(
    file: VectorFile,
    texts: Between,
    kept: Kept | None,
    missing: dict[int, tuple[Vectors, NDArray[np.int64]]],
    tell: Callable[[int], None],
) -> Iterator[tuple[int, list[str]]]:
    """Give number and texts of what is to be encoded of each shard; shards that need nothing are written at once."""
    find = kept.by_text() if kept is not None and kept.same < min(file.shape[0], len(kept.vectors)) else None
    for number in file.todo:
        start, stop = file.span(number)
        rows = np.empty((stop - start, file.shape[1]), dtype=np.float16)
        here = [] if kept is not None and stop <= kept.same else texts(start, stop)
        known = _known(kept, find, here, start, stop)
        if kept is not None:
            rows[known >= 0] = kept.vectors[known[known >= 0]]
        places = np.flatnonzero(known < 0)
        tell(stop - start - len(places))
        if not len(places):
            file.write(number, rows)
            continue
        missing[number] = (rows, places)
        yield number, [here[place] for place in places.tolist()]


def _known(
    kept: Kept | None,
    find: Callable[[Sequence[str]], NDArray[np.int64]] | None,
    texts: Sequence[str],
    start: int,
    stop: int,
) -> NDArray[np.int64]:
    """Return the row of the kept vector for each of the rows from `start` to `stop`, -1 where there is none."""
    known = np.full(stop - start, -1, dtype=np.int64)
    if kept is None:
        return known
    if find is not None:
        known[:] = find(texts)
    same = max(0, min(stop, kept.same) - start)
    known[:same] = np.arange(start, start + same)
    return known


def relation_text(name: str) -> str:
    """Return the words by which a relation is embedded: its sentence with neutral ends."""
    return verbalise("something", name, "something")


def embed_relations(path: Path, store: KnowledgeStore, encoder: Encoder) -> None:
    """Write the vectors of all relations, (num_relations, dimension) float32."""
    vectors = encoder.encode([relation_text(name) for name in store.relation_names()])
    save_array(path, vectors.astype(np.float32))
