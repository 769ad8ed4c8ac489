"""Reading knowledge: a file of any format that we know becomes a stream of triples and rejects.

A new format is one module here with a `read`, one line in `READERS`, and one line in `detect_format`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from kb.errors import KnowledgeError
from kb.readers import fvqa, jsonl, triples, wordnet
from kb.readers.columns import Columns
from kb.readers.opening import Line, first_text
from kb.readers.reject import Reject
from kb.triple import Alias, Triple

__all__ = ["READERS", "Alias", "Columns", "Reader", "Reject", "Triple", "detect_format", "read_source", "source_name"]

Items: TypeAlias = Iterator[Triple | Alias | Reject]


class Reader(Protocol):
    """What every format offers: the facts and the broken records of one file, in the order of the file."""

    def __call__(self, path: Path, *, source: str) -> Items:
        """Read `path`; `source` is the name under which its facts are kept."""
        ...


READERS: dict[str, Reader] = {
    "triples": triples.read,
    "jsonl": jsonl.read,
    "wordnet": wordnet.read,
    "fvqa": fvqa.read,
}

_SUFFIXES = re.compile(r"\.(?:tsv|csv|txt|jsonl|json)(?:\.gz)?$|\.gz$", re.IGNORECASE)
_LOOK_AT = 20  # lines; a broken first line must not hide the format


def read_source(path: Path, *, format: str = "auto", name: str | None = None, columns: Columns = "auto") -> Items:
    """Read one source.

    The file is opened, and format and options are checked, at once; its records come as they are asked for.

    Args:
        path: File, plain or gzip.
        format: A name in `READERS`, or "auto": found by the first lines.
        name: Name of the source; default is the file name without its suffix.
        columns: Order of the columns of a table without a header line ("triples" only).

    Returns:
        Triples with canonical relation names, and a Reject for each record that is no fact.

    Raises:
        KnowledgeError: if the file cannot be opened, is empty or of unknown format, an option is not allowed, or
            (on iteration) the order of the columns of a table cannot be told.
    """
    path = Path(path)
    source = source_name(path) if name is None else name
    # Looking into the file in any case, so that a missing one is found here and not on iteration.
    detected = detect_format(path) if format == "auto" else _checked(format, path)
    if detected == "triples":
        return triples.read(path, source=source, columns=columns)
    if columns != "auto":
        raise KnowledgeError(f"--columns {columns} is for tables, but {path} is read as {detected!r}; leave it out")
    return READERS[detected](path, source=source)


def source_name(path: Path) -> str:
    """Return the file name without the suffixes of known formats: `CN-82K.train.tsv.gz` is `CN-82K.train`."""
    return _SUFFIXES.sub("", path.name) or path.name


def detect_format(path: Path) -> str:
    """Return the name in `READERS` of the format of `path`, judged by its first lines.

    Raises:
        KnowledgeError: if the file cannot be opened, is empty, is no text, or has no format that we know.
    """
    text = first_text(path)
    lines = [line for line in text.split("\n") if line.strip()][:_LOOK_AT]
    if not lines:
        raise KnowledgeError(f"{path} is empty; give a file with at least one fact")
    if fvqa.looks_like_table(lines[0]):
        return "fvqa"
    if found := _json_format(lines) or ("fvqa" if fvqa.looks_like_json(text) else None):
        return found
    if not text.lstrip().startswith(("{", "[")) and triples.separator_of(lines):
        return "triples"
    raise KnowledgeError(
        f"cannot tell the format of {path}; it should be a table with three columns (TSV, CSV), or JSON lines with "
        f"head, relation and tail; name the format with --format {'|'.join(READERS)}"
    )


def _json_format(lines: list[str]) -> str | None:
    for number, line in enumerate(lines, start=1):
        record = jsonl.parse_object(Line(number, line))
        if isinstance(record, Reject):
            continue
        if wordnet.synset_problem(record) is None:
            return "wordnet"
        if jsonl.has_fact_keys(record):
            return "jsonl"
    return None


def _checked(format: str, path: Path) -> str:
    if format not in READERS:
        raise KnowledgeError(f"unknown format {format!r} for {path}; allowed: auto, {', '.join(READERS)}")
    first_text(path)
    return format
