"""Encoders: what turns the texts of facts and entities into vectors, and how one is opened by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.sentence_encoder import DEFAULT_ENCODER, SentenceEncoder
from retrieval.static_encoder import STATIC, StaticEncoder

__all__ = ["DEFAULT_ENCODER", "STATIC", "Encoder", "SentenceEncoder", "StaticEncoder", "base_encoder", "open_encoder"]


class Encoder(Protocol):
    """What building and searching ask of an encoder."""

    @property
    def name(self) -> str:
        """The name by which `open_encoder` opens it again."""
        ...

    @property
    def sha256(self) -> str:
        """Checksum of the weights, the encoder's identity in manifests."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(
        self, texts: Sequence[str], *, batch: int = ..., progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Return unit vectors (len(texts), dimension) in the order of `texts`.

        `progress` is called with the number of texts done since the last call.
        """
        ...


def open_encoder(name: str = DEFAULT_ENCODER, *, folder: Path | None = None) -> SentenceEncoder | StaticEncoder:
    """Open an encoder by name; weights are read, or distilled, on first use.

    Args:
        name: `"static"` (distilled from the default sentence encoder), `"static:BASE"` (from another), or a
            sentence encoder: an installed package, a folder or a hub id.
        folder: Where a static encoder is kept. If a saved one is there it is read, otherwise it is distilled and
            saved there. Without a folder it is distilled anew. A knowledge base built with a static encoder keeps
            its own copy (`StaticEncoder.save`), because another machine may round differently and so distil
            weights of another checksum: to add facts to it, open the encoder with that folder.
    """
    if name == STATIC or name.startswith(STATIC + ":"):
        return StaticEncoder(SentenceEncoder(name.partition(":")[2] or DEFAULT_ENCODER), folder=folder)
    return SentenceEncoder(name)


def base_encoder(encoder: Encoder) -> Encoder:
    """Return the sentence encoder in whose space questions are asked: of a static encoder the one it comes from."""
    return encoder.base if isinstance(encoder, StaticEncoder) else encoder
