"""Facts as a table: TSV or CSV, with or without a header line, the columns in any order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from kb.readers.columns import (
    HEADER_NAMES,
    MIN_COLUMNS,
    Columns,
    Layout,
    from_header,
    from_names,
    parse_columns,
    resolve,
)
from kb.readers.opening import Line, open_text
from kb.readers.record import to_triple
from kb.readers.reject import Reject
from kb.triple import Triple

SAMPLE = 1000
"""Lines that are looked at before the order of the columns is decided."""

TAB, COMMA = "\t", ","


def read(path: Path, *, source: str, columns: Columns = "auto") -> Iterator[Triple | Reject]:
    """Read a table of facts, plain or packed. Blank lines are skipped.

    Without a header line, columns after the third are ignored in a TSV and rejected in a CSV, where they come from
    a comma inside a text. In a TSV quotes are characters like any other; in a CSV they may stand around a cell, which
    must end on its own line.

    Args:
        path: The table. The suffix `.tsv` or `.csv` says what separates the cells; else the first lines do.
        source: Name of the source.
        columns: Order of the first three columns; "auto" is decided as `kb.readers.columns.resolve` says.
            Columns that a header line names need no order: there "hrt" and "rht" have no effect. Or the columns
            themselves, as `kb.readers.columns.parse_columns` reads them.

    Raises:
        KnowledgeError: if the file cannot be opened, `columns` is not allowed or names a column that is not there, or
            the order of the columns cannot be told.
    """
    named = parse_columns(columns, path)
    with open_text(path) as lines:
        filled = (line for line in lines if isinstance(line, Reject) or line.text.strip())
        sample = list(islice(filled, SAMPLE))
        separator = _separator(path, [line.text for line in sample if isinstance(line, Line)])
        cells = [(line, _split(line, separator)) for line in sample]
        rows = [row for _, row in cells if isinstance(row, list)]
        if named:
            layout, has_header = from_names(named, rows, path)
        else:
            header = from_header(rows[0]) if rows else None
            layout = header or resolve(columns, [row for row in rows if len(row) >= MIN_COLUMNS], path)
            has_header = header is not None
        # Without a header a fourth cell of a CSV comes from a comma inside a text, unless the user knows better.
        most = layout.width if layout.width or named or separator == TAB else MIN_COLUMNS
        needed = 1 + max(layout.head, layout.relation, layout.tail)
        header_row = rows[0] if has_header else None
        rest = ((line, _split(line, separator)) for line in filled)
        for line, row in chain(cells, rest):
            if isinstance(line, Reject):
                yield line
            elif isinstance(row, str):
                yield Reject(line.number, row, line.text)
            elif len(row) < needed or (most is not None and len(row) > most):
                yield Reject(line.number, _width_problem(len(row), needed, layout), line.text)
            elif row is not header_row:
                yield _to_triple(line, row, layout, source)


def separator_of(lines: Sequence[str]) -> str | None:
    """Return what separates the cells of most `lines`, None if neither a tab nor a comma does."""
    counts = {mark: sum(line.count(mark) >= MIN_COLUMNS - 1 for line in lines) for mark in (TAB, COMMA)}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None


def _separator(path: Path, lines: Sequence[str]) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    for suffix, mark in ((".tsv", TAB), (".csv", COMMA)):
        if suffix in suffixes[-2:]:
            return mark
    return separator_of(lines) or TAB


def _split(line: Line | Reject, separator: str) -> list[str] | str:
    """Return the cells of the line, or the reason why it has none."""
    if isinstance(line, Reject):
        return line.reason
    if separator == TAB:
        return line.text.split(TAB)
    try:
        return next(csv.reader([line.text], strict=True, skipinitialspace=True), [])
    except csv.Error as error:
        return f"not CSV: {error}"


def _to_triple(line: Line, row: list[str], layout: Layout, source: str) -> Triple | Reject:
    number, text = line
    surface = row[layout.surface] if layout.surface is not None and layout.surface < len(row) else None
    head, relation, tail = row[layout.head], row[layout.relation], row[layout.tail]
    return to_triple(head, relation, tail, source=source, line=number, text=text, surface=surface)


def _width_problem(width: int, needed: int, layout: Layout) -> str:
    if width < needed:
        return f"has {_columns(width)} instead of {needed}"
    if layout.width is not None:
        return f"has {_columns(width)}, the header line has {layout.width}"
    names = ", ".join(part for part in HEADER_NAMES if part != "surface")
    return f"has {_columns(width)}; put text with a comma in quotes, or name the columns in a header line: {names}"


def _columns(width: int) -> str:
    return f"{width} column{'' if width == 1 else 's'}"
