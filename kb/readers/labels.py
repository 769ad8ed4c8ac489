"""Names of things that a dump calls by number or address, with a bounded share of them in memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from kb.errors import KnowledgeError

IN_MEMORY = 500_000
"""Labels that are kept in memory, about 100 MB; those beyond go to a temporary SQLite file."""

_REMEMBERED = 100_000


class Labels:
    """Identifier to label. All labels are set before the first is asked for; of several the first counts."""

    def __init__(self, path: Path, *, in_memory: int = IN_MEMORY) -> None:
        """Keep up to `in_memory` labels in a dict, and the rest in a database at `path`, made when needed."""
        self._path = path
        self._in_memory = in_memory
        self._labels: dict[str, str] = {}
        self._database: sqlite3.Connection | None = None
        self._find = lru_cache(maxsize=_REMEMBERED)(self._read)

    def set(self, identifier: str, label: str) -> bool:
        """Set the label of `identifier`; False if it is known, among those in memory, to have one already."""
        if identifier in self._labels:
            return False
        if len(self._labels) >= self._in_memory:
            self._spill()
        self._labels[identifier] = label
        return True

    def get(self, identifier: str) -> str | None:
        """Return the label of `identifier`, None if it has none."""
        if self._database is None:
            return self._labels.get(identifier)
        if self._labels:
            self._spill()
            # Once at the end: keeping an index in order while millions come in any order takes hours.
            self._database.execute("CREATE INDEX IF NOT EXISTS by_identifier ON label (identifier)")
        found: str | None = self._find(identifier)
        return found

    def close(self) -> None:
        """Close the database, if there is one."""
        if self._database is not None:
            self._database.close()

    def _spill(self) -> None:
        if self._database is None:
            self._database = sqlite3.connect(self._path, isolation_level=None)
            # The file is thrown away whatever happens, so nothing is done for its safety.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("CREATE TABLE label (identifier TEXT, text TEXT)")
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO label VALUES (?, ?)", self._labels.items())
        self._database.execute("COMMIT")
        self._labels.clear()

    def _read(self, identifier: str) -> str | None:
        assert self._database is not None
        found = self._database.execute("SELECT text FROM label WHERE identifier = ? LIMIT 1", (identifier,)).fetchone()
        return None if found is None else str(found[0])


@contextmanager
def temporary_labels(*, in_memory: int = IN_MEMORY) -> Iterator[tuple[Labels, Path]]:
    """Give empty labels and the temporary folder beside them, both gone after the `with` block.

    Raises:
        KnowledgeError: if the temporary folder has no room for what is kept there.
    """
    with tempfile.TemporaryDirectory(prefix="kvqa-") as folder:
        labels = Labels(Path(folder) / "labels.sqlite", in_memory=in_memory)
        try:
            yield labels, Path(folder)
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            advice = "free space, or set TMPDIR to a folder with room"
            raise KnowledgeError(f"cannot keep labels in {folder}: {error}; {advice}") from error
        finally:
            labels.close()
