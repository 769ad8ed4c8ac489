"""JSON lines: one object a line with `head`, `relation`, `tail` and, if it likes, `surface`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from kb.readers.opening import Line, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

KEYS: dict[str, tuple[str, ...]] = {
    "head": ("head", "subject", "h"),
    "relation": ("relation", "predicate", "r"),
    "tail": ("tail", "object", "t"),
    "surface": ("surface", "sentence", "text"),
}
"""Part of a fact to the keys under which it may stand; the first that is present counts."""


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read a `.jsonl` file, plain or gzip. Blank lines are skipped.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    for line, record in objects(path):
        yield record if isinstance(record, Reject) else _to_triple(line, record, source)


def objects(path: Path) -> Iterator[tuple[Line, Mapping[str, object] | Reject]]:
    """Give each line that is not blank with the JSON object on it, or with the reason why there is none.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    with open_text(path) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield Line(line.line, line.text), line
            elif line.text.strip():
                yield line, parse_object(line)


def parse_object(line: Line) -> Mapping[str, object] | Reject:
    """Return the JSON object on the line, or the reason why there is none."""
    try:
        record = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return Reject(line.number, f"not JSON: {error}", line.text)
    if not isinstance(record, dict):
        return Reject(line.number, f"is a JSON {type(record).__name__}, not an object", line.text)
    return record


def has_fact_keys(record: Mapping[str, object]) -> bool:
    """Say whether head, relation and tail all stand in the record under some name of `KEYS`."""
    return all(any(key in record for key in KEYS[part]) for part in ("head", "relation", "tail"))


def _to_triple(line: Line, record: Mapping[str, object], source: str) -> Triple | Reject:
    for part in ("head", "relation", "tail"):
        if not any(key in record for key in KEYS[part]):
            return Reject(line.number, f"has no {part}; allowed keys: {', '.join(KEYS[part])}", line.text)
    head, relation, tail, surface = (_value(record, part) for part in KEYS)
    return to_triple(head, relation, tail, source=source, line=line.number, text=line.text, surface=surface)


def _value(record: Mapping[str, object], part: str) -> object:
    return next((record[key] for key in KEYS[part] if key in record), None)
