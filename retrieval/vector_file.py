"""A `.npy` file of vectors that is written shard by shard, in any order, and can be gone on with after a crash."""

from __future__ import annotations

import errno
import os
from io import BytesIO, FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARD = 1 << 16
"""Rows of one shard."""


class VectorFile:
    """Vectors on their way to `path`.

    Until `finish` they lie in `<path>.partial`, and `<path>.shards` lists the shards that are whole. Written with
    plain calls, not through a memory map: a full disk is then an error and not the end of the process.

    Args:
        path: Target.
        shape: (rows, dimension) of the float16 vectors.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.shape = path, shape
        self._partial = path.with_name(path.name + ".partial")
        self._list = path.with_name(path.name + ".shards")
        self._header = _header(shape)
        self.done = self._done()
        mode = "r+b" if self.done else "w+b"
        self._file = self._partial.open(mode)
        if not self.done:
            self._list.unlink(missing_ok=True)
            self._file.write(self._header)
            self._file.flush()

    @property
    def todo(self) -> list[int]:
        """Numbers of the shards that are not there yet."""
        return [number for number in range(-(-self.shape[0] // SHARD)) if number not in self.done]

    def span(self, shard: int) -> tuple[int, int]:
        """Return first row and the row after the last of a shard."""
        return shard * SHARD, min((shard + 1) * SHARD, self.shape[0])

    def write(self, shard: int, vectors: NDArray[np.float16]) -> None:
        """Write one shard, and note that it is whole once it is on the disk.

        Raises:
            OSError: if the disk refuses.
        """
        start, stop = self.span(shard)
        assert vectors.shape == (stop - start, self.shape[1])
        self._file.seek(len(self._header) + start * self.shape[1] * 2)
        self._file.write(np.ascontiguousarray(vectors, dtype="<f2").data)
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._list.open("a", encoding="ascii") as file:
            file.write(f"{shard}\n")
        self.done.add(shard)

    def finish(self) -> None:
        """Put the file into its place."""
        self._file.close()
        self._partial.replace(self.path)
        self._list.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file; what is written stays for the next run."""
        self._file.close()

    def _done(self) -> set[int]:
        if not self._partial.is_file() or not self._list.is_file():
            return set()
        with self._partial.open("rb") as file:
            if file.read(len(self._header)) != self._header:
                return set()
        lines = self._list.read_text(encoding="ascii").splitlines(keepends=True)
        return {int(line) for line in lines if line.endswith("\n")}  # the last line may be half a number


class DiskRows:
    """The rows of a finished file, read when they are asked for with a slice or with an array of ids.

    In place of a memory map where all rows are gone through: the pages of a map count as memory of the process.

    Attributes:
        shape: (rows, dimension).
        dtype: Of the numbers.
    """

    def __init__(self, path: Path) -> None:
        mapped = map_vectors(path)
        self.shape: tuple[int, int] = mapped.shape
        self.dtype = mapped.dtype
        self._offset = mapped.offset
        self._width = mapped.shape[1] * mapped.dtype.itemsize
        self._path = path

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows of a slice without step, or of ids (n,), in memory: (n, dimension)."""
        with self._path.open("rb", buffering=0) as file:
            if isinstance(rows, slice):
                start, stop, _ = rows.indices(len(self))
                return self._read(file, start, max(0, stop - start))
            ids = np.asarray(rows, dtype=np.int64)
            found = np.empty((len(ids), self.shape[1]), dtype=self.dtype)
            # Neighbouring ids are read together.
            bounds = [*np.flatnonzero(np.diff(ids, prepend=-2) != 1).tolist(), len(ids)]
            for begin, end in pairwise(bounds):
                found[begin:end] = self._read(file, int(ids[begin]), end - begin)
            return found

    def _read(self, file: FileIO, start: int, count: int) -> NDArray[Any]:
        file.seek(self._offset + start * self._width)
        rows = np.empty((count, self.shape[1]), dtype=self.dtype)
        if count and file.readinto(rows.data) != rows.nbytes:
            raise OSError(errno.EIO, "the file of vectors ends early")
        return rows


def map_vectors(path: Path) -> np.memmap[Any, Any]:
    """Return the vectors of a finished file, mapped into memory."""
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(vectors, np.memmap)
    return vectors


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array beside `path` and rename it into place."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    partial.replace(path)


def _header(shape: tuple[int, int]) -> bytes:
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return stream.getvalue()
