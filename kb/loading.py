"""Turning triples into table rows with dense ids, without asking the database what is there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table

from kb import schema
from kb.triple import Triple, clean_text, entity_key

Rows = list[dict[str, Any]]


@dataclass(slots=True)
class NewRows:
    """Rows to insert, by table."""

    entities: Rows = field(default_factory=list)
    relations: Rows = field(default_factory=list)
    facts: Rows = field(default_factory=list)
    origins: Rows = field(default_factory=list)

    def by_table(self) -> Iterator[tuple[Table, Rows]]:
        """Give each table with its rows, in an order in which no row points to one that is not there yet."""
        yield schema.entity, self.entities
        yield schema.relation, self.relations
        yield schema.fact, self.facts
        yield schema.origin, self.origins


class Loader:
    """Remembers what a new store holds. About 250 bytes a fact: half a million facts fit in 130 MB."""

    def __init__(self) -> None:
        self._entity_ids: dict[str, int] = {}  # by key
        self._spellings: dict[str, int] = {}  # by text as read, to make each key only once
        self._relation_ids: dict[str, int] = {}
        self._fact_ids: dict[int, int] = {}  # by _packed number, a third of the memory of a tuple
        self._facts_of_source: dict[int, set[int]] = {}

    @property
    def num_facts(self) -> int:
        """Number of distinct facts so far."""
        return len(self._fact_ids)

    def rows(self, triples: Iterable[Triple], source_id: int) -> NewRows:
        """Return the rows that the triples of one source add to what is known.

        Raises:
            ValueError: if the head or tail of a triple is empty or holds a NUL character.
        """
        new = NewRows()
        for triple in triples:
            fact_id = self._fact(triple, new)
            seen = self._facts_of_source.setdefault(source_id, set())
            if fact_id not in seen:
                seen.add(fact_id)
                new.origins.append(
                    {"fact_id": fact_id, "source_id": source_id, "line": triple.line, "surface": triple.surface}
                )
        return new

    def _fact(self, triple: Triple, new: NewRows) -> int:
        head, tail = self._entity(triple.head, new), self._entity(triple.tail, new)
        relation = self._relation(triple.relation, new)
        packed = _packed(head, relation, tail)
        fact_id = self._fact_ids.get(packed)
        if fact_id is None:
            fact_id = self._fact_ids[packed] = len(self._fact_ids)
            new.facts.append({"id": fact_id, "head_id": head, "relation_id": relation, "tail_id": tail})
        return fact_id

    def _entity(self, text: str, new: NewRows) -> int:
        known = self._spellings.get(text)
        if known is not None:
            return known
        key = entity_key(text)
        entity_id = self._entity_ids.get(key)
        if entity_id is None:
            entity_id = self._entity_ids[key] = len(self._entity_ids)
            new.entities.append({"id": entity_id, "key": key, "text": clean_text(text)})
        self._spellings[text] = entity_id
        return entity_id

    def _relation(self, name: str, new: NewRows) -> int:
        relation_id = self._relation_ids.get(name)
        if relation_id is None:
            relation_id = self._relation_ids[name] = len(self._relation_ids)
            new.relations.append({"id": relation_id, "name": name})
        return relation_id


def _packed(head: int, relation: int, tail: int) -> int:
    return (head << 64) | (relation << 32) | tail
