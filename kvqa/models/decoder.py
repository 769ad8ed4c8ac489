"""Answers written word by word: a small transformer decoder over the fused sequence of the cross-modal encoder.

It stands beside the closed answer vocabulary and the pointer to graph nodes, for answers that neither has. Training
is by teacher forcing, writing is greedy or by beams, with the keys and values of what is written already kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.errors import InputError
from kvqa.models.attention import Attention, FeedForward
from kvqa.models.crossmodal import CrossModal
from kvqa.models.rows import Rows

IGNORED = -100
"""Target that the loss passes over, as in PyTorch."""


class Written(NamedTuple):
    """One written answer.

    Attributes:
        ids: Word pieces, without start and end.
        score: Mean log-probability of a word piece, the end included.
    """

    ids: list[int]
    score: float


class Kept(NamedTuple):
    """Keys and values of one layer: of what is written, (B, written, D), and of the fused sequence, (B, S, D)."""

    key: Tensor
    value: Tensor
    seen_key: Tensor
    seen_value: Tensor

    def select(self, rows: Tensor) -> Kept:
        """Return those of some rows of the batch."""
        return Kept(*(tensor.index_select(0, rows) for tensor in self))


def fused_sequence(out: CrossModal, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the decoder reads: states (B, T + R, D) of words and regions, and their mask (B, T + R).

    Args:
        out: Of the encoder.
        mask: (B, T) of the words.
    """
    return torch.cat([out.language, out.vision], dim=1), torch.cat([mask, out.vision_mask], dim=1)


class DecoderLayer(nn.Module):
    """Self-attention over what is written, attention to the fused sequence, feed-forward."""

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout)
        self.seen = Attention(width, heads, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden, dropout=dropout)

    def forward(self, x: Tensor, rows: Rows, states: Tensor, state_rows: Rows) -> Tensor:
        """Map words (B, L, D) to (B, L, D), each seeing those before it and all `states` (B, S, D)."""
        x = self.attention(x, x, rows)
        out: Tensor = self.feed_forward(self.seen(x, states, state_rows))
        return out

    def start(self, states: Tensor) -> Kept:
        """Return what is kept before the first word."""
        nothing = states.new_zeros(states.shape[0], 0, states.shape[2])
        return Kept(nothing, nothing, self.seen.key(states), self.seen.value(states))

    def step(self, x: Tensor, kept: Kept, state_rows: Rows) -> tuple[Tensor, Kept]:
        """Map one new word (B, 1, D); return it and what is kept from now on."""
        query, key, value = self.attention.project(x, x)
        kept = kept._replace(key=torch.cat([kept.key, key], dim=1), value=torch.cat([kept.value, value], dim=1))
        own = _all_real(x)
        x = self.attention.close(x, self.attention.mix(query, kept.key, kept.value, _all_real(kept.key), own))
        mixed = self.seen.mix(self.seen.query(x), kept.seen_key, kept.seen_value, state_rows, own)
        out: Tensor = self.feed_forward(self.seen.close(x, mixed))
        return out, kept


