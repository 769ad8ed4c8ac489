"""Reading knowledge: a file of any format that we know becomes a stream of facts, names and rejects.

A new format is one module here with a `read`, one line in `READERS`, and one line in `kb.readers.detection`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from kb.errors import KnowledgeError
from kb.readers import (
    atomic,
    conceptnet,
    detection,
    fvqa,
    jsonl,
    ntriples,
    sentences,
    triples,
    turtle,
    wikidata,
    wordnet,
    wordnet_lmf,
)
from kb.readers.columns import Columns, parse_columns
from kb.readers.opening import STDIN, first_text, spool_stdin
from kb.readers.packing import SUFFIXES
from kb.readers.reject import Reject
from kb.triple import Alias, Triple

__all__ = [
    "READERS",
    "STDIN",
    "Alias",
    "Columns",
    "Reader",
    "Reject",
    "Triple",
    "detect_format",
    "licence_of",
    "read_source",
    "source_name",
    "spool_stdin",
]

Items: TypeAlias = Iterator[Triple | Alias | Reject]


class Reader(Protocol):
    """What every format offers: the facts and the broken records of one file, in the order of the file."""

    def __call__(self, path: Path, *, source: str) -> Items:
        """Read `path`; `source` is the name under which its facts are kept."""
        ...


READERS: dict[str, Reader] = {
    "triples": triples.read,
    "jsonl": jsonl.read,
    "conceptnet": conceptnet.read,
    "atomic": atomic.read,
    "wordnet": wordnet.read,
    "wordnet-edges": wordnet.read_edges,
    "wikidata": wikidata.read,
    "ntriples": ntriples.read,
    "nquads": ntriples.read,
    "turtle": turtle.read,
    "fvqa": fvqa.read,
    "sentences": sentences.read,
}

LANGUAGE = "en"

_WITH_LANGUAGE = ("conceptnet", "wikidata", "ntriples", "nquads", "turtle")
_LICENCES = {"conceptnet": conceptnet.LICENCE, "wikidata": wikidata.LICENCE, "atomic": atomic.LICENCE}
_KNOWN_SUFFIXES = (".tsv", ".csv", ".txt", ".jsonl", ".json", ".nt", ".nq", ".ttl", ".xml")
_SUFFIXES = re.compile(
    rf"(?:{'|'.join(map(re.escape, _KNOWN_SUFFIXES))})?(?:{'|'.join(map(re.escape, SUFFIXES))})?$", re.IGNORECASE
)


def read_source(
    path: Path,
    *,
    format: str = "auto",
    name: str | None = None,
    columns: Columns = "auto",
    language: str = LANGUAGE,
    min_weight: float = 0.0,
) -> Items:
    """Read one source.

    The file is opened, and format and options are checked, at once; its records come as they are asked for.

    Args:
        path: File, plain or packed with gzip, bz2, xz or zstd. For standard input see `spool_stdin`.
        format: A name in `READERS`, or "auto": found by the first lines.
        name: Name of the source; default is the file name without its suffix.
        columns: Order of the columns of a table without a header line, or which column holds what ("triples" only);
            see `kb.readers.columns.Columns`.
        language: Code of the language that is read ("conceptnet", "wikidata" and RDF only).
        min_weight: Smallest weight of an assertion that is kept ("conceptnet" only).

    Returns:
        Triples with canonical relation names, other names of entities, and a Reject for each record that is neither.

    Raises:
        KnowledgeError: if the file cannot be opened, is empty or of unknown format, an option is not allowed, or (on
            iteration) a column is not there, the order of the columns cannot be told, XML declares entities, or a
            temporary file cannot be written.
    """
    path = Path(path)
    source = source_name(path) if name is None else name
    # Looking into the file in any case, so that a missing one is found here and not on iteration.
    detected = detect_format(path) if format == "auto" else _checked(format, path)
    options: dict[str, Any] = {}
    if columns != "auto":
        parse_columns(columns, path)
        options["columns"] = _only_for(("triples",), detected, path, "--columns", columns)
    if language != LANGUAGE:
        options["language"] = _only_for(_WITH_LANGUAGE, detected, path, "--language", language)
    if min_weight:
        options["min_weight"] = _only_for(("conceptnet",), detected, path, "--min-weight", min_weight)
    return READERS[detected](path, source=source, **options)


def source_name(path: Path) -> str:
    """Return the file name without the suffixes of known formats: `CN-82K.train.tsv.gz` is `CN-82K.train`."""
    return _SUFFIXES.sub("", path.name, count=1) or path.name


def licence_of(format: str, path: Path | None = None) -> str | None:
    """Return the licence under which the data of a format are published, None if that is not known.

    Args:
        format: A name in `READERS`, such as `detect_format` returns.
        path: The file; WN-LMF states its licence itself.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    if format.startswith("wordnet") and path is not None:
        return wordnet_lmf.licence_of(path)
    return _LICENCES.get(format)


def detect_format(path: Path) -> str:
    """Return the name in `READERS` of the format of `path`, judged by its first lines.

    Raises:
        KnowledgeError: if the file cannot be opened, is empty, is no text, or has no format that we know.
    """
    return detection.detect_format(path, "|".join(READERS))


def _only_for(formats: tuple[str, ...], detected: str, path: Path, option: str, value: object) -> object:
    if detected not in formats:
        kinds = "tables" if formats == ("triples",) else ", ".join(formats)
        raise KnowledgeError(f"{option} {value} is for {kinds}, but {path} is read as {detected!r}; leave it out")
    return value


def _checked(format: str, path: Path) -> str:
    if format not in READERS:
        raise KnowledgeError(f"unknown format {format!r} for {path}; allowed: auto, {', '.join(READERS)}")
    first_text(path)
    return format
