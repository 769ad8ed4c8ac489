"""The FAISS index over fact embeddings; ids are fact ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError

if TYPE_CHECKING:
    import faiss

FLAT = "Flat"


class FactIndex:
    """Inner-product search over unit vectors, one for each fact, in the order of fact ids."""

    def __init__(self, index: faiss.Index) -> None:
        import faiss

        self.index = index
        self.cells = faiss.try_extract_index_ivf(index)
        if self.cells is not None:
            self.cells.make_direct_map()  # without it, stored vectors cannot be read by id

    @classmethod
    def build(cls, vectors: NDArray[np.float16], *, factory: str = FLAT) -> FactIndex:
        """Index `vectors` (num_facts, dimension); `factory` is a FAISS factory string.

        Raises:
            KnowledgeError: if FAISS does not know the factory string, or it wants more facts than there are.
        """
        index = empty_index(vectors.shape[1], factory)
        if not index.is_trained:
            try:
                index.train(vectors.astype(np.float32))
            except RuntimeError:
                raise KnowledgeError(
                    f"index {factory!r} cannot be trained on {len(vectors):,} facts; give a smaller one, such as Flat"
                ) from None
        for start in range(0, len(vectors), 65536):  # in pieces: the index alone is held in full precision
            index.add(vectors[start : start + 65536].astype(np.float32))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> FactIndex:
        """Load an index file.

        Raises:
            KnowledgeError: if it is missing or damaged.
        """
        import faiss

        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise KnowledgeError(f"index {path} cannot be read ({reason}); build it again: kvqa index-kb") from None

    def save(self, path: Path) -> None:
        """Write the index file."""
        import faiss

        faiss.write_index(self.index, str(path))

    def __len__(self) -> int:
        """Number of indexed facts."""
        return int(self.index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.index.d)

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and scores (B, k), best first, of the facts nearest to `queries` (B, dimension).

        Where fewer than `k` facts are allowed, the rest of a row is id -1 and score -inf.

        Args:
            allowed: Which facts may be found, (num_facts,); None is all.
        """
        import faiss

        options = None
        if allowed is not None:
            chosen = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            if self.cells is None:
                options = faiss.SearchParameters(sel=chosen)
            else:
                options = faiss.SearchParametersIVF(sel=chosen, nprobe=self.cells.nprobe)
        scores, ids = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=options)
        return ids, np.where(ids < 0, -np.inf, scores).astype(np.float32)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored vectors (len(ids), dimension) of facts."""
        found: NDArray[np.float32] = self.index.reconstruct_batch(np.ascontiguousarray(ids, dtype=np.int64))
        return found


def empty_index(dimension: int, factory: str) -> faiss.Index:
    """Return an empty inner-product index.

    Raises:
        KnowledgeError: if FAISS does not know the factory string.
    """
    import faiss

    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise KnowledgeError(f"FAISS does not know the index {factory!r}; give one such as Flat or HNSW32") from None
