"""RDF Turtle (https://www.w3.org/TR/turtle/), taken apart into statements so that a broken one costs only itself.

A statement ends at a line that ends in a full stop outside a long string. A parser that is given the whole file loses
everything after a string that is not closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyoxigraph import Quad, RdfFormat

from kb.readers.labels import temporary_labels
from kb.readers.opening import Line, open_text
from kb.readers.rdf import Names, parse, to_item
from kb.readers.reject import Reject
from kb.triple import Alias, Triple

_BATCH = 1000  # lines
_LONGEST = 10_000  # lines; a statement as long as this has lost its end
_LONG_STRING = re.compile('"""|' + "'''")
_PREFIX_STARTS = frozenset("@pPbB")
_PREFIX = re.compile(r"\s*@?(?:prefix\s+(?P<name>[^\s:]*:)|base)\s*<[^>\s]*>\s*\.?\s*(?:#.*)?", re.IGNORECASE)


@dataclass(slots=True)
class _Batch:
    """Statements that are parsed in one go, after the prefixes that hold for them."""

    prefixes: str
    statements: list[list[Line]] = field(default_factory=list)
    size: int = 0


def read(path: Path, *, source: str, language: str = "en") -> Iterator[Triple | Alias | Reject]:
    """Read the file, plain or packed, twice: labels may come after the statements that need them.

    The `line` of a fact is its number in the file, from 1: one statement of Turtle may be many facts, and the parser
    does not say where it stands. The `line` of a Reject is a line.

    Args:
        path: The file.
        source: Name of the source.
        language: Language of labels and literals, see `kb.readers.rdf`.

    Raises:
        KnowledgeError: if the file cannot be opened, or the temporary folder has no room for its labels.
    """
    with temporary_labels() as (labels, _):
        names = Names(labels, language)
        names.learn(found for found in _statements(path) if isinstance(found, Quad))
        number = 0
        for found in _statements(path):
            if isinstance(found, Reject):
                yield found
            else:
                number += 1
                item = to_item(found, names, source, number, "")
                if item is not None:
                    yield item


def looks_like_prefix(line: str) -> bool:
    """Say whether `line` declares a prefix or the base, as most files do at their beginning."""
    return _PREFIX.fullmatch(line) is not None


def _statements(path: Path) -> Iterator[Quad | Reject]:
    for batch in _batches(path):
        if isinstance(batch, Reject):
            yield batch
            continue
        quads = _parsed(batch.prefixes, [line for statement in batch.statements for line in statement])
        if not isinstance(quads, str):
            yield from quads
            continue
        for statement in batch.statements:
            yield from _one(batch.prefixes, statement)


def _batches(path: Path) -> Iterator[_Batch | Reject]:
    """Give the statements of the file in batches, and its broken lines in between."""
    prefixes: dict[str, str] = {}
    batch = _Batch("")
    pending: list[Line] = []
    in_string = False
    with open_text(path) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield line
                continue
            text = line.text
            if not pending and text.lstrip()[:1] in _PREFIX_STARTS and (match := _PREFIX.fullmatch(text)):
                yield batch
                if isinstance(problem := parse(text, RdfFormat.TURTLE), str):
                    yield Reject(line.number, problem, text)
                else:
                    prefixes[match["name"] or ""] = text
                batch = _Batch("\n".join(prefixes.values()) + "\n")
                continue
            pending.append(line)
            if '"""' in text or "'''" in text:
                in_string ^= len(_LONG_STRING.findall(text)) % 2 == 1
            if (not in_string and text.rstrip().endswith(".")) or len(pending) >= _LONGEST:
                batch.statements.append(pending)
                batch.size += len(pending)
                pending, in_string = [], False
            if batch.size >= _BATCH:
                yield batch
                batch = _Batch(batch.prefixes)
    batch.statements.append(pending)
    yield batch


def _one(prefixes: str, statement: list[Line]) -> Iterator[Quad | Reject]:
    quads = _parsed(prefixes, statement)
    if not isinstance(quads, str):
        yield from quads
        return
    parts = _parts(statement)
    if len(parts) > 1:
        for part in parts:
            yield from _one(prefixes, part)
    else:
        yield Reject(statement[0].number, quads, "\n".join(line.text for line in statement))


def _parts(statement: list[Line]) -> list[list[Line]]:
    """Cut a broken statement where a good one may begin: at the margin, or after a full stop."""
    parts: list[list[Line]] = []
    ended = True
    for line in statement:
        if ended or line.text[:1].strip():
            parts.append([])
        parts[-1].append(line)
        ended = line.text.rstrip().endswith(".")
    return parts


def _parsed(prefixes: str, lines: list[Line]) -> list[Quad] | str:
    return parse(prefixes + "\n".join(line.text for line in lines), RdfFormat.TURTLE)
