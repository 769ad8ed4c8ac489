"""Open English WordNet as JSON lines: one synset a line.

It has `id`, which ends in the part of speech, `w` (words), `d` (definition) and, by pointer, lists of other ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from kb.readers.jsonl import objects
from kb.readers.reject import Reject
from kb.readers.synsets import Synset, facts
from kb.triple import Triple


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read the synsets of `path`, plain or packed, twice: they point to synsets that come later.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    words = {str(record["id"]): str(_listed(record, "w")[0]) for record in _records(path)}
    for line, record in objects(path):
        if isinstance(record, Reject):
            yield record
        elif problem := synset_problem(record):
            yield Reject(line.number, problem, line.text)
        else:
            yield from facts(_synset(record), words, source, line.number)


def synset_problem(record: Mapping[str, object]) -> str | None:
    """Say what keeps the record from being a synset: no text `id`, or no list of words `w`. None: it is one."""
    if not isinstance(record.get("id"), str):
        return "has no text under 'id'"
    words = record.get("w")
    if not isinstance(words, list) or not words or not isinstance(words[0], str):
        return "has no list of words under 'w'"
    return None


def _records(path: Path) -> Iterator[Mapping[str, object]]:
    for _, record in objects(path):
        if not isinstance(record, Reject) and synset_problem(record) is None:
            yield record


def _synset(record: Mapping[str, object]) -> Synset:
    return Synset(
        id=str(record["id"]),
        part_of_speech=str(record["id"]).rpartition("-")[2],
        words=_listed(record, "w"),
        definition=record.get("d"),
        pointers=[(name, other) for name in record if name not in ("id", "w", "d") for other in _listed(record, name)],
    )


def _listed(record: Mapping[str, object], name: str) -> list[object]:
    listed = record.get(name)
    return listed if isinstance(listed, list) else []
