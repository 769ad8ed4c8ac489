"""The frozen sentence encoder as a plain function from texts to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kvqa.data.text_vectors import TextVectors
from kvqa.models.model import mixed_precision
from kvqa.models.text import MINILM_PACKAGE, TextEncoder, TextFolder, sentence_vector

MAX_TOKENS = 64
"""Longest text, in word pieces; the rest is cut off."""


def text_vectors(folder: Path | None = None, *, text: str = MINILM_PACKAGE, device: str = "cpu") -> TextVectors:
    """Return a memory of sentence vectors of the encoder `text`, kept in `folder`.

    Raises:
        InputError: if the encoder is not there, or the folder holds vectors of another one.
    """
    found = TextFolder.find(text)
    return TextVectors(SentenceVectors(found, device), folder=folder, identity=found.sha256)


class SentenceVectors:
    """Unit vectors of texts; the encoder is loaded when it is first needed."""

    def __init__(self, text: TextFolder, device: str = "cpu", *, batch: int = 128) -> None:
        self.text = text
        self.device = device
        self.batch = batch
        self.encoder: TextEncoder | None = None

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (len(texts), S); only texts of equal length go together, so nothing is padded."""
        if self.encoder is None:
            self.tokenizer = self.text.tokenizer()
            self.encoder = TextEncoder.from_folder(self.text).to(self.device).eval()
        tokens = [self.tokenizer.encode(text).ids for text in texts]
        tokens = [ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]] for ids in tokens]
        out = np.zeros((len(texts), self.encoder.width), dtype=np.float32)
        for length in sorted({len(ids) for ids in tokens}):
            rows = [i for i, ids in enumerate(tokens) if len(ids) == length]
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch]
                ids = torch.tensor([tokens[i] for i in part], device=self.device)
                mask = torch.ones_like(ids, dtype=torch.bool)
                with mixed_precision(torch.device(self.device)):
                    states = self.encoder(ids, torch.zeros_like(ids), mask)
                out[part] = sentence_vector(states, mask).float().cpu().numpy()
        return out
