"""A graph to draw; the numbers on the edges are fact ids.

0 dog -0- 1 animal -1- 2 cat        5 rain -4- 6 umbrella      7 stone (alone)
  \\____2____________/ |
                      3 (cat -> 3 milk)      4 mouse -5- 2 cat,  loop 6: 4 mouse - 4 mouse,  7: 0 dog -> 1 animal
"""

from pathlib import Path

import numpy as np
import pytest

from kb.adjacency import write_adjacency
from kb.errors import KnowledgeError
from kb.graph import FactGraph

HEADS = [0, 2, 0, 2, 5, 4, 4, 0]
RELATIONS = [0, 0, 1, 2, 3, 1, 4, 5]
TAILS = [1, 1, 2, 3, 6, 2, 4, 1]


@pytest.fixture
def graph() -> FactGraph:
    return FactGraph(HEADS, RELATIONS, TAILS, num_entities=8)


def test_facts_of(graph: FactGraph) -> None:
    assert graph.num_facts == 8
    assert graph.facts_of([0]).tolist() == [0, 2, 7]
    assert graph.facts_of([4, 5, 4]).tolist() == [4, 5, 6]
    assert graph.facts_of([7]).tolist() == []
    assert graph.facts_of([]).tolist() == []


def test_degree_counts_a_loop_once(graph: FactGraph) -> None:
    assert graph.degree().tolist() == [3, 3, 4, 1, 2, 1, 1, 0]
    assert graph.degree([4, 7]).tolist() == [2, 0]


def test_k_hop(graph: FactGraph) -> None:
    assert graph.k_hop([3], 0).tolist() == [3]
    assert graph.k_hop([3], 1).tolist() == [2, 3]
    assert graph.k_hop([3], 2).tolist() == [0, 1, 2, 3, 4]
    assert graph.k_hop([3, 5], 9).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_k_hop_keeps_the_best_linked_when_there_is_no_room(graph: FactGraph) -> None:
    # animal is linked to dog by two facts, cat by one.
    assert graph.k_hop([0], 1, max_entities=1).tolist() == [0, 1]
    assert graph.k_hop([0], 3, max_entities=2).tolist() == [0, 1, 2]
    assert graph.k_hop([0], 3, max_entities=0).tolist() == [0]


def test_subgraph_takes_near_and_connecting_facts_first(graph: FactGraph) -> None:
    assert graph.subgraph([0, 2], 1).tolist() == [2]  # the only fact between the seeds
    assert graph.subgraph([0, 2], 2).tolist() == [2, 3]  # then milk, which has one fact only
    assert graph.subgraph([3], 9, hops=1).tolist() == [3]
    assert graph.subgraph([3], 99).tolist() == [1, 2, 3, 5]
    assert graph.subgraph([3], 99, hops=3).tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert graph.subgraph([3], 0).tolist() == []
    assert graph.subgraph([], 5).tolist() == []


def test_shortest_path(graph: FactGraph) -> None:
    assert graph.shortest_path(0, 3, 4) == [2, 3]
    assert graph.shortest_path(0, 1, 4) == [0]  # not 7: the smaller id
    assert graph.shortest_path(4, 1, 4) == [5, 1]
    assert graph.shortest_path(0, 0, 4) == []
    assert graph.shortest_path(0, 3, 1) is None
    assert graph.shortest_path(0, 6, 9) is None
    assert graph.shortest_path(7, 0, 9) is None


def test_an_opened_graph_is_the_same(graph: FactGraph, tmp_path: Path) -> None:
    write_adjacency(tmp_path, HEADS, RELATIONS, TAILS, 8)
    triples = np.array([HEADS, RELATIONS, TAILS], dtype=np.int32).T
    np.save(tmp_path / "triples.npy", triples)
    mapped = FactGraph.open(tmp_path, np.load(tmp_path / "triples.npy", mmap_mode="r"), 8)
    assert mapped.num_facts == graph.num_facts
    for entity in range(8):
        assert mapped.facts_of([entity]).tolist() == graph.facts_of([entity]).tolist()
        assert mapped.subgraph([entity], 3).tolist() == graph.subgraph([entity], 3).tolist()
        assert mapped.shortest_path(entity, 3, 9) == graph.shortest_path(entity, 3, 9)
        assert mapped.k_hop([entity], 2, 2).dtype == mapped.facts_of([entity]).dtype == np.int64
    assert mapped.degree().tolist() == graph.degree().tolist()
    with pytest.raises(KnowledgeError, match="another graph"):
        FactGraph.open(tmp_path, triples[:3], 8)


