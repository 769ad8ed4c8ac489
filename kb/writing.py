"""Adding to a knowledge store, batch by batch; after a crash it goes on with the first batch that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, update

from kb import fingerprint, schema
from kb.bulk import blocks, insert_rows
from kb.database import WHOLE, read_meta
from kb.errors import KnowledgeError
from kb.fact import AddReport, Source
from kb.loading import Loader, NewRows, SeenInSource
from kb.readers.reject import Reject
from kb.reading import sources
from kb.triple import Alias, Triple, clean_text

BATCH = 50_000
"""Records of one transaction."""


class StoreWriter:
    """What `KnowledgeStore` uses while it is open for writing. Holds all names and facts in memory, packed."""

    def __init__(self, engine: Engine) -> None:
        """Take in what the store holds already, and open it for more."""
        self._engine = engine
        self._loader = Loader()
        if read_meta(engine).get("state") is not None:
            self._restore()
        self._set_meta({"state": "open"})

    @property
    def num_facts(self) -> int:
        """Number of distinct facts so far."""
        return self._loader.num_facts

    def add_source(self, name: str, path: str | Path, sha256: str, licence: str | None) -> int:
        """See `KnowledgeStore.add_source`."""
        try:
            cleaned = clean_text(name)
        except ValueError as error:
            raise KnowledgeError(f"bad name {name!r} of a source: {error}; give it another name") from error
        known = sources(self._engine)
        if any(cleaned == source.name for source in known):
            raise KnowledgeError(f"there is a source {cleaned!r} already; give each file a name of its own")
        columns = [column.name for column in schema.source.c]
        row = Source(len(known), cleaned, str(path), sha256, licence)
        with self._engine.begin() as connection:
            connection.execute(insert(schema.source), {name: getattr(row, name) for name in columns})
        return row.id

    def add(
        self, records: Iterable[Triple | Alias | Reject], source_id: int, *, copied: Source | None = None
    ) -> AddReport:
        """See `KnowledgeStore.add`."""
        known = sources(self._engine)
        if not 0 <= source_id < len(known):
            raise KnowledgeError(f"there is no source {source_id}; call add_source first")
        before = known[source_id]
        seen = self._seen(source_id, fresh=before.records == 0)
        stream = iter(records)
        while batch := list(islice(stream, BATCH)):
            self._add_batch(batch, seen)
        counts = {} if copied is None else {"records": copied.records, "read": copied.read}
        with self._engine.begin() as connection:
            of_source = update(schema.source).where(schema.source.c.id == source_id)
            connection.execute(of_source.values(complete=1, **counts))
        after = sources(self._engine)[source_id]
        read, new = after.read - before.read, after.new - before.new
        return AddReport(read=read, new=new, duplicate=read - new, refused=after.refused - before.refused)

    def finish(self) -> None:
        """Make the indexes, tie aliases to their entities, and write counts and content hash: the store is whole."""
        for index in schema.INDEXES:
            index.create(self._engine, checkfirst=True)
        with self._engine.begin() as connection:
            of_key = select(schema.entity.c.id).where(schema.entity.c.key == schema.alias.c.entity_key)
            unknown = schema.alias.c.entity_id.is_(None)
            connection.execute(update(schema.alias).where(unknown).values(entity_id=of_key.scalar_subquery()))
            content_hash = fingerprint.update_blocks(connection)
        counts = {"facts": self.num_facts, "entities": self._loader.num_entities}
        self._set_meta({**{name: str(count) for name, count in counts.items()}, "content_hash": content_hash})
        self._set_meta({"state": WHOLE})

    def _add_batch(self, batch: list[Triple | Alias | Reject], seen: SeenInSource) -> None:
        kinds = Counter(map(type, batch))
        rejects = [record for record in batch if isinstance(record, Reject)] if kinds[Reject] else []
        known = self._loader.num_facts
        facts = [record for record in batch if not isinstance(record, Reject)] if rejects else batch
        rows = self._loader.rows(facts, seen)  # type: ignore[arg-type]
        columns = schema.source.c
        progress: dict[str, Any] = {
            "records": columns.records + len(batch),
            "read": columns.read + kinds[Triple],
            "new": columns.new + (self._loader.num_facts - known),
            "refused": columns.refused + len(rejects),
        }
        self._write(rows, rejects, seen.source_id, progress)

    def _write(self, rows: NewRows, rejects: list[Reject], source_id: int, progress: dict[str, Any]) -> None:
        with self._engine.begin() as connection:
            for table, new in rows.by_table():
                if new:
                    insert_rows(connection, table, new)
            if rejects:
                first = _count(connection, schema.reject)
                listed = [
                    (number, source_id, reject.line, _storable(reject.reason), _storable(reject.text))
                    for number, reject in enumerate(rejects, first)
                ]
                insert_rows(connection, schema.reject, listed)
            connection.execute(update(schema.source).where(schema.source.c.id == source_id).values(progress))

    def _restore(self) -> None:
        with self._engine.connect() as connection:
            for rows in blocks(connection, schema.entity, [schema.entity.c.key, schema.entity.c.text]):
                self._loader.restore_entities([key for key, _ in rows], [text for _, text in rows])
            for rows in blocks(connection, schema.relation, [schema.relation.c.name]):
                self._loader.restore_relations(name for (name,) in rows)
            columns = schema.fact.c
            for rows in blocks(connection, schema.fact, [columns.head_id, columns.relation_id, columns.tail_id]):
                self._loader.restore_facts(np.array(rows, dtype=np.int64))
            self._loader.num_origins = _count(connection, schema.origin)
            self._loader.num_aliases = _count(connection, schema.alias)

    def _seen(self, source_id: int, *, fresh: bool) -> SeenInSource:
        seen = SeenInSource(source_id)
        if not fresh:
            facts = select(schema.origin.c.fact_id).where(schema.origin.c.source_id == source_id)
            columns = schema.alias.c
            aliases = select(columns.entity_key, columns.key).where(columns.source_id == source_id)
            with self._engine.connect() as connection:
                for part in connection.scalars(facts).partitions(BATCH):
                    seen.first_time(np.array(part, dtype=np.int64))
                for pairs in connection.execute(aliases).partitions(BATCH):
                    seen.new_aliases([(entity, key) for entity, key in pairs])
        return seen

    def _set_meta(self, values: dict[str, str]) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(schema.meta).where(schema.meta.c.key.in_(values)))
            connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in values.items()])


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _storable(text: str) -> str:
    """Return text that every database takes: PostgreSQL holds no NUL, and none holds half a surrogate pair."""
    return text.replace("\x00", "�").encode("utf-8", errors="replace").decode("utf-8")
