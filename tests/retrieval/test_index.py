from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.index import FLAT, FactIndex

FACTORIES = [FLAT, "HNSW16", "IVF4,Flat"]
FACTS, WIDTH = 161, 16  # not a multiple of 8, so that the last byte of a bit mask is not full


def units(count: int, seed: int = 0) -> NDArray[np.float16]:
    vectors = np.random.default_rng(seed).standard_normal((count, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


VECTORS = units(FACTS)
QUERIES = units(7, seed=1).astype(np.float32)


def test_search_equals_brute_force() -> None:
    index = FactIndex.build(VECTORS)
    products = QUERIES @ VECTORS.astype(np.float32).T
    ids, scores = index.search(QUERIES, 20)
    np.testing.assert_array_equal(ids, np.argsort(-products, axis=1)[:, :20])
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :20], atol=1e-5)
    assert (len(index), index.dimension) == (FACTS, WIDTH)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("factory", FACTORIES)
def test_hidden_facts_are_never_found(factory: str) -> None:
    index = FactIndex.build(VECTORS, factory=factory)
    for seed in range(3):
        allowed = np.random.default_rng(seed).random(FACTS) < 0.3
        ids, scores = index.search(QUERIES, FACTS, allowed=allowed)
        assert set(ids[ids >= 0]) <= set(np.flatnonzero(allowed))
        assert np.isneginf(scores[ids < 0]).all() and np.isfinite(scores[ids >= 0]).all()


def test_among_the_allowed_the_search_is_complete() -> None:
    allowed = np.zeros(FACTS, dtype=bool)
    allowed[[3, 80, FACTS - 1]] = True
    ids, scores = FactIndex.build(VECTORS).search(QUERIES, 5, allowed=allowed)
    assert [set(row[:3]) for row in ids.tolist()] == [{3, 80, FACTS - 1}] * len(QUERIES)
    assert (ids[:, 3:] == -1).all() and np.isneginf(scores[:, 3:]).all()
    assert (np.diff(scores[:, :3], axis=1) <= 0).all()


def test_nothing_is_allowed() -> None:
    ids, scores = FactIndex.build(VECTORS).search(QUERIES, 4, allowed=np.zeros(FACTS, dtype=bool))
    assert (ids == -1).all() and np.isneginf(scores).all()


@pytest.mark.parametrize("factory", FACTORIES)
def test_every_factory_finds_a_fact_by_its_own_vector(factory: str, tmp_path: Path) -> None:
    FactIndex.build(VECTORS, factory=factory).save(tmp_path / "facts.faiss")
    index = FactIndex.load(tmp_path / "facts.faiss")
    ids, scores = index.search(VECTORS.astype(np.float32), 1)
    assert (ids[:, 0] == np.arange(FACTS)).mean() > 0.95  # HNSW is approximate
    np.testing.assert_allclose(scores[ids[:, 0] == np.arange(FACTS), 0], 1, atol=0.005)


@pytest.mark.parametrize("factory", FACTORIES)
def test_stored_vectors_come_back_in_the_order_asked(factory: str, tmp_path: Path) -> None:
    FactIndex.build(VECTORS, factory=factory).save(tmp_path / "facts.faiss")
    index = FactIndex.load(tmp_path / "facts.faiss")
    ids = np.array([160, 2, 2, 77])
    np.testing.assert_array_equal(index.vectors(ids), VECTORS[ids].astype(np.float32))
    assert index.vectors(ids[:0]).shape == (0, WIDTH)


def test_a_large_index_is_filled_in_pieces() -> None:
    vectors = np.zeros((65537, 2), dtype=np.float16)
    vectors[-1] = (0, 1)
    index = FactIndex.build(vectors)
    assert index.search(np.array([[0, 1]], dtype=np.float32), 1)[0].tolist() == [[65536]]


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    index = FactIndex.build(VECTORS)
    index.save(tmp_path / "facts.faiss")
    loaded = FactIndex.load(tmp_path / "facts.faiss")
    for before, after in zip(index.search(QUERIES, 9), loaded.search(QUERIES, 9), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut in the head", "cut in the vectors", "something else"])
def test_a_file_that_is_no_whole_index_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "facts.faiss"
    FactIndex.build(VECTORS).save(path)
    whole = path.read_bytes()
    damaged = {"empty": b"", "cut in the head": whole[:20], "cut in the vectors": whole[:-9]}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged.get(damage, b"SQLite format 3\x00" * 9))
    with pytest.raises(KnowledgeError, match=r"facts\.faiss cannot be read .*build it again: kvqa index-kb") as caught:
        FactIndex.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factory", ["SQ8", "IVF4,SQ8", "PQ4x4", "IVF4,PQ4x4fs", "PCA8,IVF4,Flat", "HNSW8,SQ8", "SQ4"])
