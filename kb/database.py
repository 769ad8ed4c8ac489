"""The database under a knowledge store: which one a path or URL names, making it, opening it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Engine, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError

from kb import schema
from kb.errors import KnowledgeError
from kb.postgres import PostgresSchema
from kb.sqlite import SqliteFile

Place: TypeAlias = SqliteFile | PostgresSchema

WHOLE = "whole"


def place_of(location: str | Path | Place) -> Place:
    """Return the place that a path or a URL (`sqlite:///facts.db`, `postgresql://host/db?schema=kb`) names.

    A place comes back as it is: it may hold a password, which its text does not show.

    Raises:
        KnowledgeError: if `location` is a URL of another database, of no file, or no URL at all.
    """
    if isinstance(location, SqliteFile | PostgresSchema):
        return location
    if isinstance(location, Path) or "://" not in location:
        return SqliteFile(Path(location))
    allowed = "give a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE"
    try:
        url = make_url(location)
    except ArgumentError as error:
        raise KnowledgeError(f"{location!r} is no database URL; {allowed}") from error
    if url.get_backend_name() == "postgresql":
        return PostgresSchema.of(url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise KnowledgeError(f"{url!r} is no database for a knowledge store; {allowed}")
    return SqliteFile(Path(url.database))


def create(place: Place) -> Engine:
    """Make an empty store.

    Raises:
        KnowledgeError: if it cannot be written.
    """
    try:
        place.remove()  # what an earlier, broken run left
        place.prepare()
        engine = place.engine(read_only=False)
        schema.metadata.create_all(engine, tables=schema.TABLES)
        for index in schema.INDEXES:
            index.drop(engine, checkfirst=True)
        _write_version(engine)
    except (OSError, DatabaseError) as error:
        raise KnowledgeError(f"cannot write {place}: {cause(error)}; give a path in a folder you may write") from error
    return engine


def open_to_write(place: Place) -> Engine:
    """Open a store, whole or not, to add to it; make it if there is none.

    Raises:
        KnowledgeError: if it is no knowledge store, has another schema version, or cannot be written.
    """
    if not place.exists():
        # Made beside and renamed: whatever interrupts, there is none or an empty one.
        create(place.partial()).dispose()
        place.partial().move_to(place)  # type: ignore[arg-type]
    elif not place.is_store():
        raise KnowledgeError(f"{place} exists and is no knowledge store; it is left alone, give another path")
    return _checked(place, read_only=False)


def open_read_only(place: Place) -> Engine:
    """Open a whole store; nothing can be written through the engine.

    Raises:
        KnowledgeError: if there is none, it is no knowledge store or not whole, or it has another schema version.
    """
    if not place.exists():
        raise KnowledgeError(f"there is no knowledge store {place}; make one with: kvqa index-kb")
    if not place.is_store():
        raise KnowledgeError(f"{place} is no knowledge store; make one with: kvqa index-kb")
    return _checked(place, read_only=True)


def read_meta(engine: Engine) -> dict[str, str]:
    """Return everything that a store says about itself."""
    with engine.connect() as connection:
        return {key: value for key, value in connection.execute(select(schema.meta.c.key, schema.meta.c.value))}


def cause(error: Exception) -> str:
    """Return what the database or the operating system says, on one line."""
    text = str(error.orig) if isinstance(error, DatabaseError) else str(error)
    return " ".join(text.split())


def _checked(place: Place, *, read_only: bool) -> Engine:
    engine = place.engine(read_only=read_only)
    try:
        meta = read_meta(engine)
    except DatabaseError as error:
        engine.dispose()
        raise KnowledgeError(f"{place} is no knowledge store ({cause(error)}); make one: kvqa index-kb") from error
    problem = None
    if (found := meta.get("schema_version")) != schema.SCHEMA_VERSION:
        problem = f"has schema version {found}, this program reads {schema.SCHEMA_VERSION}"
    elif read_only and meta.get("state") != WHOLE:
        problem = "is not whole: its loading was broken off"
    if problem is not None:
        engine.dispose()
        raise KnowledgeError(f"{place} {problem}; make it again with: kvqa index-kb SOURCE… --overwrite")
    return engine


def _write_version(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(schema.meta.insert(), {"key": "schema_version", "value": schema.SCHEMA_VERSION})
