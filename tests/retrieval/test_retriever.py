"""A chain of six facts; each has the cosine with QUERY that is written under it.

0 -f0- 1 -f1- 2 -f2- 3 -f3- 4 -f4- 5 -f5- 6
  .9     .8     .1     .5     .3     .7
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.graph import FactGraph
from retrieval.index import FactIndex
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Links
from retrieval.retriever import Retriever

COSINES = [0.9, 0.8, 0.1, 0.5, 0.3, 0.7]
CHAIN = [(n, n % 2, n + 1) for n in range(6)]
QUERY = np.array([[1, 0]], dtype=np.float32)
NOBODY = Links({}, {})


def base(triples: list[tuple[int, int, int]], cosines: list[float], likely: int = 0) -> KnowledgeBase:
    """Return a knowledge base in memory; of its entities, `likely` is the one nearest to QUERY."""
    rows = np.array(triples, dtype=np.int32)
    entities = int(rows[:, [0, 2]].max()) + 1
    x = np.array(cosines)
    vectors = np.stack([x, np.sqrt(1 - x**2)], axis=1).astype(np.float16)
    entity_vectors = np.tile(np.array([0, 1], dtype=np.float16), (entities, 1))
    entity_vectors[likely] = (1, 0)
    nothing: Any = None  # retrieval reads neither the store nor the manifest
    return KnowledgeBase(
        folder=Path(),
        manifest=nothing,
        store=nothing,
        index=FactIndex.build(vectors),
        triples=rows,
        graph=FactGraph(rows[:, 0], rows[:, 1], rows[:, 2], entities),
        entity_vectors=entity_vectors,
        relation_vectors=np.zeros((2, 2), dtype=np.float32),
    )


def mask(*allowed: int) -> NDArray[np.bool_]:
    return np.isin(np.arange(6), allowed)


def found(retriever: Retriever, links: Links = NOBODY) -> list[int]:
    (evidence,) = retriever.retrieve(QUERY, QUERY, [links])
    assert len(set(evidence.fact_ids.tolist())) == len(evidence)
    ids: list[int] = evidence.fact_ids.tolist()
    return ids


def test_dense_facts_come_best_first() -> None:
    (evidence,) = Retriever(base(CHAIN, COSINES), dense=4, linked=0, likely=0).retrieve(QUERY, QUERY, [NOBODY])
    assert evidence.fact_ids.tolist() == [0, 1, 5, 3]
    np.testing.assert_allclose(evidence.scores, [0.9, 0.8, 0.7, 0.5], atol=1e-3)
    assert evidence.scores.dtype == np.float32
    assert not evidence.neighbours.any()
    assert evidence.entity_ids.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert evidence.entity_ids[evidence.tails].tolist() == [1, 2, 6, 4]
    assert evidence.relations.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("links", "linked", "expected"),
    [
        (Links({4: "four"}, {}), 10, [0, 1, 3, 4]),  # f3 is nearer to the query than f4
        (Links({}, {4: 0}), 1, [0, 1, 3]),
        (Links({1: "one"}, {}), 10, [0, 1]),  # its facts are there already
        (Links({2: "two"}, {6: 0}), 10, [0, 1, 5, 2]),
        (Links({4: "four"}, {}), 0, [0, 1]),
        (NOBODY, 10, [0, 1]),
    ],
)
def test_facts_around_linked_entities_are_added_once(links: Links, linked: int, expected: list[int]) -> None:
    retriever = Retriever(base(CHAIN, COSINES), dense=2, linked=linked, likely=0)
    (evidence,) = retriever.retrieve(QUERY, QUERY, [links])
    assert evidence.fact_ids.tolist() == expected
    assert evidence.neighbours.tolist() == [False, False] + [True] * (len(expected) - 2)
    np.testing.assert_allclose(evidence.scores, [COSINES[i] for i in expected], atol=1e-3)


def test_a_likely_anchor_brings_what_nobody_names() -> None:
    # Entity 2 stands in f1, which is found; its other fact leads to entity 3, which nothing names.
    retriever = Retriever(base(CHAIN, COSINES, likely=2), dense=2, linked=0, likely=5, anchors=1)
    (evidence,) = retriever.retrieve(QUERY, QUERY, [NOBODY])
    assert evidence.fact_ids.tolist() == [0, 1, 2]
    assert evidence.neighbours.tolist() == [False, False, True]
    assert 3 in evidence.entity_ids


def test_linked_entities_and_their_facts_may_be_anchors() -> None:
    knowledge = base(CHAIN, COSINES, likely=5)
    # f4 comes by the linked entity 4, entity 5 by f4, f5 by entity 5.
    assert found(Retriever(knowledge, dense=1, linked=2, likely=5, anchors=1), Links({4: "four"}, {})) == [0, 3, 4, 5]
    assert found(Retriever(knowledge, dense=1, linked=0, likely=5, anchors=1), Links({5: "five"}, {})) == [0, 5, 4]
    assert found(Retriever(knowledge, dense=1, linked=0, likely=0, anchors=1), Links({5: "five"}, {})) == [0]


@pytest.mark.parametrize(("likely", "anchors", "expected"), [(1, 9, [1]), (9, 1, []), (9, 2, [1]), (9, 0, [])])
def test_anchors_and_their_facts_are_counted(likely: int, anchors: int, expected: list[int]) -> None:
    # Found is f0 of the entities 0 and 1: 0, the nearest, has no other fact; 1 has f1.
    retriever = Retriever(base(CHAIN, COSINES, likely=0), dense=1, linked=0, likely=likely, anchors=anchors)
    assert found(retriever) == [0, *expected]


@pytest.mark.parametrize("allowed", [(1, 3, 5), (2,), (0, 1, 2, 3, 4), ()])
@pytest.mark.parametrize("dense", [1, 3, 6])
def test_hidden_facts_appear_nowhere(allowed: tuple[int, ...], dense: int) -> None:
    everybody = Links({n: str(n) for n in range(7)}, {})
    retriever = Retriever(base(CHAIN, COSINES), dense=dense, linked=9, likely=9, anchors=7, allowed=mask(*allowed))
    assert sorted(found(retriever, everybody)) == list(allowed)
    assert set(retriever.rank(QUERY, 6)[0]) <= {*allowed, -1}


def test_a_huge_hub_is_looked_at_in_part() -> None:
    hub = [(0, 0, n + 1) for n in range(20)]
    cosines = [0.02 * n for n in range(20)]
    retriever = Retriever(base(hub, cosines), dense=1, linked=50, likely=0, max_neighbourhood=5)
    assert sorted(found(retriever, Links({0: "hub"}, {}))) == [0, 1, 2, 3, 4, 19]
    # Two entities share the budget.
    assert sorted(found(retriever, Links({0: "hub", 8: "leaf"}, {}))) == [0, 1, 7, 19]


def test_more_facts_are_asked_than_there_are() -> None:
    retriever = Retriever(base(CHAIN, COSINES), dense=50, linked=50, likely=50)
    assert found(retriever, Links({0: "nought"}, {3: 0})) == [0, 1, 5, 3, 4, 2]


def test_examples_do_not_see_each_other() -> None:
    retriever = Retriever(base(CHAIN, COSINES, likely=2), dense=1, linked=1, likely=1, anchors=1)
    queries = np.array([[1, 0], [0, 1]], dtype=np.float32)
    links = [Links({4: "four"}, {}), NOBODY]
    together = retriever.retrieve(queries, queries, links)
    for row, evidence in enumerate(together):
        (alone,) = retriever.retrieve(queries[row : row + 1], queries[row : row + 1], links[row : row + 1])
        assert alone.fact_ids.tolist() == evidence.fact_ids.tolist()
    assert together[0].fact_ids[0] == 0 and together[1].fact_ids[0] == 2


def test_ranking() -> None:
    knowledge = base(CHAIN, COSINES)
    assert Retriever(knowledge).rank(QUERY, 3).tolist() == [[0, 1, 5]]
    assert Retriever(knowledge).rank(QUERY, 50)[0, :6].tolist() == [0, 1, 5, 3, 4, 2]
    assert Retriever(knowledge, allowed=mask(2, 4)).rank(QUERY, 4).tolist() == [[4, 2, -1, -1]]
