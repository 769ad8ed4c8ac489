"""A knowledge store that is one SQLite file: where it lies, and how it is opened, moved and copied."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from kb.errors import KnowledgeError

_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """Place of a store in a file."""

    path: Path

    def __str__(self) -> str:
        """The path, for messages."""
        return str(self.path)

    def exists(self) -> bool:
        """Say whether there is anything at the path."""
        return self.path.exists()

    def is_store(self) -> bool:
        """Say whether there is a file of SQLite."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC

    def prepare(self) -> None:
        """Make the folder of the file.

        Raises:
            OSError: if that cannot be done.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def partial(self) -> SqliteFile:
        """Return the place beside this one where a store is written before it is whole."""
        return SqliteFile(self.path.with_name(self.path.name + ".partial"))

    def engine(self, *, read_only: bool) -> Engine:
        """Return an engine for the file."""
        # As a URI of our own: SQLAlchemy's URL would take "?" and "%" in a file name for its own.
        uri = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(uri, uri=True, check_same_thread=False),
            poolclass=QueuePool,
        )
        if not read_only:
            event.listen(engine, "connect", _quick_but_safe)
        return engine

    def move_to(self, other: SqliteFile) -> None:
        """Rename the file, over an older one."""
        os.replace(self.path, other.path)

    def copy_to(self, other: object) -> None:
        """Copy the file of a closed store.

        Raises:
            KnowledgeError: if the other store is of another kind.
        """
        if not isinstance(other, SqliteFile):
            raise KnowledgeError(f"cannot copy {self} to {other}: one is a file, the other a database; use --overwrite")
        other.prepare()
        shutil.copyfile(self.path, other.path)

    def remove(self) -> None:
        """Delete the file and the journal that SQLite keeps beside it, as far as they are there."""
        for file in (self.path, self.path.with_name(self.path.name + "-journal")):
            file.unlink(missing_ok=True)


def _quick_but_safe(connection: sqlite3.Connection, _record: object) -> None:
    # NORMAL still waits for the disk at each commit; the large cache keeps the indexes of a load in memory.
    for pragma in ("synchronous = NORMAL", "temp_store = FILE", "cache_size = -131072"):
        connection.execute(f"PRAGMA {pragma}")
