import numpy as np
import pytest

from kb import packed
from kb.packed import Growing, StringTable, TripleTable


def test_growing_keeps_what_was_there() -> None:
    array = Growing(np.int32)
    for start in range(0, 5000, 700):
        array.extend(np.arange(start, start + 700, dtype=np.int32))
    assert array.values.tolist() == list(range(len(array)))


def test_strings_are_numbered_like_a_dict_would() -> None:
    rng = np.random.default_rng(0)
    table, expected = StringTable(), dict[str, int]()
    for _ in range(20):
        batch = list(dict.fromkeys(f"name {number} é" for number in rng.integers(0, 8000, 1500)))
        ids = table.add(batch)
        assert ids.tolist() == [expected.setdefault(name, len(expected)) for name in batch]
    assert len(table) == len(expected)


def test_strings_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "hash", lambda text: len(text), raising=False)
    table = StringTable()
    assert table.add(["ab", "cd", "efg"]).tolist() == [0, 1, 2]
    assert table.add(["efg", "xy", "cd", "", "ab"]).tolist() == [2, 3, 1, 4, 0]
    assert table.add(["", "xy"]).tolist() == [4, 3]


def test_triples_are_numbered_like_a_dict_would() -> None:
    rng = np.random.default_rng(1)
    table, expected = TripleTable(), dict[tuple[int, ...], int]()
    for _ in range(12):
        batch = rng.integers(0, 25, (3000, 3))
        ids = table.add(batch[:, 0], batch[:, 1], batch[:, 2])
        assert ids.tolist() == [expected.setdefault(tuple(row), len(expected)) for row in batch.tolist()]
    stored = np.stack([table.heads.values, table.relations.values, table.tails.values], axis=1)
    assert [tuple(row) for row in stored.tolist()] == list(expected)


def test_triples_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_mixed", lambda heads, relations, tails: np.full(len(heads), 7, dtype=np.uint64))
    table = TripleTable()
    columns = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert table.add(*columns.T).tolist() == [0, 1, 0, 2]
    assert table.add(*columns[::-1].T).tolist() == [2, 0, 1, 0]


def test_nothing_to_add() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert StringTable().add([]).tolist() == TripleTable().add(nothing, nothing, nothing).tolist() == []
