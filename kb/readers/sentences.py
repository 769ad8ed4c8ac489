"""Plain text with one sentence a line; each becomes a fact that says no more than the sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kb.readers.opening import Line, open_text
from kb.readers.reject import Reject
from kb.triple import Triple, text_fact

_SENTENCE = re.compile(r"[^\t]*\w\s+\w[^\t]*[.!?…][\"'”’)\]]*\s*")
_MOSTLY = 0.5


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read a text file, plain or packed. Blank lines are skipped.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    with open_text(path) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield line
            elif line.text.strip():
                yield _to_triple(line, source)


def looks_like_sentences(lines: Sequence[str]) -> bool:
    """Say whether most of the lines are several words without a tab that end as sentences do."""
    return sum(_SENTENCE.fullmatch(line) is not None for line in lines) > _MOSTLY * len(lines)


def _to_triple(line: Line, source: str) -> Triple | Reject:
    try:
        return text_fact(line.text, source=source, line=line.number)
    except ValueError as error:
        return Reject(line.number, str(error), line.text)
