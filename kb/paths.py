"""Paths between two entities: several, the shortest first, found from both ends at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kb.adjacency import Adjacency, Integers, gather_rows

_FAR = np.iinfo(np.int8).max
"""Distance of what was not reached; so many facts, and no more, may a path have."""

MAX_STEPS = 100_000
"""Entities that one search for paths may stand on; only detours through hubs come near."""


class FoundPaths(NamedTuple):
    """What a search for paths found.

    Attributes:
        paths: Fact ids in walking order, a list for each path; one empty path if both ends are the same entity.
        expanded: Entities whose facts were followed.
        complete: False if the search stopped at its greatest number of entities: there may be more paths.
    """

    paths: list[list[int]]
    expanded: int
    complete: bool


def find_paths(
    adjacency: Adjacency,
    heads: Integers,
    tails: Integers,
    source: int,
    target: int,
    *,
    max_hops: int,
    limit: int,
    max_expanded: int = MAX_STEPS,
) -> FoundPaths:
    """Return up to `limit` paths of at most `max_hops` facts, which may be walked both ways.

    No path meets an entity twice. Shorter paths come first, of equals the one with the smaller fact ids. Breadth-first
    rings grow from both ends, the narrower side first, so hubs in the middle are not walked through; then the paths of
    each length are followed along entities that are known to be near enough to the target.

    Args:
        adjacency: Rows of the graph.
        heads, tails: Ends of each fact, (num_facts,).
        source: Entity id.
        target: Entity id.
        max_hops: Greatest number of facts of a path, less than 127.
        limit: Greatest number of paths.
        max_expanded: Greatest number of entities whose facts are followed.
    """
    found: list[list[int]] = []
    if source == target:
        return FoundPaths([[] for _ in range(min(limit, 1))], 0, True)
    search = _Search(adjacency, heads, tails, source, target, max_expanded)
    for length in range(1, min(max_hops, _FAR - 1) + 1):
        if len(found) >= limit or search.apart or search.stopped:
            break
        search.widen()
        found.extend(islice(search.paths(length), limit - len(found)))
    return FoundPaths(found, search.expanded, len(found) >= limit or not search.stopped)


@dataclass
class _Side:
    """What was reached from one end.

    Attributes:
        distance: Facts from this end, (num_entities,) int8.
        frontier: Entities at the greatest distance, `depth`, distinct.
    """

    distance: NDArray[np.int8]
    frontier: Integers
    depth: int = 0

    @classmethod
    def at(cls, entity: int, num_entities: int) -> _Side:
        distance = np.full(num_entities, _FAR, dtype=np.int8)
        distance[entity] = 0
        return cls(distance, np.array([entity], dtype=np.int64))


class _Search:
    def __init__(
        self, adjacency: Adjacency, heads: Integers, tails: Integers, source: int, target: int, max_expanded: int
    ) -> None:
        self.adjacency, self.heads, self.tails = adjacency, heads, tails
        self.source, self.target = source, target
        num_entities = len(adjacency.fact_starts) - 1
        self.near, self.far = _Side.at(source, num_entities), _Side.at(target, num_entities)
        self.expanded, self.max_expanded, self.stopped = 0, max_expanded, False

    def widen(self) -> None:
        """Walk one fact further from the end whose frontier has fewer neighbours."""
        side = min((self.far, self.near), key=self._width)
        reached = self._neighbours(side.frontier)
        reached = reached[side.distance[reached] == _FAR]
        side.depth += 1
        side.distance[reached] = side.depth
        side.frontier = np.unique(reached)

    @property
    def apart(self) -> bool:
        """Whether all that one end can reach was reached, and the other end was not among it."""
        return any(
            not len(side.frontier) and side.distance[end] == _FAR
            for side, end in ((self.near, self.target), (self.far, self.source))
        )

    def paths(self, length: int) -> Iterator[list[int]]:
        """Yield the paths of exactly `length` facts, which is how far both sides reach together."""
        to_target = self._distances()
        if to_target[self.source] > length:
            return
        entities, facts = [self.source], list[int]()
        stack = [self._steps(self.source, length - 1, to_target)]
        while stack:
            fact, entity = next(stack[-1], (-1, -1))
            if fact < 0:
                stack.pop()
                entities.pop()
                del facts[-1:]
            elif entity == self.target:
                yield [*facts, fact]
            elif entity not in entities:
                entities.append(entity)
                facts.append(fact)
                stack.append(self._steps(entity, length - 1 - len(facts), to_target))

    def _steps(self, entity: int, left: int, to_target: NDArray[np.int8]) -> Iterator[tuple[int, int]]:
        """Yield fact and far end of each step from `entity` after which `left` facts may still reach the target."""
        if self.expanded >= self.max_expanded:
            self.stopped = True
            return
        self.expanded += 1
        facts = self.adjacency.facts[self.adjacency.fact_starts[entity] : self.adjacency.fact_starts[entity + 1]]
        heads = self.heads[facts]
        ends = np.where(heads == entity, self.tails[facts], heads)
        useful = (to_target[ends] <= left) & ((ends != self.target) | (left == 0))
        yield from zip(facts[useful].tolist(), ends[useful].tolist(), strict=True)

    def _distances(self) -> NDArray[np.int8]:
        """Return the distance to the target of all entities that a path of `length` facts can meet.

        The far side knows it up to its depth. From there it is passed on towards the source, through entities that
        the near side reached: one that stands i facts from the source can be on the path only if it stands the rest of
        the length, or less, from the target.
        """
        distance = self.far.distance.copy()
        ring = self.far.frontier
        for step in range(1, self.near.depth + 1):
            ring = ring[self.near.distance[ring] <= self.near.depth - step + 1]
            reached = self._neighbours(ring)
            reached = reached[(distance[reached] == _FAR) & (self.near.distance[reached] <= self.near.depth - step)]
            distance[reached] = self.far.depth + step
            ring = np.unique(reached)
            if not len(ring):
                break
        return distance

    def _neighbours(self, entities: Integers) -> Integers:
        return gather_rows(self.adjacency.neighbour_starts, self.adjacency.neighbours, entities)[0]

    def _width(self, side: _Side) -> int:
        starts = self.adjacency.neighbour_starts
        return int((starts[side.frontier + 1] - starts[side.frontier]).sum())
