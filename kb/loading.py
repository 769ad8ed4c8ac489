"""Turning triples and aliases into table rows with dense ids, without asking the database what is there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table

from kb import schema
from kb.packed import Growing, Ids, StringTable, TripleTable
from kb.triple import Alias, Triple, clean_text

Rows = list[tuple[Any, ...]]

_KEPT_SPELLINGS = 300_000  # some 60 MB


@dataclass(slots=True)
class NewRows:
    """Rows to insert, by table, with values in the order of the columns."""

    entities: Rows = field(default_factory=list)
    relations: Rows = field(default_factory=list)
    facts: Rows = field(default_factory=list)
    origins: Rows = field(default_factory=list)
    wordings: Rows = field(default_factory=list)
    aliases: Rows = field(default_factory=list)

    def by_table(self) -> Iterator[tuple[Table, Rows]]:
        """Give each table with its rows."""
        yield schema.entity, self.entities
        yield schema.relation, self.relations
        yield schema.fact, self.facts
        yield schema.origin, self.origins
        yield schema.wording, self.wordings
        yield schema.alias, self.aliases


class SeenInSource:
    """What one source has stated so far: of several lines with the same fact only the first is an origin."""

    def __init__(self, source_id: int) -> None:
        self.source_id = source_id
        self._facts = np.zeros(1024, dtype=np.bool_)
        self._aliases = StringTable()

    def first_time(self, fact_ids: Ids) -> Ids:
        """Return the places (k,) in `fact_ids` (n,) of facts that come for the first time, ascending."""
        if len(fact_ids) and fact_ids.max() >= len(self._facts):
            room = np.zeros(max(int(fact_ids.max()) + 1, 2 * len(self._facts)), dtype=np.bool_)
            room[: len(self._facts)] = self._facts
            self._facts = room
        _, first = np.unique(fact_ids, return_index=True)
        first = np.sort(first[~self._facts[fact_ids[first]]])
        self._facts[fact_ids[first]] = True
        return first

    def new_aliases(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Say of each pair of entity key and alias key whether it comes for the first time."""
        joined = ["\t".join(pair) for pair in pairs]
        known = len(self._aliases)
        distinct = list(dict.fromkeys(joined))
        fresh = dict(zip(distinct, (self._aliases.add(distinct) >= known).tolist(), strict=True))
        return [fresh.pop(name, False) for name in joined]


