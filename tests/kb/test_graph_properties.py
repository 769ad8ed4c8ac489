"""Graph questions held against networkx, and against their definition, on random small graphs."""

from itertools import combinations

import networkx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.graph import FactGraph

NODES = 7
entities = st.integers(0, NODES - 1)
graphs = st.lists(st.tuples(entities, st.integers(0, 2), entities), max_size=14).map(
    lambda facts: FactGraph(*np.array(facts, dtype=np.int64).reshape(-1, 3).T, NODES)
)
some = st.lists(entities, max_size=5)
few_examples = settings(max_examples=60, deadline=None, derandomize=True)


def undirected(graph: FactGraph) -> networkx.MultiGraph:
    drawn = networkx.MultiGraph(graph.to_networkx())
    drawn.add_nodes_from(range(NODES))
    return drawn


@few_examples
@given(graphs, some)
def test_rows(graph: FactGraph, chosen: list[int]) -> None:
    drawn = undirected(graph)
    assert graph.facts_of(chosen).tolist() == sorted({key for _, _, key in drawn.edges(chosen, keys=True)})
    assert graph.neighbours(chosen).tolist() == sorted({n for c in chosen for n in drawn[c]} - set(chosen))
    inside = drawn.subgraph(chosen).edges(keys=True)
    assert graph.facts_between(chosen).tolist() == sorted(key for _, _, key in inside)


@few_examples
@given(graphs, some, st.integers(0, 3))
def test_k_hop(graph: FactGraph, seeds: list[int], hops: int) -> None:
    drawn = undirected(graph)
    balls = [networkx.single_source_shortest_path_length(drawn, seed, cutoff=hops) for seed in seeds]
    assert graph.k_hop(seeds, hops).tolist() == sorted({node for ball in balls for node in ball})


@few_examples
@given(graphs, entities, entities, some, some)
def test_common_neighbours(graph: FactGraph, a: int, b: int, first: list[int], second: list[int]) -> None:
    simple = networkx.Graph(undirected(graph))
    simple.remove_edges_from(list(networkx.selfloop_edges(simple)))
    if a != b:
        assert graph.common_neighbours(a, b).tolist() == sorted(networkx.common_neighbors(simple, a, b))
    sides = [{n for entity in side for n in simple[entity]} for side in (first, second)]
    assert graph.common_neighbours(first, second).tolist() == sorted((sides[0] & sides[1]) - {*first, *second})


@few_examples
@given(graphs, some, st.integers(0, NODES))
def test_bridge_nodes(graph: FactGraph, seeds: list[int], budget: int) -> None:
    simple = networkx.Graph(undirected(graph))
    between = {n for a, b in combinations(set(seeds), 2) for n in set(simple[a]) & set(simple[b])} - set(seeds)
    most_linked_first = sorted(between, key=lambda n: (-len(set(seeds) & set(simple[n])), n))
    expected = [*dict.fromkeys(seeds), *most_linked_first][:budget]
    assert graph.bridge_nodes(seeds, budget).tolist() == sorted(expected)


@few_examples
@given(graphs, entities, entities, st.integers(0, 4), st.integers(0, 30))
def test_paths(graph: FactGraph, source: int, target: int, max_hops: int, limit: int) -> None:
    expected: list[list[int]] = [[]] if source == target else []
    if source != target and max_hops:
        found = networkx.all_simple_edge_paths(undirected(graph), source, target, cutoff=max_hops)
        expected = sorted(([key for _, _, key in path] for path in found), key=lambda path: (len(path), path))
    assert graph.paths(source, target, max_hops, limit) == expected[:limit]
    assert graph.shortest_path(source, target, max_hops) == (expected[0] if expected else None)


@few_examples
@given(graphs, some, st.integers(0, 9), st.integers(1, 3))
def test_subgraph(graph: FactGraph, seeds: list[int], budget: int, hops: int) -> None:
    facts = graph.subgraph(seeds, budget, hops=hops)
    reachable = graph.facts_of(graph.k_hop(seeds, hops - 1))
    assert len(facts) == min(budget, len(reachable))
    assert set(facts) <= set(reachable)
    if len(facts) < graph.subgraph(seeds, 99, hops=1).size:  # nearer facts come first
        assert set(facts) <= set(graph.facts_of(seeds))
