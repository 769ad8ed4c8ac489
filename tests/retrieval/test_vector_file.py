from pathlib import Path

import numpy as np
import pytest

from retrieval import vector_file
from retrieval.vector_file import DiskRows, VectorFile, map_vectors, save_array


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_file, "SHARD", 4)


VECTORS = np.arange(33, dtype=np.float16).reshape(11, 3)


def write(file: VectorFile, *shards: int) -> None:
    for shard in shards:
        file.write(shard, VECTORS[slice(*file.span(shard))])


def test_shards_come_in_any_order_and_over_several_runs(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v.npy", (11, 3))
    assert file.todo == [0, 1, 2] and file.span(2) == (8, 11)
    write(file, 2)
    file.close()
    file = VectorFile(tmp_path / "v.npy", (11, 3))
    assert file.todo == [0, 1]
    write(file, 1, 0)
    file.finish()
    np.testing.assert_array_equal(map_vectors(tmp_path / "v.npy"), VECTORS)
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


@pytest.mark.parametrize(("listed", "todo"), [("0\n1", [1, 2]), ("", [0, 1, 2]), ("2\n0\n", [1])])
def test_a_half_written_note_does_not_count(tmp_path: Path, listed: str, todo: list[int]) -> None:
    file = VectorFile(tmp_path / "v.npy", (11, 3))
    write(file, 0, 1, 2)
    file.close()
    (tmp_path / "v.npy.shards").write_text(listed)
    assert VectorFile(tmp_path / "v.npy", (11, 3)).todo == todo


def test_vectors_of_another_shape_are_not_gone_on_with(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v.npy", (11, 3))
    write(file, 0)
    file.close()
    assert VectorFile(tmp_path / "v.npy", (12, 3)).todo == [0, 1, 2]


@pytest.mark.parametrize("rows", [slice(2, 7), slice(9, 40), slice(5, 5), [3], [4, 5, 6, 1, 0, 1], []])
def test_rows_from_disk_are_those_of_the_array(tmp_path: Path, rows: slice | list[int]) -> None:
    save_array(tmp_path / "v.npy", VECTORS)
    asked = rows if isinstance(rows, slice) else np.array(rows, dtype=np.int64)
    disk = DiskRows(tmp_path / "v.npy")
    np.testing.assert_array_equal(disk[asked], VECTORS[asked])
    assert (disk.shape, len(disk), disk.dtype) == ((11, 3), 11, np.float16)
