"""Who is linked to whom: the facts grouped by entity in compressed rows (CSR), in memory or mapped from files.

Building is a counting sort (16 bits at a time), so its time grows with the number of facts and no faster. Opening
maps the files and reads a handful of numbers, however many facts there are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.errors import KnowledgeError

Integers: TypeAlias = NDArray[Any]
"""Ids or positions, int32 or int64."""

FACT_STARTS = "adjacency_starts.npy"
FACTS = "adjacency_facts.npy"
NEIGHBOUR_STARTS = "neighbour_starts.npy"
NEIGHBOURS = "neighbours.npy"

_DIGIT = 16  # bits that numpy sorts by counting
_FEW_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Adjacency:
    """The rows of all entities; row e of `values` is `values[starts[e]:starts[e + 1]]`.

    Attributes:
        fact_starts: (num_entities + 1,) int64.
        facts: Ids of the facts of each entity, ascending, (num_links,); a fact from an entity to itself once.
        neighbour_starts: (num_entities + 1,) int64.
        neighbours: The other entities of these facts, each once, ascending, without the entity itself.
    """

    fact_starts: NDArray[np.int64]
    facts: Integers
    neighbour_starts: NDArray[np.int64]
    neighbours: Integers


def build_adjacency(heads: ArrayLike, tails: ArrayLike, num_entities: int) -> Adjacency:
    """Group the facts by entity.

    Args:
        heads, tails: Entity ids from 0 to `num_entities - 1`, (num_facts,).
    """
    ends = np.stack([np.asarray(heads), np.asarray(tails)], axis=1)  # (num_facts, 2)
    ends = ends.astype(_width(num_entities), copy=False)
    near = ends.reshape(-1)  # links in the order of facts, so that a stable sort leaves the facts of a row ascending
    facts = np.arange(len(near), dtype=_width(len(near))) // 2
    far = ends[:, ::-1].reshape(-1)
    once = np.ones(len(near), dtype=np.bool_)
    once[1::2] = ends[:, 0] != ends[:, 1]
    if not once.all():
        near, facts, far = near[once], facts[once], far[once]
    order = _counting_sort(near, num_entities)
    neighbour_starts, neighbours = _neighbours(near[order], far[order], num_entities)
    return Adjacency(_starts(near, num_entities), facts[order], neighbour_starts, neighbours)


def write_adjacency(
    folder: Path, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike, num_entities: int
) -> list[str]:
    """Write the adjacency of the facts into `folder`, each file beside its place and renamed.

    Returns:
        The names of the files.

    Raises:
        KnowledgeError: if the arrays differ in length, or an entity id is out of range.
        OSError: if the disk refuses.
    """
    check_facts(heads, relations, tails, num_entities)
    adjacency = build_adjacency(heads, tails, num_entities)
    files = {
        FACT_STARTS: adjacency.fact_starts,
        FACTS: adjacency.facts,
        NEIGHBOUR_STARTS: adjacency.neighbour_starts,
        NEIGHBOURS: adjacency.neighbours,
    }
    for name, array in files.items():
        _save(folder / name, array)
    return list(files)


def open_adjacency(folder: Path, num_facts: int, num_entities: int) -> Adjacency:
    """Map the files of `write_adjacency` for reading.

    Raises:
        KnowledgeError: if a file is missing or damaged, or they do not fit each other or the counts given.
    """
    adjacency = Adjacency(*(_map(folder / name) for name in (FACT_STARTS, FACTS, NEIGHBOUR_STARTS, NEIGHBOURS)))
    links, neighbours = len(adjacency.facts), len(adjacency.neighbours)
    sound = (
        num_facts <= links <= 2 * num_facts
        and neighbours <= links
        and _fits(adjacency.fact_starts, num_entities, links)
        and _fits(adjacency.neighbour_starts, num_entities, neighbours)
    )
    if not sound:
        raise KnowledgeError(
            f"the adjacency in {folder} is of another graph than its {num_facts:,} facts over {num_entities:,}"
            f" entities; build it again: kvqa index-kb SOURCE… --out {folder}"
        )
    return adjacency


def check_facts(heads: ArrayLike, relations: ArrayLike, tails: ArrayLike, num_entities: int) -> None:
    """Check that the arrays describe facts over `num_entities` entities.

    Raises:
        KnowledgeError: if the arrays differ in length, or an entity id is out of range.
    """
    lengths = tuple(np.size(array) for array in (heads, relations, tails))
    if len(set(lengths)) != 1:
        raise KnowledgeError(f"heads, relations and tails have {lengths} entries; give one of each per fact")
    check_ids(np.asarray(heads), num_entities, "entity")
    check_ids(np.asarray(tails), num_entities, "entity")


def check_ids(ids: Integers, count: int, noun: str) -> Integers:
    """Return `ids`, all of which are from 0 to `count - 1`.

    Raises:
        KnowledgeError: naming the first that is not.
    """
    wrong = ids[(ids < 0) | (ids >= count)]
    if len(wrong):
        raise KnowledgeError(f"there is no {noun} {wrong[0]}; ids go from 0 to {count - 1}")
    return ids


def gather_rows(starts: NDArray[np.int64], values: Integers, rows: NDArray[np.int64]) -> tuple[Integers, Integers]:
    """Return the values of the `rows` one after the other, (n,), and how many each row has, (len(rows),)."""
    first, last = starts[rows], starts[rows + 1]
    lengths = last - first
    if len(rows) <= _FEW_ROWS:  # copying whole rows is faster than computing where each value lies
        slices = [values[start:stop] for start, stop in zip(first.tolist(), last.tolist(), strict=True)]
        return np.concatenate(slices) if slices else values[:0], lengths
    ends = np.cumsum(lengths)
    return values[np.arange(ends[-1]) + np.repeat(first - ends + lengths, lengths)], lengths


def _width(count: int) -> type[np.int32] | type[np.int64]:
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def _starts(rows: Integers, num_entities: int) -> NDArray[np.int64]:
    starts = np.zeros(num_entities + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=num_entities), out=starts[1:])
    return starts


def _counting_sort(keys: Integers, count: int) -> Integers:
    """Return the stable order of `keys` (0 to `count - 1`); numpy sorts 16-bit numbers by counting."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")  # the lowest 16 bits
    for shift in range(_DIGIT, max(count - 1, 0).bit_length(), _DIGIT):
        order = order[np.argsort((keys[order] >> shift).astype(np.uint16), kind="stable")]
    return order


