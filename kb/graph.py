"""The facts as a graph: entities are nodes, facts are edges that can be walked both ways.

Everything is numpy on the compressed rows of `kb.adjacency`, so that a question about a few entities touches only
their rows, however large the graph is. No method changes the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.adjacency import Adjacency, build_adjacency, check_facts, check_ids, gather_rows, open_adjacency
from kb.paths import MAX_STEPS, FoundPaths, find_paths

if TYPE_CHECKING:
    import networkx as nx  # type: ignore[import-untyped, unused-ignore]

Ids = NDArray[np.int64]
"""Entity or fact ids, (n,) int64."""


class FactGraph:
    """Neighbourhoods and paths over facts.

    Attributes:
        heads: Head entity of each fact, (num_facts,) int64, or of the type of the opened file.
        relations: Relation of each fact, (num_facts,), of the same type.
        tails: Tail entity of each fact, (num_facts,), of the same type.
        num_entities: Number of entities; ids go from 0 to `num_entities - 1`.
    """

    heads: NDArray[Any]
    relations: NDArray[Any]
    tails: NDArray[Any]
    num_entities: int
    _adjacency: Adjacency

    def __init__(self, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike, num_entities: int) -> None:
        """Build the graph in memory; see `open` for one that was written.

        Args:
            heads: Entity ids, (num_facts,).
            relations: Relation ids, (num_facts,).
            tails: Entity ids, (num_facts,).
            num_entities: Number of entities; some may have no fact.

        Raises:
            KnowledgeError: if the arrays differ in length, or an entity id is out of range.
        """
        check_facts(heads, relations, tails, num_entities)
        self.heads, self.relations, self.tails = (_ids(array) for array in (heads, relations, tails))
        self.num_entities = num_entities
        self._adjacency = build_adjacency(self.heads, self.tails, num_entities)

    @classmethod
    def open(cls, folder: Path, triples: NDArray[Any], num_entities: int) -> Self:
        """Map the adjacency that `kb.adjacency.write_adjacency` wrote; nothing is read or copied in full.

        Args:
            folder: Where its files lie.
            triples: Head, relation and tail of each fact, (num_facts, 3), of the same facts; may be memory-mapped.
            num_entities: Number of entities.

        Raises:
            KnowledgeError: if a file is missing or damaged, or the adjacency is that of another graph.
        """
        graph = cls.__new__(cls)
        columns = np.asarray(triples)
        graph.heads, graph.relations, graph.tails = (columns[:, number] for number in range(3))
        graph.num_entities = num_entities
        graph._adjacency = open_adjacency(folder, len(columns), num_entities)
        return graph

    @property
    def num_facts(self) -> int:
        """Number of facts."""
        return len(self.heads)

    def degree(self, entity_ids: ArrayLike | None = None) -> Ids:
        """Return how many facts each entity stands in; None means all entities.

        Returns:
            (len(entity_ids),) or (num_entities,). A fact from an entity to itself counts once.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        starts = self._adjacency.fact_starts
        if entity_ids is None:
            return np.diff(starts)
        chosen = self._check_entities(_ids(entity_ids))
        return starts[chosen + 1] - starts[chosen]

    def facts_of(self, entity_ids: ArrayLike) -> Ids:
        """Return the ids of all facts with one of the entities as head or tail: distinct, ascending.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        return np.unique(self._links(self._check_entities(_ids(entity_ids)))[1])

    def neighbours(self, entity_ids: ArrayLike) -> Ids:
        """Return the entities that share a fact with one of the given, these left out: distinct, ascending.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        given = np.unique(self._check_entities(_ids(entity_ids)))
        return np.setdiff1d(np.unique(self._neighbour_rows(given)), given, assume_unique=True)

    def common_neighbours(self, first: ArrayLike, second: ArrayLike) -> Ids:
        """Return the entities that neighbour both one of `first` and one of `second`: distinct, ascending.

        Args:
            first, second: Ids of one or more entities; none of these is in the result.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        here, there = (np.unique(self._check_entities(_ids(ids))) for ids in (first, second))
        common = np.intersect1d(self._neighbour_rows(here), self._neighbour_rows(there))
        return np.setdiff1d(common, np.union1d(here, there), assume_unique=True)

    def bridge_nodes(self, seeds: ArrayLike, budget: int = 200) -> Ids:
        """Return the seeds and the entities that bridge two of them, at most `budget` in all: distinct, ascending.

        A bridge neighbours at least two different seeds, so these are the nodes of the 2-hop paths between seeds, as
        in QA-GNN (Yasunaga et al., NAACL 2021). Where there are too many, those with most seeds as neighbours stay,
        of equals the smaller id; seeds come before bridges, those given first before others.

        Raises:
            KnowledgeError: if a seed is out of range.
        """
        distinct = list(dict.fromkeys(self._check_entities(_ids(seeds)).tolist()))
        if len(distinct) >= budget:
            return np.sort(_ids(distinct[: max(budget, 0)]))
        chosen = _ids(sorted(distinct))
        rows = np.sort(self._neighbour_rows(chosen))  # np.unique costs several times as much
        again = rows[1:][rows[1:] == rows[:-1]]  # an entity with n seeds as neighbours stands here n - 1 times
        new = np.concatenate([again[:1] >= 0, again[1:] != again[:-1]])
        no_seed = chosen[np.searchsorted(chosen[:-1], again)] != again
        bridges, room = again[new & no_seed], budget - len(chosen)
        if len(bridges) > room:
            linked = np.diff(np.flatnonzero(new), append=len(again))[no_seed[new]]
            bridges = bridges[np.argsort(-linked, kind="stable")[:room]]
        return np.sort(np.concatenate([chosen, bridges]))

    def facts_between(self, entity_ids: ArrayLike) -> Ids:
        """Return the ids of the facts with both ends among the entities: distinct, ascending.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        inside = np.zeros(self.num_entities, dtype=np.bool_)
        chosen = np.unique(self._check_entities(_ids(entity_ids)))
        inside[chosen] = True
        near, facts = self._links(chosen)
        # Each fact is met at both ends; the one at its head is kept.
        return np.sort(facts[(self.heads[facts] == near) & inside[self.tails[facts]]])

    def k_hop(self, seeds: ArrayLike, hops: int, max_entities: int | None = None) -> Ids:
        """Return all entities at most `hops` facts away from a seed, the seeds included: distinct, ascending.

        Args:
            seeds: Entity ids.
            hops: Number of facts to walk, 0 or more.
            max_entities: At most this many entities besides the seeds count. The hop that would exceed it is cut:
                entities with most links to those reached before come first, of equals the smaller id.

        Raises:
            KnowledgeError: if a seed is out of range.
        """
        frontier = np.unique(self._check_entities(_ids(seeds)))
        reached = np.zeros(self.num_entities, dtype=np.bool_)
        reached[frontier] = True
        room = self.num_entities if max_entities is None else max_entities
        found = [frontier]
        for _ in range(hops):
            frontier = self._next_entities(frontier, reached, room)
            if not len(frontier):
                break
            reached[frontier] = True
            room -= len(frontier)
            found.append(frontier)
        return np.sort(np.concatenate(found))

    def subgraph(self, seeds: ArrayLike, budget: int, *, hops: int = 2) -> Ids:
        """Return the ids of at most `budget` facts around the seeds: distinct, ascending.

        Nearer facts come first. At the same distance, facts between two entities that are reached already come
        before those that lead away, and facts to an entity with few facts before those to a hub, which says little.

        Args:
            seeds: Entity ids.
            budget: Largest number of facts.
            hops: Facts whose nearer end is more than `hops - 1` facts away from all seeds are left out.

        Raises:
            KnowledgeError: if a seed is out of range.
        """
        frontier = np.unique(self._check_entities(_ids(seeds)))
        reached = np.zeros(self.num_entities, dtype=np.bool_)
        reached[frontier] = True
        taken = np.zeros(0, dtype=np.int64)
        for _ in range(hops):
            new = np.setdiff1d(self.facts_of(frontier), taken, assume_unique=True)
            taken = np.concatenate([taken, self._nearest_first(new, reached)])[: max(budget, 0)]
            ends = np.unique(_ids([self.heads[new], self.tails[new]]))
            frontier = ends[~reached[ends]]
            if len(taken) >= budget or not len(frontier):
                break
            reached[frontier] = True
        return np.sort(taken)

    def shortest_path(self, source: int, target: int, max_hops: int) -> list[int] | None:
        """Return the fact ids of a shortest path, facts being walked both ways; of equals the smallest ids first.

        Args:
            source: Entity id.
            target: Entity id.
            max_hops: Greatest number of facts.

        Returns:
            Fact ids in walking order; empty if both are the same entity; None if there is no such path.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        found = self.paths(source, target, max_hops, 1)
        return found[0] if found else None

    def paths(self, source: int, target: int, max_hops: int, limit: int = 10) -> list[list[int]]:
        """Return the paths of `find_paths`.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        return self.find_paths(source, target, max_hops, limit).paths

    def find_paths(
        self, source: int, target: int, max_hops: int, limit: int = 10, *, max_expanded: int = MAX_STEPS
    ) -> FoundPaths:
        """Return several paths, the shortest first, of equals the smallest ids; see `kb.paths.find_paths`.

        Args:
            source: Entity id.
            target: Entity id.
            max_hops: Greatest number of facts of a path.
            limit: Greatest number of paths.
            max_expanded: Greatest number of entities whose facts are followed.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        self._check_entities(_ids([source, target]))
        return find_paths(
            self._adjacency,
            self.heads,
            self.tails,
            source,
            target,
            max_hops=max_hops,
            limit=limit,
            max_expanded=max_expanded,
        )

    def to_networkx(
        self,
        fact_ids: Iterable[int] | None = None,
        *,
        entity_texts: Sequence[str] | None = None,
        relation_names: Sequence[str] | None = None,
    ) -> nx.MultiDiGraph:
        """Return the facts as a `networkx.MultiDiGraph`, for drawing and for what this class does not do.

        None means all facts, which is for small graphs: networkx takes about a kilobyte for each. Nodes are entity
        ids, edge keys are fact ids. With the texts given, nodes have `text` and edges `relation` (else the
        relation's id).

        Raises:
            KnowledgeError: if a fact id is out of range.
        """
        import networkx

        graph = networkx.MultiDiGraph()
        chosen = range(self.num_facts) if fact_ids is None else list(fact_ids)
        for fact_id in check_ids(_ids(chosen), self.num_facts, "fact").tolist():
            head, relation, tail = int(self.heads[fact_id]), int(self.relations[fact_id]), int(self.tails[fact_id])
            if entity_texts is not None:
                graph.add_node(head, text=entity_texts[head])
                graph.add_node(tail, text=entity_texts[tail])
            name = relation if relation_names is None else relation_names[relation]
            graph.add_edge(head, tail, key=fact_id, relation=name)
        return graph

    def _check_entities(self, entity_ids: Ids) -> Ids:
        return check_ids(entity_ids, self.num_entities, "entity")

    def _links(self, entity_ids: Ids) -> tuple[Ids, Ids]:
        """Return near ends and facts of all links of the entities, two arrays of (num_links,)."""
        facts, lengths = gather_rows(self._adjacency.fact_starts, self._adjacency.facts, entity_ids)
        return np.repeat(entity_ids, lengths), _ids(facts)

    def _neighbour_rows(self, entity_ids: Ids) -> NDArray[Any]:
        """Return the neighbours of the entities, one row after the other, int32 or int64."""
        return gather_rows(self._adjacency.neighbour_starts, self._adjacency.neighbours, entity_ids)[0]

    def _far_ends(self, near: Ids, facts: Ids) -> Ids:
        heads = self.heads[facts]
        return _ids(np.where(heads == near, self.tails[facts], heads))

    def _next_entities(self, frontier: Ids, reached: NDArray[np.bool_], room: int) -> Ids:
        far = self._far_ends(*self._links(frontier))
        entities, links = np.unique(far[~reached[far]], return_counts=True)
        most_linked_first = np.lexsort((entities, -links))
        return entities[most_linked_first[: max(room, 0)]]

    def _nearest_first(self, facts: Ids, reached: NDArray[np.bool_]) -> Ids:
        heads, tails = self.heads[facts], self.tails[facts]
        leads_away = ~(reached[heads] & reached[tails])
        far_degree = np.maximum(
            np.where(reached[heads], 0, self.degree(heads)), np.where(reached[tails], 0, self.degree(tails))
        )
        return facts[np.lexsort((facts, far_degree, leads_away))]


def _ids(values: ArrayLike) -> Ids:
    return np.asarray(values, dtype=np.int64).reshape(-1)
