import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.index import AUTO, FLAT, FactIndex, choose_index
from retrieval.index_choice import FLAT_FACTS, MOST_CELLS
from retrieval.index_recall import TARGET, exact_threshold, index_recall, sample_rows


def units(count: int, seed: int = 0, width: int = 16) -> NDArray[np.float16]:
    vectors = np.random.default_rng(seed).standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


VECTORS = units(2000)


def test_exact_search_has_recall_one() -> None:
    assert index_recall(FactIndex.build(VECTORS), VECTORS, sample=50) == 1
    assert index_recall(FactIndex.build(VECTORS), VECTORS, queries=units(9, seed=1).astype(np.float32)) == 1


def test_recall_is_the_share_of_true_neighbours_found() -> None:
    """Against sets worked out by brute force, self left out."""
    index = FactIndex.build(VECTORS, factory="IVF16,Flat")
    index.set_width(1)
    own = sample_rows(len(VECTORS), 40, 0)
    exact = VECTORS[own].astype(np.float32) @ VECTORS.astype(np.float32).T
    exact[np.arange(40), own] = -np.inf
    true = np.argsort(-exact, axis=1)[:, :10]
    ids = index.search(VECTORS[own].astype(np.float32), 11)[0]
    found = [[i for i in row if i not in (self_, -1)][:10] for row, self_ in zip(ids, own, strict=True)]
    expected = np.mean([len(set(t) & set(f)) / 10 for t, f in zip(true, found, strict=True)])
    assert expected < 0.9
    assert index_recall(index, VECTORS, sample=40) == pytest.approx(expected, abs=0.02)


def test_equal_facts_do_no_harm() -> None:
    vectors = np.repeat(units(4), 50, axis=0)
    assert index_recall(FactIndex.build(vectors), vectors, sample=20) == 1


def test_fewer_facts_than_neighbours() -> None:
    assert index_recall(FactIndex.build(VECTORS[:4]), VECTORS[:4]) == 1
    assert index_recall(FactIndex.build(VECTORS[:1]), VECTORS[:1]) == 1


def test_thresholds_run_over_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sample_rows(len(VECTORS), 5, 0)
    whole = exact_threshold(VECTORS, VECTORS[own].astype(np.float32), own, 10)
    monkeypatch.setattr("retrieval.index_recall.BLOCK", 300)
    np.testing.assert_allclose(exact_threshold(VECTORS, VECTORS[own].astype(np.float32), own, 10), whole, atol=1e-6)


@pytest.mark.parametrize(("count", "k", "sample"), [(0, 10, 5), (5, 0, 5), (5, 10, 0)])
def test_nothing_to_measure_is_an_error(count: int, k: int, sample: int) -> None:
    with pytest.raises(ValueError, match="each must be at least 1"):
        index_recall(FactIndex.build(VECTORS), VECTORS[:count], k=k, sample=sample)


@pytest.mark.parametrize("factory", ["IVF16,Flat", "IVF16,SQ8", "HNSW4"])
def test_the_search_is_widened_until_it_finds_enough(factory: str) -> None:
    index = FactIndex.build(VECTORS, factory=factory)
    tuned = index_recall(index, VECTORS)
    assert tuned >= TARGET - 0.02
    index.set_width(index.widths()[0])
    assert index_recall(index, VECTORS) < tuned


def test_small_bases_are_searched_exactly_and_large_ones_in_cells() -> None:
    assert choose_index(10, 384) == choose_index(FLAT_FACTS, 384) == FLAT
    assert choose_index(FLAT_FACTS + 1, 384) == "IVF1024,SQ8"
    assert choose_index(500_001, 255) == "IVF2048,SQ8"  # an odd number of numbers has no pairs
    assert choose_index(5_000_000, 256) == f"IVF{MOST_CELLS},PQ128x4fs"
    assert choose_index(1_500_000_000, 256) == f"IVF{MOST_CELLS},PQ128x4fs"


def test_auto_is_what_is_chosen() -> None:
    assert index_recall(FactIndex.build(VECTORS, factory=AUTO), VECTORS, sample=5) == 1
