"""Which format a file has, judged by its first lines; its name only counts where they leave it open."""

from __future__ import annotations

from pathlib import Path

from kb.errors import KnowledgeError
from kb.readers import (
    atomic,
    columns,
    conceptnet,
    fvqa,
    jsonl,
    ntriples,
    sentences,
    triples,
    turtle,
    wikidata,
    wordnet_lines,
    wordnet_lmf,
)
from kb.readers.opening import Line, first_text
from kb.readers.reject import Reject

_LOOK_AT = 20  # lines; a broken first line must not hide the format
_COMMENT = "#"
_UTF_16_MARK, _UTF_16_LETTER = "\ufffd\ufffd", "\x00"  # what they look like to a reader of UTF-8


def detect_format(path: Path, allowed: str) -> str:
    """Return the name in `kb.readers.READERS` of the format of `path`.

    Args:
        path: The file, plain or packed.
        allowed: Names of the formats, for the message.

    Raises:
        KnowledgeError: if the file cannot be opened, is empty, is no text, or has no format that we know.
    """
    text = first_text(path)
    lines = [line for line in text.split("\n") if line.strip()][:_LOOK_AT]
    if not lines:
        raise KnowledgeError(f"{path} is empty; give a file with at least one fact")
    if text.startswith(_UTF_16_MARK) and _UTF_16_LETTER in text:
        raise KnowledgeError(f"cannot tell the format of {path}; it looks like UTF-16; write it again as UTF-8")
    found = _document(text) or _json_lines(lines) or _rdf(lines, path) or _table(lines) or _text(lines, path)
    if found is None:
        raise KnowledgeError(
            f"cannot tell the format of {path}; it should be a table of facts, JSON lines, RDF, a dump or sentences; "
            f"name it with --format {allowed}"
        )
    return found


def _document(text: str) -> str | None:
    """Name the formats that are one document, or whose first line may be longer than `text`."""
    if wordnet_lmf.looks_like_lmf(text):
        return "wordnet"
    if wikidata.looks_like_dump(text):
        return "wikidata"
    if fvqa.looks_like_json(text):
        return "fvqa"
    return None


def _json_lines(lines: list[str]) -> str | None:
    for number, line in enumerate(lines, start=1):
        record = jsonl.parse_object(Line(number, line))
        if isinstance(record, Reject):
            continue
        if wordnet_lines.synset_problem(record) is None:
            return "wordnet"
        if jsonl.has_fact_keys(record):
            return "jsonl"
    return None


def _rdf(lines: list[str], path: Path) -> str | None:
    content = [line for line in lines if not line.lstrip().startswith(_COMMENT)]
    if any(turtle.looks_like_prefix(line) for line in content):
        return "turtle"
    if any(ntriples.looks_like_statement(line) for line in content):
        # Turtle without prefixes: its statements go over several lines.
        return "turtle" if ".ttl" in path.suffixes else "ntriples"
    return None


def _table(lines: list[str]) -> str | None:
    if any(fvqa.looks_like_table(line) for line in lines):
        return "fvqa"
    if any(conceptnet.looks_like_assertion(line) for line in lines):
        return "conceptnet"
    if any(atomic.looks_like_header(line) for line in lines) or atomic.looks_like_atomic(lines):
        return "atomic"
    return None


def _text(lines: list[str], path: Path) -> str | None:
    separator = triples.separator_of(lines)
    if separator and columns.from_header(lines[0].split(separator)):
        return "triples"
    if sentences.looks_like_sentences(lines):
        return "sentences"
    if separator and not lines[0].lstrip().startswith(("{", "[", "<")):
        return "triples"
    return "sentences" if ".txt" in path.suffixes and not separator else None