class AnswerDecoder(nn.Module):
    """Writes answers.

    Args:
        vocabulary: Number of word pieces V.
        width: Size D of the fused sequence and of everything here.
        max_length: Word pieces of the longest answer, the start included.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        heads: int,
        hidden: int,
        layers: int = 2,
        max_length: int = 16,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(max_length, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout=dropout) for _ in range(layers))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.words.weight, std=width**-0.5)  # the same vectors score the next word

    @property
    def max_length(self) -> int:
        """Word pieces of the longest answer, the start included."""
        return self.positions.num_embeddings

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Return logits (B, L, V) of the word after each of `ids` (B, L), which begin with the start.

        Args:
            states: (B, S, D) fused sequence.
            mask: (B, S) bool.

        Raises:
            InputError: if `ids` are longer than `max_length`.
        """
        if ids.shape[1] > self.max_length:
            raise InputError(f"an answer has {ids.shape[1]} word pieces, the decoder allows {self.max_length}; cut it")
        rows = Rows(torch.ones_like(ids, dtype=torch.bool), causal=True)
        state_rows = Rows(mask)
        x = self._embed(ids, 0)
        for layer in self.layers:
            x = layer(x, rows, states, state_rows)
        return self._score(x)

    def loss(self, states: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Return the mean cross-entropy of answers by teacher forcing.

        Args:
            ids: (B, L) start, answer, end, and `IGNORED` after the end.
        """
        logits = self(states, mask, ids[:, :-1].clamp(min=0))
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=IGNORED)

    @torch.no_grad()
    def write(self, states: Tensor, mask: Tensor, *, start: int, end: int, beams: int = 1) -> list[Written]:
        """Write the answer of each example: the likeliest word piece at each step, or the best of `beams` beams.

        Args:
            states: (B, S, D) fused sequence.
            mask: (B, S) bool.
            start, end: Word pieces that begin and end an answer.
            beams: Answers that are held at a time; the best mean log-probability wins.

        Raises:
            ValueError: if `beams` is not positive.
        """
        if beams < 1:
            raise ValueError(f"beams {beams} is not positive")
        size = states.shape[0]
        states, mask = states.repeat_interleave(beams, 0), mask.repeat_interleave(beams, 0)
        kept, state_rows = [layer.start(states) for layer in self._layers()], Rows(mask)
        ids = torch.full((size * beams, 1), start, device=states.device)
        totals = torch.full((size, beams), -torch.inf, device=states.device)
        totals[:, 0] = 0.0  # all beams of an example are the same yet
        done = torch.zeros(size * beams, dtype=torch.bool, device=states.device)
        lengths = torch.zeros(size * beams, device=states.device)
        for position in range(self.max_length - 1):
            next_words, kept = self._step(ids[:, -1:], position, kept, state_rows)
            totals, parents, words = _extend(next_words, totals, done, end)
            kept = [layer.select(parents) for layer in kept]
            ids = torch.cat([ids[parents], words[:, None]], dim=1)
            lengths = lengths[parents] + (~done[parents]).float()
            done = done[parents] | (words == end)
            if done.all():
                break
        scores = totals / lengths.view(size, beams)
        best = scores.argmax(dim=1) + torch.arange(size, device=states.device) * beams
        flat = scores.flatten()
        return [Written(_cut(ids[row, 1:].tolist(), end), float(flat[row])) for row in best.tolist()]

    def _step(self, ids: Tensor, position: int, kept: list[Kept], state_rows: Rows) -> tuple[Tensor, list[Kept]]:
        """Return log-probabilities (B, V) of the word after `ids` (B, 1), and what is kept of each layer."""
        x, after = self._embed(ids, position), []
        for layer, before in zip(self._layers(), kept, strict=True):
            x, now = layer.step(x, before, state_rows)
            after.append(now)
        return self._score(x)[:, 0].float().log_softmax(-1), after

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]

    def _embed(self, ids: Tensor, first: int) -> Tensor:
        places = torch.arange(first, first + ids.shape[1], device=ids.device)
        embedded: Tensor = self.dropout(self.norm(self.words(ids) + self.positions(places)))
        return embedded

    def _score(self, x: Tensor) -> Tensor:
        return F.linear(x, self.words.weight, self.bias)


def _extend(next_words: Tensor, totals: Tensor, done: Tensor, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best extensions: totals (B, beams), and of each beam its parent row and its new word.

    A finished beam goes on with the end alone, at no cost. `next_words` (B * beams, V) are log-probabilities.
    """
    size, beams = totals.shape
    vocabulary = next_words.shape[-1]
    stay = torch.full_like(next_words, -torch.inf)
    stay[:, end] = 0.0
    every = (totals.view(-1, 1) + torch.where(done[:, None], stay, next_words)).view(size, beams * vocabulary)
    totals, chosen = every.topk(beams, dim=1)  # (B, beams)
    first = torch.arange(size, device=totals.device)[:, None] * beams
    return totals, (chosen // vocabulary + first).flatten(), (chosen % vocabulary).flatten()


def _all_real(x: Tensor) -> Rows:
    return Rows(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))


def _cut(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
