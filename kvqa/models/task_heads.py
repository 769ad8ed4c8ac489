"""Heads of the tasks on the cross-modal encoder: answers, judgements, pairs of pictures, choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.data.choice_facts import TOKEN_NUMBERS
from kvqa.data.choices import FEATURES, FIRST_FACT, KIND_NAMES, SEGMENTS, ChoiceBatch
from kvqa.models.attention import TransformerLayer
from kvqa.models.choice_graph import ChoiceGraph
from kvqa.models.crossmodal import CrossModalEncoder, Embeddings, Fusion
from kvqa.models.encoder import EncoderConfig, RegionEmbedding
from kvqa.models.rows import Rows

NO_TARGET = -1


class PairHead(nn.Module):
    """A judgement on two pictures, as LXMERT makes it for NLVR2 (Tan and Bansal, EMNLP 2019).

    The statement is read with each picture by itself, and the two pooled vectors, joined, are judged.
    """

    def __init__(self, width: int, classes: int = 2, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(2 * width, 2 * width)
        self.norm = nn.LayerNorm(2 * width, eps=eps)
        self.score = nn.Linear(2 * width, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits (B, classes) of pooled vectors (2 B, D), the two of a pair one after the other."""
        joined = pooled.reshape(-1, 2 * pooled.shape[-1])
        out: Tensor = self.score(self.norm(F.gelu(self.dense(joined))))
        return out


