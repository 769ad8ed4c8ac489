"""Where the facts of each generation of a knowledge base are kept: a file of its folder, or a schema of a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from kb.database import Place, place_of
from kb.errors import KnowledgeError
from kb.postgres import PostgresSchema
from kb.sqlite import SqliteFile
from retrieval.generations import BUILDING, current_generation
from retrieval.manifest import Manifest
from retrieval.plan import Plan, schema_name

STORE = "store.sqlite"


def store_of(folder: Path, manifest: Manifest) -> Place:
    """Return the place of the facts of the knowledge base in `folder`."""
    return place_of(manifest.store) if "://" in manifest.store else SqliteFile(folder / manifest.store)


@dataclass(frozen=True)
class StorePlaces:
    """The places that one build deals with.

    Attributes:
        out: Folder of the knowledge base.
        given: The database that the user named, perhaps with a password; None is where the facts are now.
        base: Manifest of the generation before.
    """

    out: Path
    given: str | None
    base: Manifest | None

    @property
    def database(self) -> str:
        """URL of the database without password and schema, "" where the facts are kept in a file."""
        place = self._named()
        return "" if place is None else place.database

    @property
    def stays(self) -> bool:
        """Whether the facts of the generation before are in the database that `database` names, or both in files."""
        if self.base is None:
            return False
        place = store_of(self.out, self.base)
        return self.database == (place.database if isinstance(place, PostgresSchema) else "")

    def of_base(self) -> Place | None:
        """Return where the facts of the generation before are."""
        if self.base is None:
            return None
        place, named = store_of(self.out, self.base), self._named()
        if isinstance(place, PostgresSchema) and named is not None and place.database == named.database:
            return PostgresSchema(named.url, place.name)  # with the password, if one was given
        return place

    def of_plan(self, plan: Plan, folder: Path | None = None) -> Place:
        """Return where the facts of the new generation are made."""
        named = self._named()
        if named is None:
            return SqliteFile((folder or self.out / BUILDING) / STORE)
        return PostgresSchema(named.url, plan.schema)

    def name_of(self, plan: Plan) -> str:
        """Return what the manifest says of the place."""
        place = self.of_plan(plan)
        return str(place) if isinstance(place, PostgresSchema) else f"{plan.generation}/{STORE}"

    def drop_others(self, plan: Plan) -> None:
        """Drop the schemas of this knowledge base that belong neither to the current generation nor to the plan."""
        new, current = self.of_plan(plan), current_generation(self.out)
        if isinstance(new, PostgresSchema):
            kept = {new.name, new.partial().name, schema_name(plan.kb_id, current) if current else ""}
            for place in new.siblings(f"kvqa_{plan.kb_id}_"):
                if place.name not in kept:
                    place.remove()

    def _named(self) -> PostgresSchema | None:
        """Return the database in which the new generation is kept, None for a file."""
        if self.given is None:
            place = None if self.base is None else store_of(self.out, self.base)
            return place if isinstance(place, PostgresSchema) else None
        place = place_of(self.given)
        if not isinstance(place, PostgresSchema) or "schema" in make_url(self.given).query:
            raise KnowledgeError(
                f"--store {place} is no PostgreSQL database; give postgresql://USER@HOST/DATABASE without a schema, or "
                "leave --store out to keep the facts in a file of the folder"
            )
        return place
