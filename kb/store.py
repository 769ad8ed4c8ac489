"""The knowledge store: all facts in one SQLite file, each once, with the sources in which it was read.

Ids of facts, entities, relations and sources are dense, from 0, in the order in which they were first added, so that
row i of an array, an index or a matrix belongs to fact i.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, Engine, Row, Select, Table, func, insert, select

from kb import database, schema
from kb.errors import KnowledgeError
from kb.fact import AddReport, Fact, FactArrays, Origin, Source
from kb.loading import Loader
from kb.relations import verbalise
from kb.triple import Triple, clean_text

__all__ = ["AddReport", "Fact", "FactArrays", "KnowledgeStore", "Origin", "Source"]

T = TypeVar("T")

_BATCH = 20_000  # triples a transaction
_MAX_PARAMETERS = 10_000  # of one query; SQLite allows 32,766


class KnowledgeStore:
    """Facts on disk. Make one with `create` and fill it, or `open` one that is whole.

    A new store is written beside its path and renamed into place by `close`; leaving the `with` block by an error
    discards it, so that a path never holds half a store.
    """

    def __init__(self, engine: Engine, path: Path, *, writable: bool) -> None:
        """Use `create` or `open` instead."""
        self._engine = engine
        self._path = path
        self._loader = Loader() if writable else None
        self._closed = False

    @classmethod
    def create(cls, location: str | Path) -> Self:
        """Begin a new, empty store, which takes the place of an older one at `close`.

        Args:
            location: A path or an SQLite URL (`sqlite:///facts.db`).

        Raises:
            KnowledgeError: if `location` is something else, holds another kind of file, or cannot be written.
        """
        path = database.file_of(location)
        store = cls(database.create(path), path, writable=True)
        store._write_meta("schema_version", schema.SCHEMA_VERSION)
        return store

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """Open a store for reading.

        Raises:
            KnowledgeError: if there is none, the file is something else, or has another schema version.
        """
        path = database.file_of(location)
        return cls(database.open_read_only(path), path, writable=False)

    def close(self) -> None:
        """Release the file; a new store is put into its place. Closing twice does nothing."""
        if self._closed:
            return
        if self._loader is not None:
            self._write_meta("content_hash", self.content_hash())
        self._release()
        if self._loader is not None:
            database.put_in_place(self._path)

    def discard(self) -> None:
        """Release the file and delete a new store that was not put into place; an older one stays as it was."""
        if self._closed:
            return
        self._release()
        if self._loader is not None:
            database.remove(database.partial_file(self._path))

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
        self._writer()
        try:
            cleaned = clean_text(name)
        except ValueError as error:
            raise KnowledgeError(f"bad name {name!r} of a source: {error}; give it another name") from error
        known = self.sources()
        if any(cleaned == source.name for source in known):
            raise KnowledgeError(f"there is a source {cleaned!r} already; give each file a name of its own")
        row = {"id": len(known), "name": cleaned, "path": str(path), "sha256": sha256, "licence": licence}
        with self._engine.begin() as connection:
            connection.execute(insert(schema.source), row)
        return len(known)

    def add(self, triples: Iterable[Triple], source_id: int) -> AddReport:
        """Add the facts of one source. A fact that is there already gets one more origin.

        Triples are written in batches of 20,000, one transaction each. Of several lines of a source with the same
        fact the first is kept as its origin. `triple.source` is not looked at: the source is `source_id`.

        Raises:
            KnowledgeError: if the store is open for reading, or there is no such source.
            ValueError: if the head or tail of a triple is empty or holds a NUL character.
        """
        loader = self._writer()
        if not 0 <= source_id < self._count(schema.source):
            raise KnowledgeError(f"there is no source {source_id}; call add_source first")
        before, read = loader.num_facts, 0
        stream = iter(triples)
        while batch := list(islice(stream, _BATCH)):
            rows = loader.rows(batch, source_id)
            with self._engine.begin() as connection:
                for table, new in rows.by_table():
                    if new:
                        connection.execute(insert(table), new)
            read += len(batch)
        new_facts = loader.num_facts - before
        return AddReport(read=read, new=new_facts, duplicate=read - new_facts)

    # Reading all

    @property
    def num_facts(self) -> int:
        """Number of distinct facts."""
        return self._count(schema.fact)

    @property
    def num_entities(self) -> int:
        """Number of distinct heads and tails."""
        return self._count(schema.entity)

    @property
    def num_relations(self) -> int:
        """Number of distinct relation names."""
        return self._count(schema.relation)

    def arrays(self) -> FactArrays:
        """Return all facts as three arrays of (num_facts,) int32."""
        columns = schema.fact.c
        table = self._matrix(select(columns.head_id, columns.relation_id, columns.tail_id).order_by(columns.id), 3)
        heads, relations, tails = (np.ascontiguousarray(table[:, number]) for number in range(3))
        return FactArrays(heads, relations, tails)

    def entity_texts(self) -> list[str]:
        """Return the display text of each entity; entry i belongs to entity i."""
        return self._column(schema.entity.c.text, schema.entity.c.id)

    def entity_keys(self) -> list[str]:
        """Return `kb.triple.entity_key` of each entity; entry i belongs to entity i."""
        return self._column(schema.entity.c.key, schema.entity.c.id)

    def relation_names(self) -> list[str]:
        """Return the name of each relation; entry i belongs to relation i."""
        return self._column(schema.relation.c.name, schema.relation.c.id)

    def fact_texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the sentences of the facts with ids from `start` to `stop` (excluded; None: to the end)."""
        query = _named_facts().where(schema.fact.c.id >= start)
        if stop is not None:
            query = query.where(schema.fact.c.id < stop)
        with self._engine.connect() as connection:
            return [verbalise(row.head, row.relation, row.tail) for row in connection.execute(query)]

    def sources(self) -> list[Source]:
        """Return the sources; entry i has id i."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(schema.source).order_by(schema.source.c.id))
            return [Source(*row) for row in rows]

    def origin_mask(self) -> NDArray[np.bool_]:
        """Say which fact was read in which source: (num_facts, num_sources) bool, each row with at least one True.

        Facts that only source s states are `mask[:, s] & (mask.sum(axis=1) == 1)`.
        """
        mask = np.zeros((self.num_facts, self._count(schema.source)), dtype=np.bool_)
        pairs = self._matrix(select(schema.origin.c.fact_id, schema.origin.c.source_id), 2)
        mask[pairs[:, 0], pairs[:, 1]] = True
        return mask

    def content_hash(self) -> str:
        """Return the SHA-256, in hexadecimal, of all facts in their order with the names of their sources.

        Two stores with the same hash have the same fact ids. Paths, lines, surfaces and times do not count.
        """
        if self._loader is None and (kept := self._read_meta("content_hash")) is not None:
            return kept
        keys, names, arrays = self.entity_keys(), self.relation_names(), self.arrays()
        source_names = np.array([source.name for source in self.sources()], dtype=object)
        digest = hashlib.sha256()
        columns = (arrays.heads.tolist(), arrays.relations.tolist(), arrays.tails.tolist(), self.origin_mask())
        for head, relation, tail, origins in zip(*columns, strict=True):
            # Names hold no tab and no line end, see clean_text, so the text is unique to its facts.
            line = "\t".join((keys[head], names[relation], keys[tail], *source_names[origins]))
            digest.update(line.encode("utf-8") + b"\n")
        return digest.hexdigest()

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
                rows = connection.execute(_facts_with_origins().where(schema.fact.c.id.in_(chunk)))
                found.update((number, _to_fact(list(group))) for number, group in groupby(rows, itemgetter(0)))
        missing = next((number for number in ids if number not in found), None)
        if missing is not None:
            raise KnowledgeError(f"there is no fact {missing}; ids go from 0 to {self.num_facts - 1}")
        return [found[number] for number in ids]

    def find_entities(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the id of each of the `keys` (see `kb.triple.entity_key`) that is an entity; others are left out."""
        columns = schema.entity.c
        found: dict[str, int] = {}
        with self._engine.connect() as connection:
            for chunk in _chunks(list(dict.fromkeys(keys))):
                rows = connection.execute(select(columns.key, columns.id).where(columns.key.in_(chunk)))
                found.update((key, number) for key, number in rows)
        return found

    # Details

    def _writer(self) -> Loader:
        if self._loader is None:
            raise KnowledgeError(f"{self._path} is open for reading only; make a new store with: kvqa index-kb")
        return self._loader

    def _release(self) -> None:
        self._engine.dispose()
        self._closed = True

    def _count(self, table: Table) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0

    def _column(self, column: Column[str], order: Column[int]) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(select(column).order_by(order)))

    def _matrix(self, query: Select[Any], width: int) -> NDArray[np.int32]:
        with self._engine.connect() as connection:
            flat = np.fromiter(chain.from_iterable(connection.execute(query)), dtype=np.int32)
        return flat.reshape(-1, width)

    def _read_meta(self, key: str) -> str | None:
        with self._engine.connect() as connection:
            return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == key))

    def _write_meta(self, key: str, value: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(schema.meta), {"key": key, "value": value})