class ChoiceHead(nn.Module):
    """A score for each offered text; the softmax over the texts of an item is the choice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, pooled: Tensor, count: int) -> Tensor:
        """Return logits (B, count) of pooled vectors (B * count, D), the texts of an item one after the other."""
        out: Tensor = self.score(pooled).reshape(-1, count)
        return out


def soft_target_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return binary cross-entropy of answer scores (B, A), summed over the answers, as VQA models are trained.

    Args:
        targets: (B, A) in [0, 1], the official score that each answer would get.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(-1).mean()


def choice_loss(logits: Tensor, right: Tensor) -> Tensor:
    """Return cross-entropy of logits (B, C) where `right` (B,) is known, not `NO_TARGET`."""
    return F.cross_entropy(logits.float(), right, ignore_index=NO_TARGET)


@dataclass(frozen=True)
class ScorerConfig:
    """Sizes of the choice scorer.

    Attributes:
        width, heads, hidden: Of all layers.
        text_layers, vision_layers, cross_layers: Depth.
        graph_layers: Rounds of message passing over the facts of a text and their entities; 0 reads facts as single
            tokens only (an ablation).
        feature_width: Length of the vector of a whole picture.
        numbers: Size of the layer over the likeness features; 0 leaves them out (an ablation).
        dropout: Rate everywhere.
        fusion: How the streams meet.
    """

    width: int = 96
    heads: int = 4
    hidden: int = 192
    text_layers: int = 1
    vision_layers: int = 0
    cross_layers: int = 1
    feature_width: int = 300
    numbers: int = 48
    dropout: float = 0.2
    fusion: Fusion = "co-attention"
    graph_layers: int = 0

    def problems(self) -> list[str]:
        """Return what is wrong with the values."""
        found = []
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            found.append(f"scorer.width {self.width} is not a multiple of scorer.heads {self.heads}")
        for name in ("text_layers", "vision_layers", "cross_layers", "graph_layers"):
            if getattr(self, name) < 0:
                found.append(f"scorer.{name} {getattr(self, name)} is negative")
        if not 0 <= self.dropout < 1:
            found.append(f"scorer.dropout {self.dropout} is not in [0, 1)")
        return found


class VectorText(nn.Module):
    """A language encoder whose tokens are whole texts: frozen sentence vectors with a few numbers beside them.

    It has the interface of `kvqa.models.language`, so the cross-modal encoder takes it in place of word pieces.

    Args:
        space: Size S of sentence vectors.
        numbers: How many numbers stand beside each.
        segments: Kinds of tokens.
    """

    max_tokens = 512

    def __init__(
        self, space: int, numbers: int, segments: int, *, width: int, heads: int, hidden: int, layers: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.space = width, space
        self.vector = nn.Linear(space, width)
        self.number = nn.Linear(numbers, width)
        self.segment = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, hidden, dropout=dropout) for _ in range(layers))

    def embed_words(self, ids: Tensor) -> Tensor:
        """Return what is to be encoded, (B, T, S + numbers): the vectors themselves."""
        return ids

    def encode(self, words: Tensor, segments: Tensor, rows: Rows, *, keep: list[Tensor] | None = None) -> Tensor:
        """Return states of the tokens `words` (B, T, S + numbers)."""
        told = self.vector(words[..., : self.space]) + self.number(words[..., self.space :]) + self.segment(segments)
        x = rows.pack(self.dropout(self.norm(told)))
        for layer in self.layers:
            x = layer(x, rows, keep=keep)
        return x


class Choices(NamedTuple):
    """What the scorer says of N items of C choices.

    Attributes:
        logits: (N, C).
        facts: (N, C, K) weights of the facts of each choice, which sum to 1 where it has any; None without a graph.
    """

    logits: Tensor
    facts: Tensor | None = None


class ChoiceScorer(nn.Module):
    """Scores offered texts with question, picture and facts, on frozen sentence vectors.

    The tokens of a text are choice, question, given answer and facts; the choice attends to the facts and, in the
    cross-modal layers, to the regions, which are encoded once for all choices of an item. Where a text points to
    regions (VCR's tags), the mean of their label vectors is added to the choice. With `graph_layers`, messages first
    pass between facts and entities: what they tell a fact stands beside its vector in its token, and the facts,
    weighed by attention, are scored together with what the encoder pools. Likeness features go past the encoder. One
    scorer serves answers and reasons, each with a head of its own.

    Args:
        space: Size S of the sentence vectors.
    """

    def __init__(self, space: int, config: ScorerConfig) -> None:
        super().__init__()
        self.config, self.space = config, space
        width, heads, hidden = config.width, config.heads, config.hidden
        encoder = EncoderConfig(
            width=width, heads=heads, hidden=hidden, feature_width=config.feature_width, dropout=config.dropout
        )
        self.graph: ChoiceGraph | None = None
        if config.graph_layers:
            self.graph = ChoiceGraph(space, width=width, layers=config.graph_layers, dropout=config.dropout)
        self.trunk = CrossModalEncoder(
            VectorText(
                space, TOKEN_NUMBERS + (width if self.graph else 0), len(SEGMENTS), width=width, heads=heads,
                hidden=hidden, layers=config.text_layers, dropout=config.dropout,
            ),
            RegionEmbedding(space, encoder),
            cross_layers=config.cross_layers,
            vision_layers=config.vision_layers,
            fusion=config.fusion,
            pool="both",
            dropout=config.dropout,
            width=width,
            heads=heads,
            hidden=hidden,
        )  # fmt: skip
        self.pointer = nn.Parameter(torch.zeros(space))
        kinds = len(KIND_NAMES)
        self.score = nn.Linear(2 * width if self.graph else width, kinds)
        nn.init.zeros_(self.score.weight)
        self.numbers: nn.Module | None = None
        if config.numbers:
            self.numbers = nn.Sequential(
                nn.Linear(FEATURES, config.numbers), nn.GELU(), nn.Dropout(config.dropout / 2),
                nn.Linear(config.numbers, kinds),
            )  # fmt: skip

    def embed(self, batch: ChoiceBatch) -> Embeddings:
        """Return what adversarial training perturbs: token vectors (B, T, S + numbers), label vectors (N, R, S)."""
        return self.trunk.embed(batch)

    def forward(self, batch: ChoiceBatch, embeddings: Embeddings | None = None) -> Choices:
        """Score a batch; N items of C choices in one pass."""
        words, labels = embeddings or self.embed(batch)
        words = self._point(words, labels, batch)
        facts = None
        if self.graph is not None:
            facts = self.graph(words, batch)
            told = F.pad(facts.states.to(words.dtype), (0, 0, FIRST_FACT, 0))  # (B, T, D), 0 beside other tokens
            words = torch.cat([words, told], dim=-1)
        pooled = self.trunk.encode(Embeddings(words, labels), batch).pooled.float()  # (B, D)
        if facts is not None:
            pooled = torch.cat([pooled, facts.pooled], dim=-1)
        scores = self.score(pooled)  # (B, kinds)
        if self.numbers is not None:
            scores = scores + self.numbers(batch.features)
        items = len(batch.kind)
        own = scores.gather(1, batch.kind[batch.picture][:, None])  # (B, 1)
        weights = None if facts is None else facts.weights.reshape(items, len(own) // items, -1)
        return Choices(own.reshape(items, -1).float(), weights)

    def _point(self, words: Tensor, labels: Tensor, batch: ChoiceBatch) -> Tensor:
        """Add to each choice the mean vector of the regions it points to, scaled number by number."""
        weight = batch.pointed.float()  # (B, R)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
        mean = torch.einsum("br,brs->bs", weight, labels[batch.picture])
        first = torch.cat([words[:, 0, : self.space] + self.pointer * mean, words[:, 0, self.space :]], dim=-1)
        return torch.cat([first[:, None], words[:, 1:]], dim=1)
