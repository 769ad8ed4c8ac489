"""The knowledge store: all facts in one database, each once, with the sources in which it was read.

Ids of facts, entities, relations and sources are dense, from 0, in the order in which they were first added, so that
row i of an array, an index or a matrix belongs to fact i.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, Engine, Table, func, select
from sqlalchemy.exc import DatabaseError

from kb import database, fingerprint, reading, schema
from kb.bulk import blocks, id_range
from kb.database import Place
from kb.errors import KnowledgeError
from kb.fact import AddReport, Fact, FactArrays, Origin, Source
from kb.readers.reject import Reject
from kb.relations import verbalise
from kb.triple import Alias, Triple
from kb.writing import StoreWriter

__all__ = ["AddReport", "Fact", "FactArrays", "KnowledgeStore", "Origin", "Source"]

T = TypeVar("T")

_MAX_PARAMETERS = 10_000  # of one query; SQLite allows 32,766


class KnowledgeStore:
    """Facts on disk. Make one with `create` and fill it, or `open` one that is whole.

    A location is a path, an SQLite URL (`sqlite:///facts.db`) or a schema of a PostgreSQL database
    (`postgresql://user@host/database?schema=kb`).

    A new store is written beside its place and renamed into it by `close`; leaving the `with` block by an error
    discards it, so that a place never holds half a store. One that is opened by `resume` keeps what it has.
    """

    def __init__(self, engine: Engine, place: Place, *, writable: bool, target: Place | None = None) -> None:
        """Use `create`, `resume` or `open` instead."""
        self._engine = engine
        self._place = place
        self._target = target
        self._closed = False
        self._writer = StoreWriter(engine) if writable else None
        self._meta = {} if writable else database.read_meta(engine)

    @classmethod
    def create(cls, location: str | Path | Place) -> Self:
        """Begin a new, empty store, which takes the place of an older one at `close`.

        Raises:
            KnowledgeError: if `location` is something else, holds another kind of file, or cannot be written.
        """
        target = database.place_of(location)
        if target.exists() and not target.is_store():
            raise KnowledgeError(f"{target} exists and is no knowledge store; it is left alone, give another path")
        return cls(database.create(target.partial()), target.partial(), writable=True, target=target)

    @classmethod
    def resume(cls, location: str | Path | Place) -> Self:
        """Open a store for adding, in its own place; make it if there is none.

        What `add` has committed stays, whatever comes after; `finish` makes the store whole, so that it can be opened.

        Raises:
            KnowledgeError: if `location` is something else, or cannot be written.
        """
        place = database.place_of(location)
        return cls(database.open_to_write(place), place, writable=True)

    @classmethod
    def open(cls, location: str | Path | Place) -> Self:
        """Open a store for reading.

        Raises:
            KnowledgeError: if there is none, it is not whole, it is something else, or has another schema version.
        """
        place = database.place_of(location)
        return cls(database.open_read_only(place), place, writable=False)

    def close(self) -> None:
        """Release the database; a new store is put into its place. Closing twice does nothing."""
        if self._closed:
            return
        if self._target is not None:
            self.finish()
        self._release()
        if self._target is not None:
            self._place.move_to(self._target)  # type: ignore[arg-type]

    def discard(self) -> None:
        """Release the database and delete a new store that was not put into place; an older one stays as it was."""
        if self._closed:
            return
        self._release()
        if self._target is not None:
            self._place.remove()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store, or discard it after an error."""
        if kind is None:
            self.close()
        else:
            self.discard()

    # Writing

    def add_source(self, name: str, path: str | Path, sha256: str, licence: str | None = None) -> int:
        """Add a source and return its id.

        Raises:
            KnowledgeError: if the store is open for reading, or the name is empty or taken.
        """
        return self._writing().add_source(name, path, sha256, licence)

    def add(
        self, records: Iterable[Triple | Alias | Reject], source_id: int, *, copied: Source | None = None
    ) -> AddReport:
        """Add the records of one source. A fact that is there already gets one more origin.

        Records are written in batches, one transaction each, which also counts them in `Source.records`. Of several
        lines of a source with the same fact the first is kept as its origin. `source` of a record is not looked at:
        the source is `source_id`. Other names of an entity count once a fact names it.

        Args:
            records: What a reader gave, or `records_of` another store.
            source_id: As `add_source` returned it.
            copied: The source in that other store, whose counts hold: its facts come without their repetitions.

        Raises:
            KnowledgeError: if the store is open for reading, or there is no such source.
            ValueError: if a text is empty or holds a NUL character.
        """
        return self._writing().add(records, source_id, copied=copied)

    def finish(self) -> None:
        """Make a store whole that is open for writing: indexes, counts, content hash. Adding more is possible still.

        Raises:
            KnowledgeError: if the store is open for reading.
        """
        self._writing().finish()

    # Reading all

    @property
    def num_facts(self) -> int:
        """Number of distinct facts."""
        return self._writer.num_facts if self._writer is not None else self._counted("facts", schema.fact)

    @property
    def num_entities(self) -> int:
        """Number of distinct heads and tails."""
        return self._counted("entities", schema.entity)

    @property
    def num_relations(self) -> int:
        """Number of distinct relation names."""
        return self._counted("relations", schema.relation)

    def arrays(self) -> FactArrays:
        """Return all facts as three arrays of (num_facts,) int32."""
        columns = schema.fact.c
        table = self._matrix(schema.fact, [columns.head_id, columns.relation_id, columns.tail_id])
        heads, relations, tails = (np.ascontiguousarray(table[:, number]) for number in range(3))
        return FactArrays(heads, relations, tails)

    def entity_texts(self, entity_ids: Iterable[int] | None = None) -> list[str]:
        """Return the display texts of the entities as given; None is all, entry i belonging to entity i.

        Raises:
            KnowledgeError: if there is no entity with one of the ids.
        """
        return self._of_entities(schema.entity.c.text, entity_ids)

    def entity_keys(self, entity_ids: Iterable[int] | None = None) -> list[str]:
        """Return `kb.triple.entity_key` of the entities as given; None is all, entry i belonging to entity i.

        Raises:
            KnowledgeError: if there is no entity with one of the ids.
        """
        return self._of_entities(schema.entity.c.key, entity_ids)

    def relation_names(self) -> list[str]:
        """Return the name of each relation; entry i belongs to relation i."""
        return self._column(schema.relation, schema.relation.c.name)

    def fact_texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the sentences of the facts with ids from `start` to `stop` (excluded; None: to the end)."""
        end = self.num_facts if stop is None else stop
        with self._engine.connect() as connection:
            rows = id_range(connection, reading.named_facts(), schema.fact.c.id, start, end)
        return [verbalise(head, relation, tail) for _, head, relation, tail, *_ in rows]

    def entity_texts_between(self, start: int, stop: int) -> list[str]:
        """Return the display texts of the entities with ids from `start` to `stop` (excluded)."""
        with self._engine.connect() as connection:
            return [
                text for (text,) in id_range(connection, select(schema.entity.c.text), schema.entity.c.id, start, stop)
            ]

    def sources(self) -> list[Source]:
        """Return the sources; entry i has id i."""
        return reading.sources(self._engine)

    def records_of(self, source: Source) -> Iterator[Triple | Alias | Reject]:
        """Give what was read from a source, each fact once: a store made of these equals one made of the file."""
        return reading.records_of(self._engine, source)

    def rejects(self) -> Iterator[tuple[str, Reject]]:
        """Give the name of the source and the reject for each record that was refused."""
        names = [source.name for source in self.sources()]
        columns = schema.reject.c
        with self._engine.connect() as connection:
            for rows in blocks(
                connection, schema.reject, [columns.source_id, columns.line, columns.reason, columns.text]
            ):
                yield from ((names[source_id], Reject(*rest)) for source_id, *rest in rows)

    def origin_mask(self) -> NDArray[np.bool_]:
        """Say which fact was read in which source: (num_facts, num_sources) bool, each row with at least one True.

        Facts that only source s states are `mask[:, s] & (mask.sum(axis=1) == 1)`.
        """
        mask = np.zeros((self.num_facts, self._count(schema.source)), dtype=np.bool_)
        pairs = self._matrix(schema.origin, [schema.origin.c.fact_id, schema.origin.c.source_id])
        mask[pairs[:, 0], pairs[:, 1]] = True
        return mask

    def content_hash(self) -> str:
        """Return the SHA-256, in hexadecimal, of all facts in their order with the names of their sources.

        Two stores with the same hash have the same ids of facts and entities. Paths, lines, surfaces and times do not
        count. For a store that is open for writing the hash is worked out as far as it is not known yet.
        """
        if self._writer is None:
            return self._meta["content_hash"]
        with self._engine.begin() as connection:
            return fingerprint.update_blocks(connection)

    def verify(self) -> None:
        """Read everything that counts for the content hash and compare it with what was written.

        Raises:
            KnowledgeError: naming the part that was altered, or if the database refuses.
        """
        try:
            with self._engine.connect() as connection:
                fingerprint.check_blocks(connection, self.content_hash())
        except (KnowledgeError, DatabaseError) as error:
            reason = database.cause(error)
            raise KnowledgeError(
                f"{self._place}: {reason}; make it again with: kvqa index-kb SOURCE… --overwrite"
            ) from None

    # Reading some

    def fact(self, fact_id: int) -> Fact:
        """Return one fact.

        Raises:
            KnowledgeError: if there is no fact with this id.
        """
        return self.facts([fact_id])[0]

    def facts(self, fact_ids: Iterable[int]) -> list[Fact]:
        """Return the facts in the order of their ids as given; an id given twice comes twice.

        Raises:
            KnowledgeError: if there is no fact with one of the ids.
        """
        ids = [int(fact_id) for fact_id in fact_ids]
        found: dict[int, Fact] = {}
        with self._engine.connect() as connection:
            for chunk in _chunks(sorted(set(ids))):
                rows = connection.execute(reading.facts_with_origins().where(schema.fact.c.id.in_(chunk)))
                found.update((number, reading.to_fact(list(group))) for number, group in groupby(rows, itemgetter(0)))
        missing = next((number for number in ids if number not in found), None)
        if missing is not None:
            raise KnowledgeError(f"there is no fact {missing}; ids go from 0 to {self.num_facts - 1}")
        return [found[number] for number in ids]

    def find_entities(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the id of each of the `keys` (see `kb.triple.entity_key`) that names an entity; others are left out.

        The main name of an entity goes before another name of another; of those that share another name the one
        whose source was read first is meant.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, int] = self._lookup(wanted, schema.entity.c.key, schema.entity.c.id)
        columns = schema.alias.c
        with self._engine.connect() as connection:
            for chunk in _chunks([key for key in wanted if key not in found]):
                query = select(columns.key, columns.entity_id).where(columns.key.in_(chunk))
                for key, number in connection.execute(query.where(columns.entity_id.is_not(None)).order_by(columns.id)):
                    found.setdefault(key, number)
        return found

    def entities_with(self, part: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the ids of the entities in whose key `part` stands, in their order, and whether the key begins so.

        The database looks through the keys, so that of millions only those that match are read.
        """
        with self._engine.connect() as connection:
            rows = reading.keys_with(connection, part)
        found = np.array(rows, dtype=np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1] == 1

    def stated(self) -> list[int]:
        """Return how many distinct facts each source states; entry i belongs to source i."""
        columns = schema.origin.c
        query = select(columns.source_id, func.count()).group_by(columns.source_id)
        with self._engine.connect() as connection:
            counts = {source_id: count for source_id, count in connection.execute(query)}
        return [counts.get(source_id, 0) for source_id in range(self._count(schema.source))]

    def aliases(self, entity_id: int) -> list[str]:
        """Return the other names of an entity, each once, in the order of reading."""
        columns = schema.alias.c
        query = select(columns.text).where(columns.entity_id == int(entity_id)).order_by(columns.id)
        with self._engine.connect() as connection:
            return list(dict.fromkeys(connection.scalars(query)))

    # Details

    def _writing(self) -> StoreWriter:
        if self._writer is None:
            raise KnowledgeError(f"{self._place} is open for reading only; make a new store with: kvqa index-kb")
        return self._writer

    def _release(self) -> None:
        self._engine.dispose()
        self._closed = True

    def _counted(self, name: str, table: Table) -> int:
        """Return the count that was written down: counting millions of rows takes a second."""
        kept = self._meta.get(name)
        return self._count(table) if kept is None else int(kept)

    def _count(self, table: Table) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0

    def _of_entities(self, column: Column[str], entity_ids: Iterable[int] | None) -> list[str]:
        if entity_ids is None:
            return self._column(schema.entity, column)
        ids = [int(entity_id) for entity_id in entity_ids]
        found = self._lookup(sorted(set(ids)), schema.entity.c.id, column)
        missing = next((number for number in ids if number not in found), None)
        if missing is not None:
            raise KnowledgeError(f"there is no entity {missing}; ids go from 0 to {self.num_entities - 1}")
        return [found[number] for number in ids]

    def _lookup(self, wanted: Sequence[Any], column: Column[Any], value: Column[Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        with self._engine.connect() as connection:
            for chunk in _chunks(wanted):
                found.update(
                    (key, item) for key, item in connection.execute(select(column, value).where(column.in_(chunk)))
                )
        return found

    def _column(self, table: Table, column: Column[str]) -> list[str]:
        with self._engine.connect() as connection:
            return [text for rows in blocks(connection, table, [column]) for (text,) in rows]

    def _matrix(self, table: Table, columns: Sequence[Column[int]]) -> NDArray[np.int32]:
        with self._engine.connect() as connection:
            flat = (number for rows in blocks(connection, table, columns) for number in chain.from_iterable(rows))
            return np.fromiter(flat, dtype=np.int32).reshape(-1, len(columns))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _MAX_PARAMETERS):
        yield items[start : start + _MAX_PARAMETERS]
