"""Which column of a table holds the head, which the relation and which the tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from kb.errors import KnowledgeError
from kb.relations import is_known_relation

Columns: TypeAlias = str
"""One of `ORDERS`, or which column holds what: `head=2,relation=1,tail=3`, by position from 1 or by header name."""

ORDERS = ("auto", "hrt", "rht")
"""Find out; the first three columns are head, relation, tail; they are relation, head, tail."""

HEADER_NAMES: dict[str, tuple[str, ...]] = {
    "head": ("head", "subject", "head_entity", "start"),
    "relation": ("relation", "predicate", "rel"),
    "tail": ("tail", "object", "tail_entity", "end"),
    "surface": ("surface", "sentence", "surface_text"),
}
"""Part of a fact to the names that a header line may give its column, without regard to case."""

MIN_COLUMNS = 3

_NEEDED = {"head", "relation", "tail"}

_SMALL = 50  # rows; fewer say nothing by their number of distinct values
_FAR_FEWER = 5  # a relation column has at most a fifth of the distinct values of a head column
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """Column numbers, from 0, of the parts of a fact; `width` is that of the header, None without a header."""

    head: int
    relation: int
    tail: int
    surface: int | None = None
    width: int | None = None


HRT = Layout(0, 1, 2)
RHT = Layout(1, 0, 2)


def from_header(cells: Sequence[str]) -> Layout | None:
    """Return the layout that the header line `cells` states, None if it is no header line."""
    found: dict[str, int] = {}
    for number, cell in enumerate(cells):
        for part, names in HEADER_NAMES.items():
            if cell.strip().lower() in names:
                found.setdefault(part, number)
    if not found.keys() >= _NEEDED:
        return None
    return Layout(found["head"], found["relation"], found["tail"], found.get("surface"), width=len(cells))


def parse_columns(columns: Columns, path: Path) -> dict[str, str]:
    """Return part of a fact to position or header name, empty for one of `ORDERS`.

    Raises:
        KnowledgeError: if `columns` is none of the allowed values.
    """
    if columns in ORDERS:
        return {}
    named: dict[str, str] = {}
    for pair in columns.split(","):
        part, equals, column = (text.strip() for text in pair.partition("="))
        if not equals or not column or part not in HEADER_NAMES or part in named:
            break
        named[part] = column
    else:
        if named.keys() >= _NEEDED:
            return named
    allowed = f"{', '.join(ORDERS)}, or such as head=2,relation=1,tail=3 (positions or header names; surface if any)"
    raise KnowledgeError(f"unknown column order {columns!r} for {path}; allowed: {allowed}; use --columns")


def from_names(named: Mapping[str, str], rows: Sequence[Sequence[str]], path: Path) -> tuple[Layout, bool]:
    """Return the layout that `parse_columns` read, and whether the first row is a header line.

    It is one if a column is called by name, or if it has the names of `HEADER_NAMES`.

    Args:
        named: Part of a fact to position, from 1, or to header name, compared without regard to case.
        rows: First rows of the table.
        path: For the message.

    Raises:
        KnowledgeError: if there is no such column.
    """
    header = [cell.strip() for cell in rows[0]] if rows else []
    is_header = not all(column.isdecimal() for column in named.values()) or from_header(header) is not None
    folded = [cell.casefold() for cell in header]
    widest = max(map(len, rows), default=0)
    found: dict[str, int] = {}
    for part, column in named.items():
        if column.isdecimal():
            found[part] = int(column) - 1
        elif column.casefold() in folded:
            found[part] = folded.index(column.casefold())
        else:
            names = ", ".join(header) or "none"
            raise KnowledgeError(f"{path} has no column {column!r} for --columns; its first line names: {names}")
        if rows and not 0 <= found[part] < widest:
            raise KnowledgeError(f"{path} has no column {column} for --columns; they count from 1 to {widest}")
    width = len(header) if is_header else None
    return Layout(found["head"], found["relation"], found["tail"], found.get("surface"), width=width), is_header


def resolve(columns: Columns, rows: Sequence[Sequence[str]], path: Path) -> Layout:
    """Return the layout that the user named, or for "auto" the one that the first rows show.

    Known relation names decide. Else the column with at most a fifth of the distinct values of the other is the
    relation. Else, in a table of fewer than 50 rows, the order is head-relation-tail.

    Args:
        columns: One of `ORDERS`.
        rows: First rows of the table, each of at least three cells.
        path: For the message.

    Raises:
        KnowledgeError: if `columns` is "auto" and the rows leave it open.
    """
    if columns != "auto":
        return HRT if columns == "hrt" else RHT
    layout = _by_known_names(rows) or _by_distinct_values(rows) or (HRT if len(rows) < _SMALL else None)
    if layout is None:
        raise KnowledgeError(
            f"cannot tell which column of {path} holds the relation; say so with --columns hrt (head, relation, tail) "
            "or --columns rht (relation, head, tail), or add the header line: head relation tail"
        )
    return layout


def _by_known_names(rows: Sequence[Sequence[str]]) -> Layout | None:
    if not rows:
        return None
    first, second = (sum(is_known_relation(row[column]) for row in rows) / len(rows) for column in (0, 1))
    if max(first, second) < _MOSTLY or first == second:
        return None
    return RHT if first > second else HRT


def _by_distinct_values(rows: Sequence[Sequence[str]]) -> Layout | None:
    if len(rows) < _SMALL:
        return None
    first, second = ([row[column] for row in rows] for column in (0, 1))
    if len(set(second)) * _FAR_FEWER <= len(set(first)):
        return HRT
    # A table sorted by its heads shows few of them at its beginning: then few values are no sign of a relation.
    if len(set(first)) * _FAR_FEWER <= len(set(second)) and not _is_grouped(first):
        return RHT
    return None


def _is_grouped(values: Sequence[str]) -> bool:
    runs = 1 + sum(one != next_one for one, next_one in pairwise(values))
    return runs == len(set(values))
