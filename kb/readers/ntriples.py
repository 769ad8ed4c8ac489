"""RDF a statement a line: N-Triples and N-Quads (https://www.w3.org/TR/n-quads/)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pyoxigraph import Quad, RdfFormat

from kb.readers.labels import temporary_labels
from kb.readers.opening import Line, open_text
from kb.readers.rdf import ALIASES, LABELS, Names, parse, to_item
from kb.readers.reject import Reject
from kb.triple import Alias, Triple

_BATCH = 1000  # lines; parsing so many at once is ten times as fast as one by one
_STATEMENT = re.compile(r"\s*(?:<[^>\s]*>|_:\S+)\s*<[^>\s]*>\s*(?:<|_:|\").*\.\s*(?:#.*)?")
_LABELS = tuple(f"<{iri}>" for iri in LABELS | ALIASES)


def read(path: Path, *, source: str, language: str = "en") -> Iterator[Triple | Alias | Reject]:
    """Read either format, plain or packed, twice: labels may come after the statements that need them.

    Graphs of N-Quads have no effect. Blank lines and comments are skipped.

    Args:
        path: The file.
        source: Name of the source.
        language: Language of labels and literals, see `kb.readers.rdf`.

    Raises:
        KnowledgeError: if the file cannot be opened, or the temporary folder has no room for its labels.
    """
    with temporary_labels() as (labels, _):
        names = Names(labels, language)
        names.learn(found for _, found in _statements(path, only_labels=True) if isinstance(found, Quad))
        for line, found in _statements(path):
            if isinstance(found, Reject):
                yield found
            else:
                item = to_item(found, names, source, line.number, line.text)
                if item is not None:
                    yield item


def looks_like_statement(line: str) -> bool:
    """Say whether `line` has the form of a statement."""
    return _STATEMENT.fullmatch(line) is not None


def _statements(path: Path, *, only_labels: bool = False) -> Iterator[tuple[Line, Quad | Reject]]:
    with open_text(path) as lines:
        wanted = (line for line in lines if isinstance(line, Reject) or _is_wanted(line.text, only_labels))
        while batch := list(islice(wanted, _BATCH)):
            good = [line for line in batch if isinstance(line, Line)]
            quads = parse("\n".join(line.text for line in good), RdfFormat.N_QUADS)
            if len(good) == len(batch) == len(quads) and not isinstance(quads, str):
                yield from zip(good, quads, strict=True)
            else:
                for item in batch:
                    yield from [(Line(item.line, ""), item)] if isinstance(item, Reject) else _one(item)


def _is_wanted(text: str, only_labels: bool) -> bool:
    if only_labels:
        return any(label in text for label in _LABELS)
    start = text.lstrip()[:1]
    return bool(start) and start != "#"


def _one(line: Line) -> Iterator[tuple[Line, Quad | Reject]]:
    quads = parse(line.text, RdfFormat.N_QUADS)
    if isinstance(quads, str):
        yield line, Reject(line.number, quads, line.text)
    else:
        yield from ((line, quad) for quad in quads)
