"""What a build has to do: which sources the new generation is made of, and what of the old one can be kept."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kb.errors import KnowledgeError
from kb.readers import Columns, detect_format, licence_of, source_name
from kb.triple import clean_text
from retrieval.generations import BUILDING, current_generation, next_generation
from retrieval.manifest import MANIFEST, Manifest, file_sha256, write_text_safely

PLAN = "plan.json"


@dataclass(frozen=True)
class Reading:
    """How the files of one command are read; see `kb.readers.read_source`."""

    format: str = "auto"
    columns: Columns = "auto"
    language: str = "en"
    min_weight: float = 0.0
    licence: str | None = None

    def options(self) -> dict[str, Any]:
        """Return what decides how a file is understood, as it is written into manifests."""
        options = asdict(self)
        del options["licence"]
        return options


@dataclass(frozen=True)
class PlannedSource:
    """One source of the new generation.

    Attributes:
        name: Name, unique.
        path: Where the file lies or lay.
        sha256: Checksum of the file.
        licence: Licence, None if it is not known.
        options: How it is read.
        state: "new", "replaced" (a new file under the name of an old source), or "kept" (taken from the old store).
    """

    name: str
    path: str
    sha256: str
    licence: str | None
    options: dict[str, Any]
    state: str = "new"

    def entry(self) -> dict[str, Any]:
        """Return the entry of `Manifest.sources`."""
        entry = asdict(self)
        del entry["state"]
        return entry


@dataclass(frozen=True)
class Plan:
    """All that decides what a build makes. Two runs with equal plans go on with each other's work.

    Attributes:
        sources: The sources in the order of reading.
        removed: Names of sources of the old generation that are left out.
        base: The generation from which things are kept, None for a new beginning.
        append: Whether the old sources all stay, in front of the new ones, so that the old store can be added to.
        encoder: Name and checksum of the encoder.
        index: FAISS factory string, or "auto".
        store: Database without password, "" for a file in the folder.
        kb_id: See `Manifest.kb_id`.
        generation: Name of the new generation.
    """

    sources: list[PlannedSource]
    removed: list[str]
    base: str | None
    append: bool
    encoder: list[str]
    index: str
    store: str
    kb_id: str
    generation: str

    @property
    def schema(self) -> str:
        """Name of the schema of this generation in a database."""
        return schema_name(self.kb_id, self.generation)

    @property
    def changes_nothing(self) -> bool:
        """Say if all sources stay and there is nothing else; the encoder, index and store may be others."""
        return self.append and all(source.state == "kept" for source in self.sources)

    def write(self, folder: Path) -> None:
        """Write the plan into the folder where it is carried out."""
        write_text_safely(folder / PLAN, json.dumps(asdict(self), indent=1, ensure_ascii=False))

    def same_work(self, other: Plan | None) -> bool:
        """Say if what was done for `other` is of use.

        The index may be another, it is made last; and files may lie elsewhere, as standard input does at every run.
        """
        return other is not None and replace(other, index=self.index).without_paths() == self.without_paths()

    def without_paths(self) -> Plan:
        """Return the plan without the places of its files, which their checksums stand for."""
        return replace(self, sources=[replace(source, path="") for source in self.sources])


def schema_name(kb_id: str, generation: str) -> str:
    """Return the name of the schema, in a database, of a generation."""
    return f"kvqa_{kb_id}_{generation.replace('-', '_')}"


def read_plan(folder: Path) -> Plan | None:
    """Return the plan that is carried out in `folder`, None if there is none that can be read."""
    try:
        content = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        sources = [PlannedSource(**source) for source in content.pop("sources")]
        return Plan(sources, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def make_plan(
    out: Path,
    sources: list[PlannedSource],
    removed: list[str],
    base: Manifest | None,
    *,
    encoder: tuple[str, str],
    index: str,
    store: str,
    stays: bool,
) -> Plan:
    """Return the plan for the next generation of the knowledge base in `out`; see `Plan`.

    Args:
        stays: Whether the facts stay in the same database, so that their tables can be copied.
    """
    current = current_generation(out)
    begun = read_plan(out / BUILDING) or read_plan(out / next_generation(current))
    kb_id = base.kb_id if base else begun.kb_id if begun else _kb_id(out)
    append = base is not None and _is_append(sources, base) and stays
    name = base.generation if base else None
    return Plan(sources, removed, name, append, list(encoder), index, store, kb_id, next_generation(current))


def plan_sources(
    paths: Sequence[Path], reading: Reading, base: Manifest | None, remove: Sequence[str] = ()
) -> tuple[list[PlannedSource], list[str]]:
    """Return the sources of the new generation in their order, and the names of those that are taken out.

    A file that the old generation was made of, unaltered and read in the same way, is kept as it is in the store;
    an altered one takes the place of the old; others come at the end.

    Raises:
        KnowledgeError: if a path does not exist or cannot be read, or there is no source of a name in `remove`.
    """
    old = {entry["name"]: PlannedSource(**entry, state="kept") for entry in (base.sources if base else [])}
    unknown = next((name for name in remove if name not in old), None)
    if unknown is not None:
        raise KnowledgeError(f"there is no source {unknown!r} to remove; there are: {', '.join(old) or 'none'}")
    planned = {name: source for name, source in old.items() if name not in remove}
    known_paths = {source.path: name for name, source in planned.items()}
    for name, path in source_names(paths, known_paths):
        fresh = _planned(name, path, reading)
        known = planned.get(name)
        if known is None:
            planned[name] = fresh
        elif (known.sha256, known.options) != (fresh.sha256, fresh.options) or (
            reading.licence is not None and reading.licence != known.licence
        ):
            planned[name] = replace(fresh, state="replaced")
    return list(planned.values()), list(remove)


def source_names(paths: Sequence[Path], known: dict[str, str] | None = None) -> list[tuple[str, Path]]:
    """Name each source after its file, without suffixes; folders are read file by file; names stay unique.

    Args:
        known: Absolute path to name of sources that are there already: they keep their names.

    Raises:
        KnowledgeError: if a path does not exist.
    """
    known = known or {}
    named: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise KnowledgeError(f"source {path} does not exist; check the path")
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            base = name = known.get(os.path.abspath(file)) or clean_text(source_name(file))  # as the store compares
            number = 2
            while name in named and named[name] != file:
                name, number = f"{base}-{number}", number + 1
            named[name] = file
    return list(named.items())


def _kb_id(out: Path) -> str:
    """Return the name of the knowledge base that is to be overwritten, or a new one."""
    try:
        name = json.loads((out / MANIFEST).read_text(encoding="utf-8")).get("kb_id")
    except (OSError, ValueError, AttributeError):
        name = None
    return name if isinstance(name, str) and re.fullmatch("[0-9a-f]{8}", name) else secrets.token_hex(4)


def _is_append(sources: Sequence[PlannedSource], base: Manifest) -> bool:
    """Say if all sources of `base` stay, in front of the others."""
    first = [source.name for source in sources[: len(base.sources)] if source.state == "kept"]
    return first == [entry["name"] for entry in base.sources]


def _planned(name: str, path: Path, reading: Reading) -> PlannedSource:
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise KnowledgeError(f"cannot read {path}: {reason}; check the path and its permissions") from None
    licence = reading.licence or licence_of(detect_format(path) if reading.format == "auto" else reading.format, path)
    return PlannedSource(name, os.path.abspath(path), sha256, licence, reading.options())