def _neighbours(near: Integers, far: Integers, num_entities: int) -> tuple[NDArray[np.int64], Integers]:
    """Return the rows of distinct neighbours, given links sorted by their near end.

    Links go both ways. So, sorted once more by the far end, their near ends are that entity's neighbours, ascending.
    """
    order = _counting_sort(far, num_entities)
    rows, neighbours = far[order], near[order]
    new = rows != neighbours
    new[1:] &= (rows[1:] != rows[:-1]) | (neighbours[1:] != neighbours[:-1])
    return _starts(rows[new], num_entities), neighbours[new]


def _save(path: Path, array: NDArray[Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _map(path: Path) -> NDArray[Any]:
    repair = f"build it again: kvqa index-kb SOURCE… --out {path.parent}"
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise KnowledgeError(f"knowledge base {path.parent} lacks {path.name}; {repair}") from None
    except (OSError, ValueError) as error:
        raise KnowledgeError(f"{path} cannot be read ({error}); {repair}") from None
    if array.ndim != 1 or array.dtype not in (np.int32, np.int64):
        raise KnowledgeError(f"{path} holds {array.dtype} of shape {array.shape}, not a list of ids; {repair}")
    return array.view(np.ndarray)  # without the bookkeeping that a memmap does at every slice


def _fits(starts: NDArray[np.int64], num_entities: int, values: int) -> bool:
    return len(starts) == num_entities + 1 and starts[0] == 0 and starts[-1] == values
