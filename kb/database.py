"""The SQLite file under a knowledge store: finding it, making it, opening it, putting it into place."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.pool import QueuePool

from kb import schema
from kb.errors import KnowledgeError

_SQLITE_MAGIC = b"SQLite format 3\x00"


def file_of(location: str | Path) -> Path:
    """Return the file that a path or an SQLite URL (`sqlite:///facts.db`) names.

    Raises:
        KnowledgeError: if `location` is a URL of another database, of no file, or no URL at all.
    """
    if isinstance(location, Path) or "://" not in location:
        return Path(location)
    try:
        url = make_url(location)
    except ArgumentError as error:
        raise KnowledgeError(f"{location!r} is no database URL; give a path or sqlite:///PATH") from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise KnowledgeError(f"{url!r} is not a file of SQLite; give a path or sqlite:///PATH")
    return Path(url.database)


def partial_file(path: Path) -> Path:
    """Return the file beside `path` in which a store is written before it is whole."""
    return path.with_name(path.name + ".partial")


def create(path: Path) -> Engine:
    """Make an empty store in `partial_file(path)`, over what an earlier, broken run left there.

    Raises:
        KnowledgeError: if `path` exists and is no knowledge store, or its folder cannot be written.
    """
    if path.exists() and not _is_sqlite(path):
        raise KnowledgeError(f"{path} exists and is no knowledge store; it is left alone, give another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial_file(path))
        engine = _engine(partial_file(path), read_only=False)
        schema.metadata.create_all(engine)
    except (OSError, DatabaseError) as error:
        raise KnowledgeError(f"cannot write {path}: {_cause(error)}; give a path in a folder you may write") from error
    return engine


def open_read_only(path: Path) -> Engine:
    """Open a whole store; nothing can be written through the engine.

    Raises:
        KnowledgeError: if there is no such file, it is no knowledge store, or it has another schema version.
    """
    if not path.exists():
        raise KnowledgeError(f"there is no knowledge store {path}; make one with: kvqa index-kb")
    if not _is_sqlite(path):
        raise KnowledgeError(f"{path} is no knowledge store; make one with: kvqa index-kb")
    engine = _engine(path, read_only=True)
    try:
        _check_version(engine, path)
    except KnowledgeError:
        engine.dispose()
        raise
    return engine


def put_in_place(path: Path) -> None:
    """Rename the written store to `path`, over an older one."""
    os.replace(partial_file(path), path)


def remove(path: Path) -> None:
    """Delete `path` and the journal that SQLite keeps beside it, as far as they are there."""
    for file in (path, path.with_name(path.name + "-journal")):
        file.unlink(missing_ok=True)


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC


def _engine(path: Path, *, read_only: bool) -> Engine:
    # As a URI of our own: SQLAlchemy's URL would take "?" and "%" in a file name for its own.
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, check_same_thread=False),
        poolclass=QueuePool,
    )
    if not read_only:
        event.listen(engine, "connect", _quick_but_safe)
    return engine


def _quick_but_safe(connection: sqlite3.Connection, _record: object) -> None:
    # NORMAL still waits for the disk at each commit; the large cache keeps the indexes of a load in memory.
    for pragma in ("synchronous = NORMAL", "temp_store = MEMORY", "cache_size = -262144"):
        connection.execute(f"PRAGMA {pragma}")


def _check_version(engine: Engine, path: Path) -> None:
    try:
        with engine.connect() as connection:
            found = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "schema_version"))
    except DatabaseError as error:
        raise KnowledgeError(f"{path} is no knowledge store ({_cause(error)}); make one with: kvqa index-kb") from error
    if found != schema.SCHEMA_VERSION:
        raise KnowledgeError(
            f"{path} has schema version {found}, this program reads {schema.SCHEMA_VERSION}; "
            "make it again with: kvqa index-kb"
        )


def _cause(error: Exception) -> str:
    return str(error.orig) if isinstance(error, DatabaseError) else str(error)