class Loader:
    """Remembers what a store holds: some 80 bytes an entity and 40 a fact."""

    def __init__(self) -> None:
        self._entities = StringTable()  # by key
        self._display = Growing(np.int64)  # hash of each entity's text
        self._spellings: dict[str, int] = {}  # text as read to 2 * entity id + (1 if spelled like the entity)
        self._relation_ids: dict[str, int] = {}
        self._facts = TripleTable()
        self.num_origins = 0
        self.num_aliases = 0

    @property
    def num_facts(self) -> int:
        """Number of distinct facts so far."""
        return len(self._facts)

    @property
    def num_entities(self) -> int:
        """Number of distinct entities so far."""
        return len(self._entities)

    def restore_entities(self, keys: Sequence[str], texts: Sequence[str]) -> None:
        """Take in the next entities of a store that was begun earlier, in the order of their ids."""
        self._entities.add(keys)
        self._display.extend(_hashes(texts))

    def restore_relations(self, names: Iterable[str]) -> None:
        """Take in the relations of such a store, in the order of their ids."""
        self._relation_ids.update((name, number) for number, name in enumerate(names))

    def restore_facts(self, triples: NDArray[np.int64]) -> None:
        """Take in the next facts of such a store, (n, 3), in the order of their ids."""
        self._facts.add(triples[:, 0], triples[:, 1], triples[:, 2])

    def rows(self, records: Sequence[Triple | Alias], seen: SeenInSource) -> NewRows:
        """Return the rows that the next records of one source add to what is known.

        Raises:
            ValueError: if a text is empty or holds a NUL character.
        """
        new = NewRows()
        triples = [record for record in records if isinstance(record, Triple)]
        if triples:
            self._add_triples(triples, seen, new)
        if len(triples) < len(records):
            self._add_aliases([record for record in records if isinstance(record, Alias)], seen, new)
        return new

    def _add_triples(self, triples: Sequence[Triple], seen: SeenInSource, new: NewRows) -> None:
        ends = self._ends(triples, new)  # (n, 2)
        names = [triple.relation for triple in triples]
        for name in dict.fromkeys(names):
            if name not in self._relation_ids:
                new.relations.append((len(self._relation_ids), name))
                self._relation_ids[name] = len(self._relation_ids)
        relations = np.fromiter(map(self._relation_ids.__getitem__, names), dtype=np.int64, count=len(names))
        heads, tails = ends[:, 0] >> 1, ends[:, 1] >> 1
        known = len(self._facts)
        facts = self._facts.add(heads, relations, tails)
        added = slice(known, len(self._facts))
        columns = (self._facts.heads, self._facts.relations, self._facts.tails)
        values = (column.values[added].tolist() for column in columns)
        new.facts.extend(zip(range(known, len(self._facts)), *values, strict=True))
        self._add_origins(triples, facts, ends & 1 == 0, seen, new)

    def _ends(self, triples: Sequence[Triple], new: NewRows) -> Ids:
        """Return 2 * id + (1 if spelled like the entity) of head and tail of each triple, (n, 2)."""
        names = list(chain.from_iterable((triple.head, triple.tail) for triple in triples))
        if len(self._spellings) > _KEPT_SPELLINGS:
            self._spellings.clear()
        unknown = [name for name in dict.fromkeys(names) if name not in self._spellings]
        if unknown:
            self._learn(unknown, new)
        numbers = np.fromiter(map(self._spellings.__getitem__, names), dtype=np.int64, count=len(names))
        return numbers.reshape(-1, 2)

    def _learn(self, names: Sequence[str], new: NewRows) -> None:
        texts = [clean_text(name) for name in names]
        keys = [text.casefold() for text in texts]  # as `kb.triple.entity_key`, without cleaning twice
        first_text: dict[str, str] = {}
        for key, text in zip(keys, texts, strict=True):
            first_text.setdefault(key, text)
        known, distinct = self.num_entities, list(first_text)
        found = dict(zip(distinct, self._entities.add(distinct).tolist(), strict=True))
        added = [(number, key, first_text[key]) for key, number in found.items() if number >= known]
        new.entities.extend(added)
        self._display.extend(_hashes([text for _, _, text in added]))
        ids = np.fromiter(map(found.__getitem__, keys), dtype=np.int64, count=len(keys))
        like_entity = self._display.values[ids] == _hashes(texts)
        self._spellings.update(zip(names, (2 * ids + like_entity).tolist(), strict=True))

    def _add_origins(
        self, triples: Sequence[Triple], facts: Ids, other: NDArray[np.bool_], seen: SeenInSource, new: NewRows
    ) -> None:
        first = seen.first_time(facts)
        start, stop = self.num_origins, self.num_origins + len(first)
        chosen = [triples[place] for place in first.tolist()] if len(first) < len(triples) else triples
        numbers = range(start, stop)
        lines = [triple.line for triple in chosen]
        new.origins.extend(zip(numbers, facts[first].tolist(), repeat(seen.source_id), lines, strict=False))
        worded = other[first].any(axis=1) | np.fromiter((t.surface is not None for t in chosen), np.bool_, len(chosen))
        for place in np.flatnonzero(worded).tolist():
            triple, (head, tail) = chosen[place], other[first[place]]
            spelled = (clean_text(triple.head) if head else None, clean_text(triple.tail) if tail else None)
            new.wordings.append((start + place, triple.surface, *spelled))
        self.num_origins = stop

    def _add_aliases(self, aliases: Sequence[Alias], seen: SeenInSource, new: NewRows) -> None:
        texts = [clean_text(alias.text) for alias in aliases]
        pairs = [(clean_text(a.entity).casefold(), text.casefold()) for a, text in zip(aliases, texts, strict=True)]
        for alias, text, (entity, key), fresh in zip(aliases, texts, pairs, seen.new_aliases(pairs), strict=True):
            if fresh and key != entity:
                new.aliases.append((self.num_aliases, entity, None, key, text, seen.source_id, alias.line))
                self.num_aliases += 1


def _hashes(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))
