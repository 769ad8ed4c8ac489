"""The tables of a knowledge store. Portable SQL: the same on SQLite and on PostgreSQL.

There are no foreign keys: the loader hands out all ids itself, and letting PostgreSQL look up each of them again
halves the speed of loading. Indexes are made when all rows are in, which is faster than keeping them in order.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table

SCHEMA_VERSION = "2"
"""Changes whenever a store that an older program wrote cannot be read any more."""

metadata = MetaData()

# More than 2^31 origins are thinkable, more facts are not; on SQLite INTEGER is 64 bit and the row's own key.
_Ordinal = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

source = Table(
    "source",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False, unique=True),
    Column("path", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("licence", String),
    Column("records", BigInteger, nullable=False),  # taken from the reader so far, of whatever kind
    Column("read", BigInteger, nullable=False),
    Column("new", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("complete", Integer, nullable=False),
)

entity = Table(
    "entity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String, nullable=False),
    Column("text", String, nullable=False),
)

alias = Table(
    "alias",
    metadata,
    Column("id", _Ordinal, primary_key=True, autoincrement=False),
    Column("entity_key", String, nullable=False),
    Column("entity_id", Integer),  # none while no fact names the entity
    Column("key", String, nullable=False),
    Column("text", String, nullable=False),
    Column("source_id", Integer, nullable=False),
    Column("line", BigInteger),
)

relation = Table(
    "relation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False, unique=True),
)

fact = Table(
    "fact",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("head_id", Integer, nullable=False),
    Column("relation_id", Integer, nullable=False),
    Column("tail_id", Integer, nullable=False),
)

origin = Table(
    "origin",
    metadata,
    Column("id", _Ordinal, primary_key=True, autoincrement=False),  # the order of reading
    Column("fact_id", Integer, nullable=False),
    Column("source_id", Integer, nullable=False),
    Column("line", BigInteger),
)

# Apart, as most origins have no such row, and narrow rows are written twice as fast.
wording = Table(
    "wording",
    metadata,
    Column("origin_id", _Ordinal, primary_key=True, autoincrement=False),
    Column("surface", String),
    Column("head", String),  # as spelled there, none where it is spelled like the entity
    Column("tail", String),
)

reject = Table(
    "reject",
    metadata,
    Column("id", _Ordinal, primary_key=True, autoincrement=False),
    Column("source_id", Integer, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("text", String, nullable=False),
)

block = Table(
    "block",
    metadata,
    Column("part", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    Column("sha256", String, nullable=False),
)

INDEXES = (
    Index("entity_by_key", entity.c.key, unique=True),
    Index("alias_by_key", alias.c.key),
    Index("alias_by_entity", alias.c.entity_id),
    Index("origin_by_fact", origin.c.fact_id),
)
"""Made by `kb.writing.StoreWriter.finish`, not with the tables."""

TABLES = (meta, source, entity, alias, relation, fact, origin, wording, reject, block)
