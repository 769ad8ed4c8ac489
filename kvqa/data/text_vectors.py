"""Sentence vectors of texts by the frozen sentence encoder, each computed once and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvqa.errors import InputError
from retrieval.manifest import write_text_safely

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Unit vectors (len(texts), S) of texts."""


class TextVectors:
    """A memory of sentence vectors.

    Args:
        embed: Computes what is not known yet.
        folder: Where the memory is kept between runs; None keeps none.
        identity: Of the encoder, such as the checksum of its weights; a memory of another one is refused.

    Raises:
        InputError: if the folder holds the vectors of another encoder, or is damaged.
    """

    def __init__(self, embed: Embed, *, folder: Path | None = None, identity: str = "") -> None:
        self.embed = embed
        self.folder = folder
        self.identity = identity
        self.rows: dict[str, NDArray[np.float32]] = {}
        if folder is not None and (folder / "texts.json").is_file():
            self._load(folder)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors (len(texts), S); at least one text."""
        self.learn(texts)
        return np.stack([self.rows[text] for text in texts])

    def learn(self, texts: Sequence[str]) -> None:
        """Compute what is missing of many texts at once, and keep it."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.rows]
        if missing:
            self.rows.update(zip(missing, self.embed(missing), strict=True))
            if self.folder is not None and len(missing) > 1:
                self._save(self.folder)

    def _load(self, folder: Path) -> None:
        try:
            record = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
            vectors = np.load(folder / record["vectors"], allow_pickle=False)
            texts, identity = record["texts"], record["encoder"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no sentence vectors ({error}); remove it or name another") from None
        if identity != self.identity or len(texts) != len(vectors):
            raise InputError(f"{folder} holds the vectors of another sentence encoder; remove it or name another")
        self.rows = dict(zip(texts, vectors, strict=True))

    def _save(self, folder: Path) -> None:
        """Write the vectors beside those in use, and then the list of texts, which names them."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"vectors-{len(self.rows)}.npy"
        with (folder / f"{name}.partial").open("wb") as stream:
            np.save(stream, np.stack(list(self.rows.values())))
        (folder / f"{name}.partial").replace(folder / name)
        record = {"encoder": self.identity, "vectors": name, "texts": list(self.rows)}
        write_text_safely(folder / "texts.json", json.dumps(record, ensure_ascii=False))
        for old in folder.glob("vectors-*.npy"):
            if old.name != name:
                old.unlink()
