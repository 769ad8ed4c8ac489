"""The tables of a knowledge store. Portable SQL: nothing here is SQLite's own."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint

SCHEMA_VERSION = "1"
"""Changes whenever a store that an older program wrote cannot be read any more."""

metadata = MetaData()

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
)

entity = Table(
    "entity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String, nullable=False, unique=True),
    Column("text", String, nullable=False),
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
    Column("head_id", Integer, ForeignKey("entity.id"), nullable=False),
    Column("relation_id", Integer, ForeignKey("relation.id"), nullable=False),
    Column("tail_id", Integer, ForeignKey("entity.id"), nullable=False),
    UniqueConstraint("head_id", "relation_id", "tail_id"),
)

origin = Table(
    "origin",
    metadata,
    Column("fact_id", Integer, ForeignKey("fact.id"), primary_key=True, autoincrement=False),
    Column("source_id", Integer, ForeignKey("source.id"), primary_key=True, autoincrement=False),
    Column("line", Integer),
    Column("surface", String),
)
