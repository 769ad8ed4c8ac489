"""What a knowledge store gives back: facts with their origins, sources, and the facts as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.relations import verbalise


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read.

    Attributes:
        id: Number of the source, from 0 in the order of reading.
        name: Unique name, such as `"conceptnet"`.
        path: Where the file lay when it was read.
        sha256: Hexadecimal digest of the file.
        licence: Licence of the file, None if it was not stated.
        records: Records that were taken from the file so far: facts, other names, and what was refused.
        read: Facts among them, repetitions included.
        new: Facts that no source before stated.
        refused: Records that were no facts.
        complete: Whether the file was read to its end.
    """

    id: int
    name: str
    path: str
    sha256: str
    licence: str | None
    records: int = 0
    read: int = 0
    new: int = 0
    refused: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a fact was read: name of the source, line or record number, and the sentence of the source."""

    source: str
    line: int | None
    surface: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the store.

    Attributes:
        id: Number of the fact, from 0, dense.
        head: Subject, as spelled where it was first read.
        relation: Canonical relation name.
        tail: Object, as spelled where it was first read.
        head_id: Number of the head entity, from 0, dense.
        tail_id: Number of the tail entity.
        origins: All places where the fact was read, in the order of the sources; never empty.
    """

    id: int
    head: str
    relation: str
    tail: str
    head_id: int
    tail_id: int
    origins: tuple[Origin, ...]

    @property
    def text(self) -> str:
        """The fact as one plain sentence, made from its relation's template."""
        return verbalise(self.head, self.relation, self.tail)

    @property
    def source(self) -> str:
        """Name of the first source in which the fact was read."""
        return self.origins[0].source


@dataclass(frozen=True, slots=True, eq=False)
class FactArrays:
    """All facts as numbers; row i is the fact with id i.

    Attributes:
        heads: Entity ids, (num_facts,) int32.
        relations: Relation ids, (num_facts,) int32.
        tails: Entity ids, (num_facts,) int32.
    """

    heads: NDArray[np.int32]
    relations: NDArray[np.int32]
    tails: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class AddReport:
    """What became of the records of one call of `KnowledgeStore.add`: facts `read` = `new` + `duplicate`."""

    read: int
    new: int
    duplicate: int
    refused: int = 0