def test_a_compressing_index_reads_vectors_from_the_file_beside_it(factory: str, tmp_path: Path) -> None:
    built = FactIndex.build(VECTORS, factory=factory)
    assert not built.lossless
    built.save(tmp_path / "facts.faiss")
    np.save(tmp_path / "facts.npy", VECTORS)
    ids = np.array([160, 2, 2, 77])
    index = FactIndex.load(tmp_path / "facts.faiss", rows=tmp_path / "facts.npy")
    for each in (built, index):
        np.testing.assert_array_equal(each.vectors(ids), VECTORS[ids].astype(np.float32))
    with pytest.raises(KnowledgeError, match="compressed vectors only and the file of the full ones is missing"):
        FactIndex.load(tmp_path / "facts.faiss").vectors(ids)


@pytest.mark.parametrize("factory", ["SQ8", "PQ4x4", "IVF4,SQ8", "IVF4,PQ4x4fs", "PCA8,IVF4,Flat", "HNSW8,SQ8", "SQ4"])
def test_every_kind_keeps_hidden_facts_hidden(factory: str) -> None:
    index = FactIndex.build(VECTORS, factory=factory)
    allowed = np.arange(FACTS) % 5 == 0
    ids, scores = index.search(QUERIES, 40, allowed=allowed)
    assert set(ids[ids >= 0]) <= set(np.flatnonzero(allowed))
    assert (ids >= 0).sum(1).min() >= 8 and np.isneginf(scores[ids < 0]).all()
    assert ids.shape == scores.shape == (len(QUERIES), 40)


@pytest.mark.parametrize("factory", [*FACTORIES, "SQfp16", "IVF4,SQfp16"])
def test_half_precision_is_lossless(factory: str) -> None:
    index = FactIndex.build(VECTORS, factory=factory)
    assert index.lossless == (factory != "IVF4,SQfp16")  # that one rounds what is left after its cell's centre


def test_the_width_of_the_search_is_stored(tmp_path: Path) -> None:
    for factory, width in (("IVF8,SQ8", 4), ("HNSW8", 128), ("PCA8,IVF8,Flat", 2)):
        index = FactIndex.build(VECTORS, factory=factory)
        index.set_width(width)
        index.save(tmp_path / "facts.faiss")
        np.save(tmp_path / "facts.npy", VECTORS)
        loaded = FactIndex.load(tmp_path / "facts.faiss", rows=tmp_path / "facts.npy")
        before, after = index.search(QUERIES, 9)[0], loaded.search(QUERIES, 9)[0]
        np.testing.assert_array_equal(before, after)
        (tmp_path / "facts.faiss").unlink()


def test_vectors_of_another_base_are_refused(tmp_path: Path) -> None:
    FactIndex.build(VECTORS, factory="SQ8").save(tmp_path / "facts.faiss")
    np.save(tmp_path / "facts.npy", VECTORS[:9])
    with pytest.raises(KnowledgeError, match=r"facts\.npy holds \(9, 16\) numbers, .* has 161 facts of 16"):
        FactIndex.load(tmp_path / "facts.faiss", rows=tmp_path / "facts.npy")


@pytest.mark.parametrize(
    ("factory", "message"),
    [("Nonsense7", "does not know the index"), ("IVF4096,Flat", "cannot be trained on 161"), ("IDMap,Flat", "IDMap")],
)
def test_an_index_that_cannot_be_built_is_named(factory: str, message: str) -> None:
    with pytest.raises(KnowledgeError, match=message):
        FactIndex.build(VECTORS, factory=factory)


@pytest.mark.parametrize("count", [0, 3, 60])
def test_a_kind_that_cannot_choose_looks_at_more(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("this kind takes no selector")

    allowed = np.arange(FACTS) >= FACTS - count
    expected = FactIndex.build(VECTORS).search(QUERIES, 40, allowed=allowed)
    monkeypatch.setattr("retrieval.index._options", refuse)
    found = FactIndex.build(VECTORS).search(QUERIES, 40, allowed=allowed)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("factory", ["PQ4x4", "IVF4,PQ4x4fs", "SQ4"])
def test_finds_of_codes_are_scored_by_the_vectors_where_they_are_there(factory: str) -> None:
    index = FactIndex.build(VECTORS, factory=factory)
    index.set_width(4)
    ids, scores = index.search(QUERIES, 9)
    exact_ids, exact_scores = FactIndex.build(VECTORS).search(QUERIES, 9)
    # 161 facts are fewer than the 200 that are scored again, so all of them are, and nothing is lost.
    np.testing.assert_allclose(scores, exact_scores, atol=1e-6)
    index.rows = None
    assert (index.search(QUERIES, 9)[0] == exact_ids).mean() < (ids == exact_ids).mean()
