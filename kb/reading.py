"""The queries of a knowledge store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, func, select

from kb import schema
from kb.bulk import BLOCK, id_range
from kb.fact import Fact, Origin, Source
from kb.readers.reject import Reject
from kb.triple import Alias, Triple


def sources(engine: Engine) -> list[Source]:
    """Return the sources; entry i has id i."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.source).order_by(schema.source.c.id))
        return [Source(**{**row._mapping, "complete": bool(row.complete)}) for row in rows]


def named_facts() -> Select[Any]:
    """Return the query for facts with the texts of their entities, in the order of their ids."""
    head, tail = schema.entity.alias("head"), schema.entity.alias("tail")
    joined = (
        schema.fact.join(head, head.c.id == schema.fact.c.head_id)
        .join(schema.relation, schema.relation.c.id == schema.fact.c.relation_id)
        .join(tail, tail.c.id == schema.fact.c.tail_id)
    )
    columns = schema.fact.c
    return select(
        columns.id,
        head.c.text.label("head"),
        schema.relation.c.name.label("relation"),
        tail.c.text.label("tail"),
        columns.head_id,
        columns.tail_id,
    ).select_from(joined)


def facts_with_origins() -> Select[Any]:
    """Return the query for facts as `named_facts`, one row for each origin."""
    return (
        named_facts()
        .join(schema.origin, schema.origin.c.fact_id == schema.fact.c.id)
        .join(schema.source, schema.source.c.id == schema.origin.c.source_id)
        .outerjoin(schema.wording, schema.wording.c.origin_id == schema.origin.c.id)
        .add_columns(schema.source.c.name.label("source_name"), schema.origin.c.line, schema.wording.c.surface)
        .order_by(schema.fact.c.id, schema.origin.c.source_id)
    )


def to_fact(rows: Sequence[Row[Any]]) -> Fact:
    """Return the fact of `rows`, which agree in the columns of `named_facts` and differ in the origin."""
    first = rows[0]
    origins = tuple(Origin(row.source_name, row.line, row.surface) for row in rows)
    return Fact(first.id, first.head, first.relation, first.tail, first.head_id, first.tail_id, origins)


def keys_with(connection: Connection, part: str) -> list[Row[Any]]:
    """Return id and place of `part`, from 1, for the entities in whose key it stands, in the order of the ids."""
    find = func.strpos if connection.dialect.name == "postgresql" else func.instr
    place = find(schema.entity.c.key, part)
    query = select(schema.entity.c.id, place).where(place > 0).order_by(schema.entity.c.id)
    with connection.execute(query) as result:
        # Straight from the driver: of millions of rows SQLAlchemy's row objects would take most of the time.
        return list(result.cursor.fetchall())


def records_of(engine: Engine, source: Source) -> Iterator[Triple | Alias | Reject]:
    """Give what was read from one source, as its reader gave it, but each fact once: triples, aliases, rejects.

    A store that is made of these is equal to one that is made of the file.
    """
    for row in _rows_of(engine, source, *_spelled_triples()):
        head, relation, tail, line, surface = row
        yield Triple(head, relation, tail, source.name, line, surface)
    named = func.coalesce(schema.entity.c.text, schema.alias.c.entity_key)
    aliases = select(named, schema.alias.c.text, schema.alias.c.line).select_from(
        schema.alias.outerjoin(schema.entity, schema.entity.c.id == schema.alias.c.entity_id)
    )
    for entity, text, line in _rows_of(engine, source, aliases, schema.alias):
        yield Alias(entity, text, source.name, line)
    rejects = select(schema.reject.c.line, schema.reject.c.reason, schema.reject.c.text)
    for line, reason, text in _rows_of(engine, source, rejects, schema.reject):
        yield Reject(line, reason, text)


def _spelled_triples() -> tuple[Select[Any], Any]:
    head, tail, origin = schema.entity.alias("head"), schema.entity.alias("tail"), schema.origin
    joined = (
        origin.join(schema.fact, schema.fact.c.id == origin.c.fact_id)
        .join(head, head.c.id == schema.fact.c.head_id)
        .join(schema.relation, schema.relation.c.id == schema.fact.c.relation_id)
        .join(tail, tail.c.id == schema.fact.c.tail_id)
        .outerjoin(schema.wording, schema.wording.c.origin_id == origin.c.id)
    )
    query = select(
        func.coalesce(schema.wording.c.head, head.c.text),
        schema.relation.c.name,
        func.coalesce(schema.wording.c.tail, tail.c.text),
        origin.c.line,
        schema.wording.c.surface,
    ).select_from(joined)
    return query, origin


def _rows_of(engine: Engine, source: Source, query: Select[Any], table: Any) -> Iterator[Any]:
    """Give the rows of one source from a table with dense ids, a block at a time."""
    with engine.connect() as connection:
        ends = select(func.min(table.c.id), func.max(table.c.id)).where(table.c.source_id == source.id)
        first, last = connection.execute(ends).one()
        if first is None:
            return
        of_source = query.where(table.c.source_id == source.id)
        for start in range(first, last + 1, BLOCK):
            yield from id_range(connection, of_source, table.c.id, start, min(start + BLOCK, last + 1))
