"""The FAISS index over fact embeddings; ids are fact ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.faiss_build import check_one_build, to_cpu, to_gpu
from retrieval.index_choice import AUTO, FLAT, choose_index
from retrieval.index_recall import index_recall, sample_rows, tune

if TYPE_CHECKING:
    import faiss

__all__ = ["AUTO", "FLAT", "FactIndex", "Fill", "add_in_pieces", "choose_index", "empty_index", "index_recall"]

BLOCK = 65_536
POINTS_PER_CELL = 64
LEAST_TRAINING, MOST_TRAINING = 65_536, 262_144
"""Training reads a sample of this many vectors (at most 400 MB at 384 dimensions) of however large a base."""
WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Numbers of cells that a search may visit."""
LEAST_RESCORED = 200
"""Finds of a compressed index that are scored again by their full vectors; `k` and a quarter more if that is more."""


Fill: TypeAlias = "Callable[[faiss.Index, NDArray[np.float16], Callable[[int], None]], None]"
"""Adds all vectors to a trained index; is told whom to tell of vectors done."""


class FactIndex:
    """Inner-product search over unit vectors, one for each fact, in the order of fact ids.

    Reading vectors back: an index that keeps every number to half precision (`lossless`: flat codes, alone or in
    cells or under HNSW) gives them itself. Of any other, the builder keeps the indexed vectors beside it as a
    `.npy` file and names it to `load(rows=…)`; without that file the search works and `vectors` is refused.

    Codes say roughly what is near. With the full vectors at hand, more is taken from the index than was asked for and
    ordered by true scores, so what a search loses is what the index does not visit, not what its codes blur.

    Args:
        index: A filled FAISS index.
        rows: The indexed vectors (num_facts, dimension), commonly a memory map. If given, `vectors` reads them, and
            finds of a compressed index are scored by them.
    """

    def __init__(self, index: faiss.Index, *, rows: NDArray[np.float16] | None = None) -> None:
        self.index = index
        self.rows = rows
        self.lossless = _lossless(index)
        self._on_gpu = to_gpu(index)
        self._mapped = False

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float16],
        *,
        factory: str = FLAT,
        seed: int = 0,
        fill: Fill | None = None,
        tell: Callable[[int], None] = lambda done: None,
    ) -> FactIndex:
        """Index `vectors` (num_facts, dimension), commonly a memory map: they are read in pieces.

        Training sees a bounded sample. How many cells (`nprobe`) or candidates (`efSearch`) a search visits is then
        set to the least that finds the true neighbours of a sample of facts, and is stored with the index.

        Args:
            factory: FAISS factory string; `AUTO` is what `choose_index` says.
            seed: Chooses the samples.
            fill: Adds the vectors to the trained index; None is `add_in_pieces`.
            tell: Called with the number of vectors added since the last call.

        Raises:
            KnowledgeError: if FAISS does not know the factory string, cannot number facts with it, or it wants more
                facts than there are.
        """
        if factory == AUTO:
            factory = choose_index(*vectors.shape)
        empty = empty_index(vectors.shape[1], factory)
        built = cls(_filled(empty, vectors, factory, seed, fill or add_in_pieces, tell))
        if not built.lossless:
            built.rows = vectors
        tune(built, vectors, seed=seed)
        return built

    @classmethod
    def load(cls, path: Path, *, rows: Path | None = None) -> FactIndex:
        """Open an index file. Codes stay on disk and are mapped into memory, so opening takes milliseconds.

        The file must not be written to while it is open; replace it by renaming.

        Args:
            path: Written by `save`.
            rows: `.npy` file of the indexed vectors, see above; None is none.

        Raises:
            KnowledgeError: if a file is missing or damaged.
        """
        import faiss

        check_one_build()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            kept = np.load(rows, mmap_mode="r", allow_pickle=False) if rows is not None else None
        except (RuntimeError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise KnowledgeError(f"index {path} cannot be read ({reason}); build it again: kvqa index-kb") from None
        if kept is not None and kept.shape != (index.ntotal, index.d):
            raise KnowledgeError(
                f"{rows} holds {kept.shape} numbers, {path} has {index.ntotal:,} facts of {index.d};"
                " build them again: kvqa index-kb"
            )
        return cls(index, rows=kept)

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
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self.rows is None or self.lossless:
            return self._search(queries, k, allowed)
        ids, _ = self._search(queries, min(len(self), max(LEAST_RESCORED, k + k // 4)), allowed)
        return _best_of(self.rows, queries, ids, k)

    def _search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search by the codes of the index."""
        import faiss

        if allowed is None:
            scores, ids = (self._on_gpu or self.index).search(queries, k)
        else:
            chosen = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            try:
                scores, ids = self.index.search(queries, k, params=_options(self.index, chosen))
            except RuntimeError:  # kinds that cannot choose: look at more and more, and leave out the others
                scores, ids = self._widening_search(queries, k, allowed)
        return ids, np.where(ids < 0, -np.inf, scores).astype(np.float32)

    def _widening_search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted, width = min(k, int(allowed.sum())), 2 * k
        while True:
            scores, ids = self.index.search(queries, min(width, len(self)))
            fits = (ids >= 0) & allowed[ids]
            if width >= len(self) or (fits.sum(1) >= wanted).all():
                break
            width *= 4
        order = np.argsort(~fits, axis=1, kind="stable")[:, :k]  # those that fit come first, in their order
        ids = np.take_along_axis(np.where(fits, ids, -1), order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
        missing = ((0, 0), (0, k - ids.shape[1]))
        return np.pad(scores, missing), np.pad(ids, missing, constant_values=-1)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (len(ids), dimension) of facts.

        Raises:
            KnowledgeError: if the index compresses and the file of its vectors was not given.
        """
        import faiss

        if self.rows is not None:
            return np.asarray(self.rows[ids], dtype=np.float32)
        if not self.lossless:
            raise KnowledgeError(
                "this index keeps compressed vectors only and the file of the full ones is missing;"
                " build it again: kvqa index-kb"
            )
        if not self._mapped:
            cells = faiss.try_extract_index_ivf(self.index)
            if cells is not None:
                cells.make_direct_map()  # without it, vectors in cells cannot be read by id
            self._mapped = True
        found: NDArray[np.float32] = self.index.reconstruct_batch(np.ascontiguousarray(ids, dtype=np.int64))
        return found

    def widths(self) -> list[int]:
        """Return how wide a search may go, narrow to wide: numbers of cells, or of HNSW candidates; else none."""
        import faiss

        cells = faiss.try_extract_index_ivf(self.index)
        if cells is not None:
            return [width for width in WIDTHS if width <= cells.nlist]
        return [16, 32, 64, 128, 256, 512] if _hnsw(self.index) is not None else []

    def set_width(self, width: int) -> None:
        """Set how wide a search goes; see `widths`."""
        import faiss

        cells, graph = faiss.try_extract_index_ivf(self.index), _hnsw(self.index)
        if cells is not None:
            cells.nprobe = width
        elif graph is not None:
            graph.hnsw.efSearch = width
        if self._on_gpu is not None and hasattr(self._on_gpu, "nprobe"):
            self._on_gpu.nprobe = width


def _best_of(
    rows: NDArray[np.float16], queries: NDArray[np.float32], ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and true scores (B, k), best first, of the finds `ids` (B, at least k or all), -1 for none."""
    best_ids = np.full((len(queries), k), -1, dtype=np.int64)
    best_scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, query in enumerate(queries):
        found = np.sort(ids[row][ids[row] >= 0])  # in the order of the file, and so that equal scores are in order
        scores = rows[found].astype(np.float32) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        best_ids[row, : len(order)], best_scores[row, : len(order)] = found[order], scores[order]
    return best_ids, best_scores


def empty_index(dimension: int, factory: str) -> faiss.Index:
    """Return an empty inner-product index.

    Raises:
        KnowledgeError: if FAISS does not know the factory string, or two builds of FAISS are installed.
    """
    import faiss

    check_one_build()
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise KnowledgeError(f"FAISS does not know the index {factory!r}; give one such as Flat or HNSW32") from None


def add_in_pieces(index: faiss.Index, vectors: NDArray[np.float16], tell: Callable[[int], None]) -> None:
    """Add `vectors` (n, dimension) to a trained index, a block at a time; `tell` is called with each block's size."""
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float32)
        index.add(block)
        tell(len(block))


def _filled(
    index: faiss.Index,
    vectors: NDArray[np.float16],
    factory: str,
    seed: int,
    fill: Fill,
    tell: Callable[[int], None],
) -> faiss.Index:
    """Train `index` on a sample and add `vectors`, on the GPU if there is one; return it in main memory."""
    import faiss

    wanted, cells = LEAST_TRAINING, faiss.try_extract_index_ivf(index)
    if cells is not None:
        cells.cp.max_points_per_centroid = POINTS_PER_CELL  # more costs time and gives no recall
        wanted = min(max(wanted, POINTS_PER_CELL * cells.nlist), MOST_TRAINING)
    on_gpu = to_gpu(index)
    working = index if on_gpu is None else on_gpu
    if not working.is_trained:
        try:
            working.train(vectors[sample_rows(len(vectors), wanted, seed)].astype(np.float32))
        except RuntimeError:
            raise KnowledgeError(
                f"index {factory!r} cannot be trained on {len(vectors):,} facts; give a smaller one, such as Flat"
            ) from None
    try:
        fill(working, vectors, tell)
    except RuntimeError:
        raise KnowledgeError(
            f"index {factory!r} does not number facts as they come; give one without IDMap, such as Flat or HNSW32"
        ) from None
    return index if on_gpu is None else to_cpu(on_gpu)


def _lossless(index: faiss.Index) -> bool:
    """Say whether the index keeps vectors as they are, to half precision, so that no `.npy` file is needed."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    if isinstance(index, faiss.IndexScalarQuantizer | faiss.IndexIVFScalarQuantizer):
        return not getattr(index, "by_residual", False) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
    return isinstance(index, faiss.IndexFlat | faiss.IndexIVFFlat)


def _hnsw(index: faiss.Index) -> faiss.IndexHNSW | None:
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _hnsw(index.index)
    return index if isinstance(index, faiss.IndexHNSW) else None


def _options(index: faiss.Index, chosen: faiss.IDSelector) -> faiss.SearchParameters:
    """Return the search options of this kind of index that keep to `chosen`, as wide as without."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_options(index.index, chosen))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=chosen, efSearch=index.hnsw.efSearch)
    if isinstance(index, faiss.IndexIVFPQ):
        return faiss.IVFPQSearchParameters(sel=chosen, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=chosen, nprobe=index.nprobe)
    return faiss.SearchParameters(sel=chosen)
