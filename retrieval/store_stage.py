"""The first stage of a build: the facts of all sources into the store of the new generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from sqlalchemy.exc import DatabaseError

from kb import database
from kb.database import Place
from kb.errors import KnowledgeError
from kb.fact import Source
from kb.readers import Reject, read_source
from kb.store import KnowledgeStore
from kb.triple import Alias, Triple
from retrieval.plan import Plan, PlannedSource

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, what is done and the total (0 when not known)."""

Records: TypeAlias = Iterable[Triple | Alias | Reject]

_TELL_EACH = 5000  # records


def fill_store(location: Place, plan: Plan, base: Place | None, *, strict: bool = False, progress: Progress) -> None:
    """Make the store of `plan` at `location`, going on with what an earlier run left there.

    Args:
        base: The store of the generation that `plan` builds on.
        strict: Take the first refused record for an error.

    Raises:
        KnowledgeError: if a source cannot be read, a record is refused under `strict`, or nothing was found.
    """
    if _is_finished(location, plan):
        return
    if base is not None and plan.append:
        _copy(base, location)
        if _is_finished(location, plan):
            return
    with KnowledgeStore.resume(location) as store:
        for number, source in enumerate(plan.sources):
            known = store.sources()
            if number >= len(known):
                store.add_source(source.name, source.path, source.sha256, source.licence)
                known = store.sources()
            if not known[number].complete:
                _load(store, known[number], source, base, strict, progress)
        if store.num_facts == 0:
            names = ", ".join(source.path for source in plan.sources)
            raise KnowledgeError(f"no fact found in {names or 'no source at all'}; see --format and --columns")
        progress("finishing the store", 0, 0)
        store.finish()


def _is_finished(location: Place, plan: Plan) -> bool:
    try:
        store = KnowledgeStore.open(location)
    except KnowledgeError:
        return False
    with store:
        there = [(source.name, source.sha256) for source in store.sources() if source.complete]
    return there == [(source.name, source.sha256) for source in plan.sources]


def _copy(base: Place, location: Place) -> None:
    """Copy the old store as a whole; a copy that was broken off is made again."""
    if location.exists():
        return
    location.partial().remove()
    base.copy_to(location.partial())
    location.partial().move_to(location)  # type: ignore[arg-type]


def _load(
    store: KnowledgeStore,
    known: Source,
    source: PlannedSource,
    base: Place | None,
    strict: bool,
    progress: Progress,
) -> None:
    """Add what is still missing of one source, from its file or from the old store."""
    if source.state == "kept":
        if base is None:
            raise KnowledgeError(f"source {source.name!r} is to be kept, but there is no store to keep it from")
        with KnowledgeStore.open(base) as old:
            before = next(entry for entry in old.sources() if entry.name == source.name)
            records = _told(old.records_of(before), f"keeping {source.name}", progress)
            store.add(islice(records, known.records, None), known.id, copied=before)
        return
    try:
        stream = read_source(Path(source.path), name=source.name, **source.options)
        records = _told(_strictly(stream, source) if strict else stream, f"reading {source.name}", progress)
        store.add(islice(records, known.records, None), known.id)
    except ValueError as error:
        if isinstance(error, KnowledgeError):
            raise
        raise KnowledgeError(f"cannot use a record of {source.path}: {error}; this is a fault of its reader") from error


def _strictly(records: Records, source: PlannedSource) -> Iterator[Triple | Alias | Reject]:
    for record in records:
        if isinstance(record, Reject):
            raise KnowledgeError(
                f"{source.path}, line {record.line}: {record.reason}; mend the line, or leave out --strict"
            )
        yield record


def _told(records: Records, step: str, progress: Progress) -> Iterator[Triple | Alias | Reject]:
    for number, record in enumerate(records, 1):
        if number % _TELL_EACH == 0:
            progress(step, number, 0)
        yield record


def unwritable(error: Exception) -> str | None:
    """Return what a database or the operating system says of a disk that refuses, None for another error."""
    if isinstance(error, DatabaseError):
        return database.cause(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return None
