"""Who does the heavy work of a build: encoding shards of texts and filling an index. By default, this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Encoder
from retrieval.index import Fill, add_in_pieces

Shards: TypeAlias = Iterable[tuple[int, list[str]]]
"""Numbers and texts of shards."""

EncodeShards: TypeAlias = Callable[[Encoder, Shards, Callable[[int], None]], Iterator[tuple[int, NDArray[np.float16]]]]
"""From an encoder and shards to numbers and vectors of the shards, in any order; is told whom to tell of texts done."""


@dataclass(frozen=True)
class Workers:
    """The two functions that a build leaves to others.

    Attributes:
        encode: Encodes shards.
        fill: Adds all vectors to a trained index, in their order.
    """

    encode: EncodeShards
    fill: Fill


def encode_here(
    encoder: Encoder, shards: Shards, tell: Callable[[int], None]
) -> Iterator[tuple[int, NDArray[np.float16]]]:
    """Encode shards in this process, one after the other."""
    for number, texts in shards:
        yield number, encoder.encode(texts, progress=tell)


HERE = Workers(encode_here, add_in_pieces)
