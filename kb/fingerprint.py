"""The content hash of a store: a SHA-256 over digests of blocks of rows.

The tables that count only ever grow at their end, so after an addition only the blocks from the last, unfilled one
on are read again; and a check names the part of the store that was altered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Table, delete, insert, select

from kb import schema
from kb.bulk import BLOCK, Row, id_range
from kb.errors import KnowledgeError

Digest = tuple[int, str]
"""Number of rows and SHA-256 of one block."""

PARTS: dict[str, tuple[Table, Sequence[Column[Any]]]] = {
    "sources": (schema.source, [schema.source.c.name]),
    "entities": (schema.entity, [schema.entity.c.key, schema.entity.c.text]),
    "relations": (schema.relation, [schema.relation.c.name]),
    "facts": (schema.fact, [schema.fact.c.head_id, schema.fact.c.relation_id, schema.fact.c.tail_id]),
    "origins": (schema.origin, [schema.origin.c.fact_id, schema.origin.c.source_id]),
    "aliases": (schema.alias, [schema.alias.c.entity_key, schema.alias.c.text, schema.alias.c.source_id]),
}
"""What makes up the content: not the paths, lines, sentences and times of the sources."""


def update_blocks(connection: Connection) -> str:
    """Bring the kept digests of all blocks up to date after an addition and return the content hash."""
    digests = {}
    for part in PARTS:
        kept = [digest for digest in _kept(connection, part) if digest[0] == BLOCK]
        digests[part] = kept + _digests(connection, part, first=len(kept))
    connection.execute(delete(schema.block))
    rows = [
        {"part": part, "number": number, "size": size, "sha256": sha256}
        for part, blocks in digests.items()
        for number, (size, sha256) in enumerate(blocks)
    ]
    if rows:
        connection.execute(insert(schema.block), rows)
    return _combined(digests)


def check_blocks(connection: Connection, expected: str) -> None:
    """Read the whole content and compare it with the kept digests and the content hash.

    Raises:
        KnowledgeError: naming the part that is not what was written.
    """
    digests = {}
    for part in PARTS:
        digests[part] = _digests(connection, part, first=0)
        if digests[part] != _kept(connection, part):
            raise KnowledgeError(f"the {part} of the store were altered after it was written")
    if _combined(digests) != expected:
        raise KnowledgeError("the content hash of the store was altered after it was written")


def _kept(connection: Connection, part: str) -> list[Digest]:
    columns = schema.block.c
    query = select(columns.size, columns.sha256).where(columns.part == part).order_by(columns.number)
    return [(size, sha256) for size, sha256 in connection.execute(query)]


def _digests(connection: Connection, part: str, *, first: int) -> list[Digest]:
    table, columns = PARTS[part]
    query, number, digests = select(*columns), first, []
    numbers_only = part in ("facts", "origins")
    packed: Callable[[list[Row]], bytes] = _packed_numbers if numbers_only else _packed_texts
    while rows := id_range(connection, query, table.c.id, number * BLOCK, (number + 1) * BLOCK):
        digests.append((len(rows), hashlib.sha256(packed(rows)).hexdigest()))
        number += 1
    return digests


def _packed_numbers(rows: list[Row]) -> bytes:
    return np.array(rows, dtype="<i8").tobytes()


def _packed_texts(rows: list[Row]) -> bytes:
    # Texts hold no tab and no line end, see `kb.triple.clean_text`, so this is unique to its rows.
    return "\n".join(["\t".join(map(str, row)) for row in rows]).encode()


def _combined(digests: dict[str, list[Digest]]) -> str:
    lines = [f"{part} {size} {sha256}" for part, blocks in digests.items() for size, sha256 in blocks]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