def test_neighbours(graph: FactGraph) -> None:
    assert graph.neighbours([0]).tolist() == [1, 2]  # animal once, though by two facts
    assert graph.neighbours([4]).tolist() == [2]  # not itself by its loop
    assert graph.neighbours([0, 2]).tolist() == [1, 3, 4]
    assert graph.neighbours([7]).tolist() == graph.neighbours([]).tolist() == []


def test_common_neighbours(graph: FactGraph) -> None:
    assert graph.common_neighbours(0, 2).tolist() == [1]
    assert graph.common_neighbours([0, 5], [3, 4]).tolist() == [2]
    assert graph.common_neighbours(0, 5).tolist() == []
    assert graph.common_neighbours(0, 0).tolist() == [1, 2]


def test_bridge_nodes(graph: FactGraph) -> None:
    assert graph.bridge_nodes([0, 3]).tolist() == [0, 2, 3]  # dog - cat - milk
    assert graph.bridge_nodes([0, 2]).tolist() == [0, 1, 2]
    assert graph.bridge_nodes([0, 4, 1, 0]).tolist() == [0, 1, 2, 4]
    assert graph.bridge_nodes([0]).tolist() == [0]
    assert graph.bridge_nodes([]).tolist() == []


def test_bridge_nodes_cuts_those_with_fewest_seeds() -> None:
    star = FactGraph([0, 1, 0, 1, 2, 0, 1], [0] * 7, [3, 3, 4, 4, 4, 5, 5], 6)  # 4 has three seeds, 3 and 5 two
    assert star.bridge_nodes([0, 1, 2], 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert star.bridge_nodes([0, 1, 2], 5).tolist() == [0, 1, 2, 3, 4]
    assert star.bridge_nodes([0, 1, 2], 4).tolist() == [0, 1, 2, 4]
    assert star.bridge_nodes([2, 1, 0, 2], 2).tolist() == [1, 2], "the seeds given first stay"
    assert star.bridge_nodes([2, 1], 0).tolist() == []


def test_facts_between(graph: FactGraph) -> None:
    assert graph.facts_between([0, 1, 2]).tolist() == [0, 1, 2, 7]
    assert graph.facts_between([4]).tolist() == [6]
    assert graph.facts_between([5, 7]).tolist() == []


def test_agrees_with_networkx(graph: FactGraph) -> None:
    networkx = pytest.importorskip("networkx")
    rng = np.random.default_rng(0)
    heads, tails = rng.integers(0, 60, size=(2, 80))
    random_graph = FactGraph(heads, np.zeros(80), tails, 60)
    undirected = random_graph.to_networkx().to_undirected()
    for source in sorted(undirected):
        lengths = networkx.single_source_shortest_path_length(undirected, source)
        assert random_graph.k_hop([source], 2).tolist() == sorted(n for n, length in lengths.items() if length <= 2)
        for target in range(60):
            path = random_graph.shortest_path(source, target, 99)
            assert (None if path is None else len(path)) == lengths.get(target)


def test_to_networkx_has_texts(graph: FactGraph) -> None:
    texts = ["dog", "animal", "cat", "milk", "mouse", "rain", "umbrella", "stone"]
    names = ["IsA", "Chases", "Drinks", "KeepsOff", "Likes", "Becomes"]
    drawn = graph.to_networkx([0, 7, 3], entity_texts=texts, relation_names=names)
    assert dict(drawn.nodes(data="text")) == {0: "dog", 1: "animal", 2: "cat", 3: "milk"}
    assert sorted(drawn.edges(keys=True, data="relation")) == [
        (0, 1, 0, "IsA"),
        (0, 1, 7, "Becomes"),
        (2, 3, 3, "Drinks"),
    ]


def test_empty_graph() -> None:
    empty = FactGraph([], [], [], 2)
    assert empty.facts_of([0, 1]).tolist() == []
    assert empty.subgraph([0], 5).tolist() == []
    assert empty.shortest_path(0, 1, 3) is None


def test_wrong_ids_are_named(graph: FactGraph) -> None:
    with pytest.raises(KnowledgeError, match="no entity 8; ids go from 0 to 7"):
        graph.k_hop([0, 8], 1)
    with pytest.raises(KnowledgeError, match="no entity -1"):
        graph.degree([-1])
    with pytest.raises(KnowledgeError, match="no fact 8"):
        graph.to_networkx([8])
    with pytest.raises(KnowledgeError, match="no entity 2"):
        FactGraph([0], [0], [2], num_entities=2)
    with pytest.raises(KnowledgeError, match=r"\(2, 1, 2\) entries"):
        FactGraph([0, 1], [0], [1, 0], num_entities=2)