def _named_facts() -> Select[Any]:
    head, tail = schema.entity.alias("head"), schema.entity.alias("tail")
    joined = (
        schema.fact.join(head, head.c.id == schema.fact.c.head_id)
        .join(schema.relation, schema.relation.c.id == schema.fact.c.relation_id)
        .join(tail, tail.c.id == schema.fact.c.tail_id)
    )
    columns = schema.fact.c
    return (
        select(
            columns.id,
            head.c.text.label("head"),
            schema.relation.c.name.label("relation"),
            tail.c.text.label("tail"),
            columns.head_id,
            columns.tail_id,
        )
        .select_from(joined)
        .order_by(columns.id)
    )


def _facts_with_origins() -> Select[Any]:
    return (
        _named_facts()
        .join(schema.origin, schema.origin.c.fact_id == schema.fact.c.id)
        .join(schema.source, schema.source.c.id == schema.origin.c.source_id)
        .add_columns(schema.source.c.name.label("source_name"), schema.origin.c.line, schema.origin.c.surface)
        .order_by(schema.origin.c.source_id)
    )


def _to_fact(rows: Sequence[Row[Any]]) -> Fact:
    """Return the fact of `rows`, which agree in the columns of `_named_facts` and differ in the origin."""
    first = rows[0]
    origins = tuple(Origin(row.source_name, row.line, row.surface) for row in rows)
    return Fact(first.id, first.head, first.relation, first.tail, first.head_id, first.tail_id, origins)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _MAX_PARAMETERS):
        yield items[start : start + _MAX_PARAMETERS]
