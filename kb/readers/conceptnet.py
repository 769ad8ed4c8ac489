"""ConceptNet 5.5 to 5.7 assertions (Speer et al. 2017, https://github.com/commonsense/conceptnet5/wiki/Downloads).

Five columns with tabs between them: URI of the assertion, relation, start, end, and JSON with `dataset`, `license`,
`weight` and perhaps `surfaceText`. Start and end are such as `/c/en/traffic_light/n/wn/artifact`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from kb.readers.opening import Line, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple, entity_key

LICENCE = "CC BY-SA 4.0"

COLUMNS = 5

_CONCEPT = "/c/"
_WEB = ("http://", "https://")
_BRACKETS = re.compile(r"\[\[|\]\]")


def read(path: Path, *, source: str, language: str = "en", min_weight: float = 0.0) -> Iterator[Triple | Reject]:
    """Read the assertions between two concepts of one language, plain or packed. Blank lines are skipped.

    Left out without a word: other languages, `ExternalURL` (an address says nothing to a reader), assertions below
    the weight, and those between two senses of one word, which the text does not tell apart. The JSON of what is left
    out is not looked at: of the 34 million lines of 5.7, 3.5 million are English.

    Args:
        path: The table.
        source: Name of the source.
        language: Code of the language in the concepts' URIs, such as "en".
        min_weight: Smallest weight of an assertion that is kept.

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    prefix = f"{_CONCEPT}{language}/"
    with open_text(path) as lines:
        for line in lines:
            if isinstance(line, Reject):
                yield line
                continue
            cells = line.text.split("\t")
            if len(cells) != COLUMNS:
                if line.text.strip():
                    yield Reject(line.number, f"has {len(cells)} columns instead of {COLUMNS}", line.text)
            elif cells[2].startswith(prefix) and cells[3].startswith(prefix):
                fact = _fact(line, cells, source, len(prefix), min_weight)
                if fact is not None:
                    yield fact
            elif problem := _problem(cells[2], cells[3]):
                yield Reject(line.number, problem, line.text)


def looks_like_assertion(line: str) -> bool:
    """Say whether `line` begins as a line of the table does."""
    cells = line.split("\t")
    return len(cells) == COLUMNS and all(
        cell.startswith(start) for cell, start in zip(cells, ("/a/", "/r/", _CONCEPT), strict=False)
    )


def _fact(line: Line, cells: list[str], source: str, start: int, min_weight: float) -> Triple | Reject | None:
    number, text = line
    try:
        info = json.loads(cells[4])
    except (ValueError, RecursionError) as error:
        return Reject(number, f"the fifth column is not JSON: {error}", text)
    if not isinstance(info, dict):
        return Reject(number, f"the fifth column is a JSON {type(info).__name__}, not an object", text)
    weight = info.get("weight", 1.0)
    if not isinstance(weight, int | float):
        return Reject(number, f"weight: is {type(weight).__name__}, not a number", text)
    surface = info.get("surfaceText")
    fact = to_triple(
        # The rest of the URI, `/n/wn/artifact`, tells senses apart.
        cells[2][start:].partition("/")[0],
        cells[1],
        cells[3][start:].partition("/")[0],
        source=source,
        line=number,
        text=text,
        surface=_BRACKETS.sub("", surface) if isinstance(surface, str) else None,
    )
    if isinstance(fact, Triple) and (weight < min_weight or _says_nothing(fact)):
        return None
    return fact


def _says_nothing(fact: Triple) -> bool:
    return fact.head == fact.tail or entity_key(fact.head) == entity_key(fact.tail)


def _problem(start: str, end: str) -> str | None:
    if not start.startswith(_CONCEPT):
        return f"start: {start[:80]!r} is no concept such as /c/en/dog"
    if not end.startswith((_CONCEPT, *_WEB)):
        return f"end: {end[:80]!r} is no concept such as /c/en/dog"
    return None
