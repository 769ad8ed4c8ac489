from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kb.adjacency import (
    FACT_STARTS,
    FACTS,
    NEIGHBOUR_STARTS,
    NEIGHBOURS,
    build_adjacency,
    gather_rows,
    open_adjacency,
    write_adjacency,
)
from kb.errors import KnowledgeError

# dog -0-> animal <-1- cat, dog -2-> cat, loop 3: dog - dog, 4: animal -> dog; entity 3 stands alone.
HEADS, TAILS = [0, 2, 0, 0, 1], [1, 1, 2, 0, 0]
RELATIONS = [0, 0, 1, 2, 3]


def rows(starts: np.ndarray, values: np.ndarray) -> list[list[int]]:
    return [values[first:last].tolist() for first, last in pairwise(starts)]


def test_rows_by_hand() -> None:
    adjacency = build_adjacency(HEADS, TAILS, 4)
    assert rows(adjacency.fact_starts, adjacency.facts) == [[0, 2, 3, 4], [0, 1, 4], [1, 2], []]
    assert rows(adjacency.neighbour_starts, adjacency.neighbours) == [[1, 2], [0, 2], [0, 1], []]


@pytest.mark.parametrize("num_entities", [7, 300, 70_000, 200_000])
def test_rows_are_those_of_the_definition(num_entities: int) -> None:
    rng = np.random.default_rng(num_entities)
    busy = rng.integers(0, num_entities, size=40)  # so that there are rows of many facts on both sides of 65,536
    heads, tails = busy[rng.integers(0, 40, size=(2, 500))]
    adjacency = build_adjacency(heads.astype(np.int32), tails.astype(np.int32), num_entities)
    fact_rows = rows(adjacency.fact_starts, adjacency.facts)
    neighbour_rows = rows(adjacency.neighbour_starts, adjacency.neighbours)
    for entity in set(busy.tolist()):
        assert fact_rows[entity] == np.flatnonzero((heads == entity) | (tails == entity)).tolist()
        others = {*heads[tails == entity].tolist(), *tails[heads == entity].tolist()} - {entity}
        assert neighbour_rows[entity] == sorted(others)
    assert sum(map(len, fact_rows)) == 2 * 500 - (heads == tails).sum()


def test_gather_rows() -> None:
    adjacency = build_adjacency(HEADS, TAILS, 4)
    values, lengths = gather_rows(adjacency.fact_starts, adjacency.facts, np.array([2, 3, 0, 2]))
    assert (values.tolist(), lengths.tolist()) == ([1, 2, 0, 2, 3, 4, 1, 2], [2, 0, 4, 2])
    values, lengths = gather_rows(adjacency.fact_starts, adjacency.facts, np.zeros(0, dtype=np.int64))
    assert (len(values), len(lengths)) == (0, 0)


def test_what_was_written_is_mapped(tmp_path: Path) -> None:
    names = write_adjacency(tmp_path, HEADS, RELATIONS, TAILS, 4)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    written, built = open_adjacency(tmp_path, 5, 4), build_adjacency(HEADS, TAILS, 4)
    for name in ("fact_starts", "facts", "neighbour_starts", "neighbours"):
        assert getattr(written, name).tolist() == getattr(built, name).tolist()
    assert not written.facts.flags.owndata, "mapped, not read"
    with pytest.raises(ValueError, match="read-only"):
        written.facts[0] = 1


def test_a_graph_without_facts_is_written_too(tmp_path: Path) -> None:
    write_adjacency(tmp_path, [], [], [], 2)
    assert open_adjacency(tmp_path, 0, 2).fact_starts.tolist() == [0, 0, 0]


def test_wrong_facts_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="no entity 4; ids go from 0 to 3"):
        write_adjacency(tmp_path, [4], [0], [0], 4)
    with pytest.raises(KnowledgeError, match=r"\(2, 1, 2\) entries"):
        write_adjacency(tmp_path, [0, 1], [0], [1, 0], 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("counts", [(4, 4), (11, 4), (5, 3), (2, 4)])
def test_another_graph_is_refused(tmp_path: Path, counts: tuple[int, int]) -> None:
    write_adjacency(tmp_path, HEADS, RELATIONS, TAILS, 4)
    with pytest.raises(KnowledgeError, match="is of another graph than its"):
        open_adjacency(tmp_path, *counts)


@pytest.mark.parametrize("name", [FACT_STARTS, FACTS, NEIGHBOUR_STARTS, NEIGHBOURS])
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    write_adjacency(tmp_path, HEADS, RELATIONS, TAILS, 4)
    path = tmp_path / name
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:40], b"", b"no array at all"):
        path.write_bytes(content)
        with pytest.raises(KnowledgeError, match=f"{name} cannot be read .* kvqa index-kb"):
            open_adjacency(tmp_path, 5, 4)
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(KnowledgeError, match=r"holds float64 of shape \(2, 2\)"):
        open_adjacency(tmp_path, 5, 4)
    path.unlink()
    with pytest.raises(KnowledgeError, match=f"lacks {name}"):
        open_adjacency(tmp_path, 5, 4)
