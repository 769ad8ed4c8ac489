"""The facts as a graph: entities are nodes, facts are edges that can be walked both ways.

Everything is numpy on a compressed adjacency (one array of fact ids, grouped by entity), so that a hop over a graph
of half a million facts takes milliseconds. No method changes the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.errors import KnowledgeError

if TYPE_CHECKING:
    import networkx as nx  # type: ignore[import-untyped, unused-ignore]

Ids = NDArray[np.int64]
"""Entity or fact ids, (n,) int64."""


class FactGraph:
    """Neighbourhoods and paths over facts.

    Attributes:
        heads: Head entity of each fact, (num_facts,) int64.
        relations: Relation of each fact, (num_facts,) int64.
        tails: Tail entity of each fact, (num_facts,) int64.
        num_entities: Number of entities; ids go from 0 to `num_entities - 1`.
    """

    def __init__(self, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike, num_entities: int) -> None:
        """Build the adjacency.

        Args:
            heads: Entity ids, (num_facts,).
            relations: Relation ids, (num_facts,).
            tails: Entity ids, (num_facts,).
            num_entities: Number of entities; some may have no fact.

        Raises:
            KnowledgeError: if the arrays differ in length, or an entity id is out of range.
        """
        self.heads, self.relations, self.tails = (_ids(array) for array in (heads, relations, tails))
        self.num_entities = num_entities
        lengths = tuple(len(array) for array in (self.heads, self.relations, self.tails))
        if len(set(lengths)) != 1:
            raise KnowledgeError(f"heads, relations and tails have {lengths} entries; give one of each per fact")
        self._check_entities(np.concatenate([self.heads, self.tails]))
        self._starts, self._incident = _adjacency(self.heads, self.tails, num_entities)

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
        degrees = np.diff(self._starts)
        return degrees if entity_ids is None else degrees[self._check_entities(_ids(entity_ids))]

    def facts_of(self, entity_ids: ArrayLike) -> Ids:
        """Return the ids of all facts with one of the entities as head or tail: distinct, ascending.

        Raises:
            KnowledgeError: if an entity id is out of range.
        """
        return np.unique(self._links(self._check_entities(_ids(entity_ids)))[1])

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
        for _ in range(hops):
            frontier = self._next_entities(frontier, reached, room)
            if not len(frontier):
                break
            reached[frontier] = True
            room -= len(frontier)
        return np.flatnonzero(reached)

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
            ends = np.unique(np.concatenate([self.heads[new], self.tails[new]]))
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
        self._check_entities(_ids([source, target]))
        came_by = np.full(self.num_entities, -1, dtype=np.int64)  # fact by which an entity was first reached
        reached = np.zeros(self.num_entities, dtype=np.bool_)
        frontier = _ids([source])
        reached[frontier] = True
        for _ in range(max_hops):
            if reached[target] or not len(frontier):
                break
            frontier = self._step(frontier, reached, came_by)
        return self._walk_back(source, target, came_by) if reached[target] else None

    def to_networkx(
        self,
        fact_ids: Iterable[int],
        *,
        entity_texts: Sequence[str] | None = None,
        relation_names: Sequence[str] | None = None,
    ) -> nx.MultiDiGraph:
        """Return the facts as a `networkx.MultiDiGraph`, for drawing and for what this class does not do.

        Nodes are entity ids, edge keys are fact ids. With the texts given, nodes have `text` and edges `relation`
        (else the relation's id).

        Raises:
            KnowledgeError: if a fact id is out of range.
        """
        import networkx

        graph = networkx.MultiDiGraph()
        for fact_id in _check(_ids(list(fact_ids)), self.num_facts, "fact").tolist():
            head, relation, tail = int(self.heads[fact_id]), int(self.relations[fact_id]), int(self.tails[fact_id])
            if entity_texts is not None:
                graph.add_node(head, text=entity_texts[head])
                graph.add_node(tail, text=entity_texts[tail])
            name = relation if relation_names is None else relation_names[relation]
            graph.add_edge(head, tail, key=fact_id, relation=name)
        return graph

    def _check_entities(self, entity_ids: Ids) -> Ids:
        return _check(entity_ids, self.num_entities, "entity")

    def _links(self, entity_ids: Ids) -> tuple[Ids, Ids]:
        """Return near ends and facts of all links of the entities, two arrays of (num_links,)."""
        starts, lengths = self._starts[entity_ids], np.diff(self._starts)[entity_ids]
        offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(entity_ids, lengths), self._incident[np.repeat(starts, lengths) + offsets]

    def _far_ends(self, near: Ids, facts: Ids) -> Ids:
        return np.where(self.heads[facts] == near, self.tails[facts], self.heads[facts])

    def _next_entities(self, frontier: Ids, reached: NDArray[np.bool_], room: int) -> Ids:
        far = self._far_ends(*self._links(frontier))
        entities, links = np.unique(far[~reached[far]], return_counts=True)
        most_linked_first = np.lexsort((entities, -links))
        return entities[most_linked_first[: max(room, 0)]]

    def _nearest_first(self, facts: Ids, reached: NDArray[np.bool_]) -> Ids:
        heads, tails, degrees = self.heads[facts], self.tails[facts], self.degree()
        leads_away = ~(reached[heads] & reached[tails])
        far_degree = np.maximum(
            np.where(reached[heads], 0, degrees[heads]), np.where(reached[tails], 0, degrees[tails])
        )
        return facts[np.lexsort((facts, far_degree, leads_away))]

    def _step(self, frontier: Ids, reached: NDArray[np.bool_], came_by: Ids) -> Ids:
        near, facts = self._links(frontier)
        by_fact = np.argsort(facts, kind="stable")
        near, facts = near[by_fact], facts[by_fact]
        far = self._far_ends(near, facts)
        entities, first = np.unique(far, return_index=True)
        new = ~reached[entities]
        came_by[entities[new]] = facts[first[new]]
        reached[entities[new]] = True
        return entities[new]

    def _walk_back(self, source: int, target: int, came_by: Ids) -> list[int]:
        path: list[int] = []
        here = target
        while here != source:
            fact = int(came_by[here])
            path.append(fact)
            here = int(self.tails[fact] if self.heads[fact] == here else self.heads[fact])
        return path[::-1]


def _ids(values: ArrayLike) -> Ids:
    return np.asarray(values, dtype=np.int64).reshape(-1)


def _check(ids: Ids, count: int, noun: str) -> Ids:
    wrong = ids[(ids < 0) | (ids >= count)]
    if len(wrong):
        raise KnowledgeError(f"there is no {noun} {wrong[0]}; ids go from 0 to {count - 1}")
    return ids


def _adjacency(heads: Ids, tails: Ids, num_entities: int) -> tuple[Ids, Ids]:
    """Return the start of each entity's facts, (num_entities + 1,), and the facts grouped by entity."""
    facts = np.arange(len(heads), dtype=np.int64)
    not_loop = heads != tails
    entities = np.concatenate([heads, tails[not_loop]])
    incident = np.concatenate([facts, facts[not_loop]])
    order = np.lexsort((incident, entities))
    starts = np.zeros(num_entities + 1, dtype=np.int64)
    np.cumsum(np.bincount(entities, minlength=num_entities), out=starts[1:])
    return starts, incident[order]
