"""A static encoder: one vector a token, distilled from a sentence encoder, for millions of facts.

The form is that of model2vec (Tulkens and van Dongen 2024, github.com/MinishLab/model2vec): every token of the
vocabulary goes through the sentence encoder once, the vectors are reduced by principal components, and frequent
tokens are weighted down (smooth inverse frequency, Arora et al. 2017) with the token's rank standing in for its
frequency. A text is the mean of its tokens.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.sentence_encoder import DEFAULT_ENCODER, SentenceEncoder

if TYPE_CHECKING:
    from model2vec import StaticModel

STATIC = "static"
DIMENSION = 256
SIF = 3e-5
"""Tokens much more frequent than this are weighted down; chosen by `benchmarks/static_candidates.py`."""


class StaticEncoder:
    """Mean of token vectors, normalised; thousands of times cheaper than a sentence encoder, and less exact.

    Candidates that it finds are meant to be ranked again with `base`.

    Args:
        base: The sentence encoder to distil.
        folder: Where the distilled model is kept; read from there if it is there, else distilled and saved there.
    """

    def __init__(self, base: SentenceEncoder | None = None, *, folder: Path | None = None) -> None:
        self.base = base or SentenceEncoder()
        self.folder = folder

    @property
    def name(self) -> str:
        """`static`, or `static:BASE` if distilled from another than the default encoder."""
        return STATIC if self.base.name == DEFAULT_ENCODER else f"{STATIC}:{self.base.name}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.dim)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the token vectors in half precision."""
        return hashlib.sha256(self.model.embedding.astype(np.float16).tobytes()).hexdigest()

    @cached_property
    def model(self) -> StaticModel:
        """The distilled model.

        Raises:
            KnowledgeError: if the folder's content cannot be read, or the base encoder cannot be loaded.
        """
        if self.folder is None or not self.folder.exists():
            model = distil(self.base)
            if self.folder is not None:
                _save(model, self.folder)
            return model
        from model2vec import StaticModel

        try:
            model = StaticModel.from_pretrained(self.folder)
        except Exception as error:  # tokenizers raises bare Exception
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise KnowledgeError(
                f"static encoder {self.folder} cannot be read ({reason}); remove the folder to have it distilled anew"
            ) from None
        model.embedding = model.embedding.astype(np.float32)
        return model

    def save(self, folder: Path) -> None:
        """Write the distilled model to the new folder `folder`, from which `StaticEncoder(folder=…)` reads it."""
        _save(self.model, folder)

    def encode(
        self, texts: Sequence[str], *, batch: int = 8192, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Return unit vectors (len(texts), dimension) in half precision; of a text without any token, zeros.

        `progress` is called with the number of texts done since the last call.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float16)
        for start in range(0, len(texts), batch):
            part = list(texts[start : start + batch])
            vectors[start : start + batch] = self.model.encode(part, batch_size=batch, use_multiprocessing=False)
            if progress is not None:
                progress(len(part))
        return vectors


def distil(base: SentenceEncoder, *, dimension: int = DIMENSION) -> StaticModel:
    """Distil `base` into a static model; takes seconds, reads no data and draws no random number.

    Args:
        dimension: Length of the vectors; of a base with fewer dimensions it is that.

    Raises:
        KnowledgeError: if the base encoder cannot be loaded.
    """
    return static_model(base, base.token_vectors(), dimension=dimension)


def static_model(
    base: SentenceEncoder, vectors: NDArray[np.float32], *, dimension: int = DIMENSION, sif: float = SIF
) -> StaticModel:
    """Return the static model of `base` and of what it says of each token, (V, D).

    Args:
        sif: Tokens much more frequent than this are weighted down.
    """
    from model2vec import StaticModel

    reduced = principal_components(vectors, min(dimension, vectors.shape[1]))
    weighted = reduced * rank_weights(len(reduced), sif)[:, None]
    rounded = weighted.astype(np.float16).astype(np.float32)  # saved in half precision: the same before and after
    return StaticModel(rounded, base.tokenizer, normalize=True, base_model_name=base.name)


def principal_components(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Return `vectors` (V, D), centred, in their `dimension` main directions, (V, dimension).

    A direction points to where its largest weight is positive, so the result does not depend on the solver.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :dimension]  # (D, dimension), largest variance first
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(dimension)])
    return (centred @ directions).astype(np.float32)


def rank_weights(count: int, sif: float = SIF) -> NDArray[np.float32]:
    """Return (count,) weights of tokens in the order of their ids, which is about that of their frequency (Zipf)."""
    frequency = 1 / np.arange(2, count + 2)
    weights: NDArray[np.float32] = (sif / (sif + frequency / frequency.sum())).astype(np.float32)
    return weights


def _save(model: StaticModel, folder: Path) -> None:
    """Write beside and rename, in half precision."""
    from model2vec import StaticModel

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = StaticModel(
        model.embedding.astype(np.float16), model.tokenizer, normalize=True, base_model_name=model.base_model_name
    )
    half.save_pretrained(partial)
    (partial / "README.md").unlink(missing_ok=True)  # a model card of someone else's words
    partial.rename(folder)
