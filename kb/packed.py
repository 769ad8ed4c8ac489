"""Numbering strings and triples in little memory: hash tables on numpy arrays.

A dict from name to id takes some 200 bytes a name, these tables about 50, and they look up a whole batch at once.
Ids are dense, from 0, in the order of adding. Equal hashes are compared in full, so the numbering is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

_FIRST_SIZE = 1 << 12  # slots; always a power of two


class Growing:
    """A numpy array that grows at its end; `values` is the filled part."""

    def __init__(self, dtype: Any) -> None:
        self._room = np.empty(1024, dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        """Number of values."""
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """The values, (len(self),); not to be kept over an `extend`."""
        return self._room[: self._size]

    def extend(self, values: NDArray[Any]) -> None:
        """Add `values` (n,) at the end."""
        needed = self._size + len(values)
        if needed > len(self._room):
            room = np.empty(max(needed, len(self._room) * 3 // 2), dtype=self._room.dtype)
            room[: self._size] = self.values
            self._room = room
        self._room[self._size : needed] = values
        self._size = needed


class _Slots:
    """Open addressing with linear probing: where the id of something with a given hash stands."""

    def __init__(self) -> None:
        self._slots = np.full(_FIRST_SIZE, -1, dtype=np.int32)
        self.hashes = Growing(np.uint64)  # of each id

    def find(self, hashes: NDArray[np.uint64], same: Callable[[Ids, Ids], NDArray[np.bool_]]) -> Ids:
        """Return the id for each hash, (n,), -1 where there is none.

        Args:
            hashes: (n,) uint64.
            same: Says for places in `hashes` and ids of the same hash, two arrays, whether they are the same thing.
        """
        mask = np.uint64(len(self._slots) - 1)
        found = np.full(len(hashes), -1, dtype=np.int64)
        open_ = np.arange(len(hashes))
        at = hashes & mask
        while len(open_):
            here = self._slots[at[open_]].astype(np.int64)
            filled = here >= 0
            open_, here = open_[filled], here[filled]
            match = self.hashes.values[here] == hashes[open_]
            match[match] = same(open_[match], here[match])
            found[open_[match]] = here[match]
            open_ = open_[~match]
            at[open_] = (at[open_] + np.uint64(1)) & mask
        return found

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Give the next ids to things with these hashes, none of which is there yet."""
        start = len(self.hashes)
        self.hashes.extend(hashes)
        if 2 * len(self.hashes) > len(self._slots):
            size = len(self._slots)
            while 2 * len(self.hashes) > size:
                size *= 2
            self._slots = np.full(size, -1, dtype=np.int32)
            start, hashes = 0, self.hashes.values
        self._place(hashes, np.arange(start, start + len(hashes), dtype=np.int32))

    def _place(self, hashes: NDArray[np.uint64], ids: NDArray[np.int32]) -> None:
        mask = np.uint64(len(self._slots) - 1)
        at = hashes & mask
        while len(ids):
            free = self._slots[at] < 0
            self._slots[at[free]] = ids[free]  # of several ids for one slot the last wins, the others go on
            lost = self._slots[at] != ids
            at, ids = (at[lost] + np.uint64(1)) & mask, ids[lost]


class StringTable:
    """Strings with ids."""

    def __init__(self) -> None:
        self._slots = _Slots()
        self._packed = bytearray()
        self._ends = Growing(np.int64)
        self._ends.extend(np.zeros(1, dtype=np.int64))

    def __len__(self) -> int:
        """Number of strings."""
        return len(self._slots.hashes)

    def find(self, strings: Sequence[str]) -> Ids:
        """Return the ids (n,) of `strings`, -1 for one that is not there."""
        encoded, hashes = _encoded(strings)
        return self._slots.find(hashes, lambda places, known: self._same(encoded, places, known))

    def add(self, strings: Sequence[str]) -> Ids:
        """Return the ids (n,) of `strings`, which are distinct; new ones get the next ids in their order."""
        encoded, hashes = _encoded(strings)
        ids = self._slots.find(hashes, lambda places, known: self._same(encoded, places, known))
        new = np.flatnonzero(ids < 0)
        ids[new] = np.arange(len(self), len(self) + len(new))
        self._slots.add(hashes[new])
        added = [encoded[place] for place in new.tolist()]
        lengths = np.fromiter(map(len, added), dtype=np.int64, count=len(added))
        self._ends.extend(self._ends.values[-1] + np.cumsum(lengths))
        self._packed += b"".join(added)
        return ids

    def _same(self, encoded: Sequence[bytes], places: Ids, ids: Ids) -> NDArray[np.bool_]:
        ends, packed = self._ends.values, self._packed
        pairs = zip(places.tolist(), ends[ids].tolist(), ends[ids + 1].tolist(), strict=True)
        return np.fromiter(
            (packed[start:end] == encoded[place] for place, start, end in pairs), dtype=np.bool_, count=len(ids)
        )


def _encoded(strings: Sequence[str]) -> tuple[list[bytes], NDArray[np.uint64]]:
    encoded = [string.encode() for string in strings]
    # Python's own hash: fast, well mixed, and other in each process, which does not matter here.
    return encoded, np.fromiter(map(hash, encoded), dtype=np.int64, count=len(encoded)).view(np.uint64)


class TripleTable:
    """Triples of numbers with ids.

    Attributes:
        heads, relations, tails: The numbers of each triple, int32.
    """

    def __init__(self) -> None:
        self._slots = _Slots()
        self.heads, self.relations, self.tails = Growing(np.int32), Growing(np.int32), Growing(np.int32)

    def __len__(self) -> int:
        """Number of triples."""
        return len(self.heads)

    def add(self, heads: Ids, relations: Ids, tails: Ids) -> Ids:
        """Return the ids (n,) of the triples; new ones get the next ids in their order. Triples may recur."""
        hashes = _mixed(heads, relations, tails)

        def same(places: Ids, known: Ids) -> NDArray[np.bool_]:
            return (
                (self.heads.values[known] == heads[places])
                & (self.relations.values[known] == relations[places])
                & (self.tails.values[known] == tails[places])
            )

        ids = self._slots.find(hashes, same)
        new = np.flatnonzero(ids < 0)
        first, group = _distinct(heads[new], relations[new], tails[new])
        ids[new] = len(self) + group
        chosen = new[first]
        self._slots.add(hashes[chosen])
        for column, values in ((self.heads, heads), (self.relations, relations), (self.tails, tails)):
            column.extend(values[chosen].astype(np.int32))
        return ids


def _mixed(heads: Ids, relations: Ids, tails: Ids) -> NDArray[np.uint64]:
    """Return a hash of each triple: multiply and fold, as splitmix64 does."""
    mixed = np.zeros(len(heads), dtype=np.uint64)
    for column in (heads, relations, tails):
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(32)
    return mixed


def _distinct(heads: Ids, relations: Ids, tails: Ids) -> tuple[Ids, Ids]:
    """Return the places where a triple comes for the first time, and for each place the number of its triple."""
    order = np.lexsort((tails, relations, heads))  # stable, so the first of equals comes first
    changed = np.ones(len(order), dtype=np.bool_)
    changed[1:] = False
    for column in (heads, relations, tails):
        changed[1:] |= np.diff(column[order]) != 0
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(changed) - 1
    first = order[changed]
    by_place = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int64)
    rank[by_place] = np.arange(len(first))
    return first[by_place], rank[group]
