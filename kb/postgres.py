"""A knowledge store in a PostgreSQL database: the tables of one store lie in one schema of that database."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DatabaseError, NoSuchModuleError

from kb import schema
from kb.errors import KnowledgeError

DEFAULT_SCHEMA = "kvqa"

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class PostgresSchema:
    """Place of a store in a database.

    Attributes:
        url: URL of the database. Its password is used, but never shown: `str()` leaves it out.
        name: Name of the schema.
    """

    url: URL
    name: str

    @classmethod
    def of(cls, url: URL) -> PostgresSchema:
        """Return the place that a URL names: `postgresql://user@host/database?schema=facts`.

        Raises:
            KnowledgeError: if the name of the schema is not one of small letters, digits and underscores.
        """
        name = url.query.get("schema", DEFAULT_SCHEMA)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise KnowledgeError(f"bad schema {name!r}: give small letters, digits and underscores, such as ?schema=kb")
        return cls(url.difference_update_query(["schema"]).set(drivername="postgresql+psycopg"), name)

    def __str__(self) -> str:
        """The URL without a password, as `KnowledgeStore.open` takes it."""
        return make_url(self.database).update_query_dict({"schema": self.name}).render_as_string()

    @property
    def database(self) -> str:
        """URL of the database without password and schema."""
        return _without_password(self.url).set(drivername="postgresql").render_as_string()

    def exists(self) -> bool:
        """Say whether the database has the schema.

        Raises:
            KnowledgeError: if the database cannot be reached.
        """
        query = text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name")
        with self._connected() as connection:
            return connection.scalar(query, {"name": self.name}) is not None

    def is_store(self) -> bool:
        """Say whether the schema has the table from which the schema version is read."""
        query = text("SELECT 1 FROM information_schema.tables WHERE table_schema = :name AND table_name = 'meta'")
        with self._connected() as connection:
            return connection.scalar(query, {"name": self.name}) is not None

    def prepare(self) -> None:
        """Make the schema.

        Raises:
            KnowledgeError: if the database cannot be reached.
        """
        with self._connected() as connection:
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{self.name}"'))

    def siblings(self, prefix: str) -> list[PostgresSchema]:
        """Return the schemas of the same database whose names begin with `prefix`."""
        query = text("SELECT schema_name FROM information_schema.schemata WHERE starts_with(schema_name, :prefix)")
        with self._connected() as connection:
            return [PostgresSchema(self.url, name) for name in connection.scalars(query, {"prefix": prefix})]

    def partial(self) -> PostgresSchema:
        """Return the place beside this one where a store is written before it is whole."""
        return PostgresSchema(self.url, f"{self.name[:55]}_partial")

    def engine(self, *, read_only: bool) -> Engine:
        """Return an engine whose connections see the tables of this schema only.

        Raises:
            KnowledgeError: if the driver is not installed.
        """
        options = f"-csearch_path={self.name}" + (" -cdefault_transaction_read_only=on" if read_only else "")
        try:
            return create_engine(self.url, connect_args={"options": options})
        except (ImportError, NoSuchModuleError):
            raise KnowledgeError(
                "the PostgreSQL driver is not installed; install it with: pip install 'kvqa[cluster]'"
            ) from None

    def move_to(self, other: PostgresSchema) -> None:
        """Rename the schema, over an older one, in one transaction."""
        with self._connected() as connection:
            connection.execute(text(f'DROP SCHEMA IF EXISTS "{other.name}" CASCADE'))
            connection.execute(text(f'ALTER SCHEMA "{self.name}" RENAME TO "{other.name}"'))

    def copy_to(self, other: object) -> None:
        """Copy all tables, within the server.

        Raises:
            KnowledgeError: if the other store is not in the same database.
        """
        if not isinstance(other, PostgresSchema) or _without_password(other.url) != _without_password(self.url):
            raise KnowledgeError(f"cannot copy {self} to {other}: they are not in one database; use --overwrite")
        with self._connected() as connection:
            connection.execute(text(f'CREATE SCHEMA "{other.name}"'))
            for table in schema.TABLES:
                target, origin = f'"{other.name}"."{table.name}"', f'"{self.name}"."{table.name}"'
                connection.execute(text(f"CREATE TABLE {target} (LIKE {origin} INCLUDING DEFAULTS)"))
                connection.execute(text(f"INSERT INTO {target} SELECT * FROM {origin}"))
                key = ", ".join(f'"{column.name}"' for column in table.primary_key)
                connection.execute(text(f"ALTER TABLE {target} ADD PRIMARY KEY ({key})"))

    def remove(self) -> None:
        """Drop the schema with all its tables, if it is there."""
        with self._connected() as connection:
            connection.execute(text(f'DROP SCHEMA IF EXISTS "{self.name}" CASCADE'))

    def _connected(self) -> _Once:
        return _Once(self.engine(read_only=False), str(self))


def _without_password(url: URL) -> URL:
    plain = URL.create(url.drivername, url.username, host=url.host, port=url.port, database=url.database)
    return plain.set(query=url.query).difference_update_query(["password"])


class _Once:
    """One transaction on an engine of its own; the connection is closed with it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._transaction = engine.begin()

    def __enter__(self) -> Connection:
        try:
            return self._transaction.__enter__()
        except DatabaseError as error:
            self._engine.dispose()
            reason = " ".join(str(error.orig).split())
            raise KnowledgeError(
                f"cannot reach {self._name}: {reason}; check the URL and that the server runs "
                "(a password may stand in the environment variable PGPASSWORD or in ~/.pgpass)"
            ) from None

    def __exit__(self, *error: object) -> None:
        self._transaction.__exit__(*error)  # type: ignore[arg-type]
        self._engine.dispose()
