"""ATOMIC: what people do, why, and what comes of it.

ATOMIC 2020 (Hwang et al. 2021, https://arxiv.org/abs/2010.05953) is a table of head, relation and tail with tabs
between them and no header. The first ATOMIC (Sap et al. 2019, https://arxiv.org/abs/1811.00146) is a CSV with a column
for the event and one for each relation, whose cells are JSON lists of tails.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kb.readers.opening import Line, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

LICENCE = "CC BY 4.0"

EVENT = "event"
"""Header of the column of heads in the first ATOMIC."""

INFERENCES = ("oEffect", "oReact", "oWant", "xAttr", "xEffect", "xIntent", "xNeed", "xReact", "xReason", "xWant")
"""Relations between an event and what it means for PersonX (x) or for others (o)."""

_OTHERS = ("HinderedBy", "isAfter", "isBefore", "isFilledBy", "MadeUpOf", "ObjectUse")
_COLUMNS = 3
_BLANK = re.compile(r"_{2,}")
_NOTHING = "none"


def read(path: Path, *, source: str) -> Iterator[Triple | Reject]:
    """Read either release, plain or packed. The tail "none" is left out; the blank `___` reads "something".

    Raises:
        KnowledgeError: if the file cannot be opened.
    """
    with open_text(path) as lines:
        header: list[str] | None = None
        for line in lines:
            if isinstance(line, Reject):
                yield line
            elif header:
                yield from _row(line, header, source)
            elif looks_like_header(line.text):
                header = _cells(line.text)
            elif line.text.strip():
                yield from _line(line, source)


def looks_like_header(line: str) -> bool:
    """Say whether `line` is the first of the first ATOMIC."""
    cells = line.split(",")
    return cells[0].strip() == EVENT and any(cell in INFERENCES for cell in cells)


def looks_like_atomic(lines: Sequence[str]) -> bool:
    """Say whether a line has three cells of which the second is a relation that only ATOMIC has."""
    rows = [line.split("\t") for line in lines]
    return any(len(row) == _COLUMNS and row[1] in INFERENCES + _OTHERS for row in rows)


def _line(line: Line, source: str) -> Iterator[Triple | Reject]:
    cells = line.text.split("\t")
    if len(cells) != _COLUMNS:
        yield Reject(line.number, f"has {len(cells)} columns instead of {_COLUMNS}", line.text)
    else:
        head, relation, tail = cells
        yield from _fact(head, relation, tail, line, source)


def _row(line: Line, header: Sequence[str], source: str) -> Iterator[Triple | Reject]:
    try:
        cells = _cells(line.text)
        if not cells:
            return
        if len(cells) != len(header):
            raise ValueError(f"has {len(cells)} columns, the header line has {len(header)}")
        row = dict(zip(header, cells, strict=True))
        tails = {relation: _listed(row[relation], relation) for relation in INFERENCES if relation in row}
    except (ValueError, csv.Error, RecursionError) as error:
        yield Reject(line.number, str(error), line.text)
        return
    for relation, found in tails.items():
        for tail in found:
            yield from _fact(row[EVENT], relation, tail, line, source)


def _cells(text: str) -> list[str]:
    return next(csv.reader([text], strict=True), [])


def _listed(cell: str, relation: str) -> list[object]:
    try:
        tails = json.loads(cell)
    except ValueError as error:
        raise ValueError(f"{relation}: not JSON: {error}") from error
    if not isinstance(tails, list):
        raise ValueError(f"{relation}: is a JSON {type(tails).__name__}, not a list")
    return tails


def _fact(head: str, relation: str, tail: object, line: Line, source: str) -> Iterator[Triple | Reject]:
    if isinstance(tail, str):
        tail = _BLANK.sub("something", tail)
        if tail.strip().lower() == _NOTHING:
            return
    yield to_triple(_BLANK.sub("something", head), relation, tail, source=source, line=line.number, text=line.text)
