"""The one attention block, and the transformer layer made of it, that every encoder here uses.

The arrangement is that of BERT and LXMERT: each sub-layer adds its output to its input and normalises
the sum (post-norm). Masks are boolean, True where a position is real; a `Rows` object says the same and may also
stand for packed streams, (N, D) instead of (B, L, D), on which no work is spent on padding.

Attention weights are returned on request: whoever passes a list as `keep` finds them in it afterwards.
"""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.models.rows import Rows, as_rows
from retrieval.packed_linear import PackedLinear

Mask = Tensor | Rows | None
FUSED_FROM = 128
"""Positions attended to from which CPUs are faster with the fused kernel; backwards it is four times slower there."""


class Rates(TypedDict):
    """Options that the parts of a layer share."""

    dropout: float
    attention_dropout: float
    eps: float


class Attention(nn.Module):
    """Multi-head scaled-dot-product attention from `x` to `context`, then residual sum and LayerNorm.

    Args:
        width: Size D of the stream that asks.
        heads: Number of heads; must divide `width`.
        context_width: Size of the stream that is attended to, `width` when None.
        dropout: Rate on the output.
        attention_dropout: Rate on the attention weights.
        eps: LayerNorm epsilon (BERT: 1e-12).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        context_width = width if context_width is None else context_width
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self._packed: dict[str, PackedLinear] = {}

    def forward(
        self, x: Tensor, context: Tensor, mask: Mask = None, own: Mask = None, *, keep: list[Tensor] | None = None
    ) -> Tensor:
        """Attend from `x` (B, L, D) to `context` (B, S, C) where `mask` (B, S) is True; returns (B, L, D).

        Args:
            own: Rows of `x`; needed only where it is packed.
            keep: Is given the attention weights (B, H, L, S).
        """
        rows = as_rows(mask, context)
        own = rows if context is x else as_rows(own, x)
        query, key, value = self.project(x, context)
        return self.close(x, self.mix(query, key, value, rows, own, keep=keep))

    def project(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, L, D) of `x`, keys and values (B, S, D) of `context`."""
        ways = () if torch.is_grad_enabled() else self._packed
        if context is x and "query key value" in ways:
            query, key, value = self._packed["query key value"](x).chunk(3, dim=-1)
            return query, key, value
        if context is not x and "query" in ways:
            key, value = self._packed["key value"](context).chunk(2, dim=-1)
            return self._packed["query"](x), key, value
        return self.query(x), self.key(context), self.value(context)

    def mix(
        self, query: Tensor, key: Tensor, value: Tensor, rows: Rows, own: Rows, *, keep: list[Tensor] | None = None
    ) -> Tensor:
        """Return the values (B, S, D) mixed by attention from queries (B, L, D), before the output map: (B, L, D)."""
        q, k, v = self._heads(own.pad(query)), self._heads(rows.pad(key)), self._heads(rows.pad(value))
        dropout = self.attention_dropout if self.training else 0.0
        plainly = q.device.type == "cpu" and (q.requires_grad or k.shape[2] < FUSED_FROM)
        if keep is not None or plainly:
            weights = _weights(q, k, rows)
            if keep is not None:
                keep.append(weights)
            mixed = F.dropout(weights, dropout).to(v.dtype) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=rows.bias(q.dtype), dropout_p=dropout)
        return own.pack(mixed.transpose(1, 2).flatten(2))  # of (B, H, L, D / H)

    def close(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return the normalised sum (B, L, D) of `x` and the output map of `mixed`."""
        if self._packed and not torch.is_grad_enabled():
            return self.norm(self._packed["output"].add_to(x, mixed))
        out: Tensor = self.norm(x + self.dropout(self.output(mixed)))
        return out

    def weights(self, x: Tensor, context: Tensor, mask: Mask = None) -> Tensor:
        """Return the attention weights (B, H, L, S) that `forward` uses in evaluation, for inspection."""
        keep: list[Tensor] = []
        self.forward(x, context, mask, keep=keep)
        return keep[0]

    def prepare_for_inference(self, *, crosses: bool = False) -> None:
        """Pack the weights as they are now; gradients and training go back to the plain ones.

        Args:
            crosses: Whether queries and keys come from different streams.
        """
        joint = {"query": [self.query], "key value": [self.key, self.value]}
        if not crosses:
            joint = {"query key value": [self.query, self.key, self.value]}
        self._packed = {name: PackedLinear(layers) for name, layers in {**joint, "output": [self.output]}.items()}

    def train(self, mode: bool = True) -> Attention:
        """Switch to training, which makes packed weights stale."""
        if mode:
            self._packed = {}
        super().train(mode)
        return self

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)  # (B, H, L, D / H)


def _weights(query: Tensor, key: Tensor, rows: Rows) -> Tensor:
    """Return softmax weights (B, H, L, S) of heads `query` (B, H, L, D / H) and `key` (B, H, S, D / H)."""
    products = query @ key.transpose(-1, -2)
    return torch.add(rows.bias(products.dtype), products, alpha=query.shape[-1] ** -0.5).softmax(-1)


class FeedForward(nn.Module):
    """Two linear maps with GELU between, residual sum and LayerNorm."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.1, eps: float = 1e-12) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self._packed: tuple[PackedLinear, PackedLinear] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, L, D) to (B, L, D)."""
        if self._packed is not None and not torch.is_grad_enabled():
            expand, contract = self._packed
            return self.norm(contract.add_to(x, expand(x)))
        out: Tensor = self.norm(x + self.dropout(self.contract(F.gelu(self.expand(x)))))
        return out

    def prepare_for_inference(self) -> None:
        """Pack the weights as they are now; gradients and training go back to the plain ones."""
        self._packed = PackedLinear([self.expand], gelu=True), PackedLinear([self.contract])

    def train(self, mode: bool = True) -> FeedForward:
        """Switch to training, which makes packed weights stale."""
        if mode:
            self._packed = None
        super().train(mode)
        return self


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward: the layer of BERT, and of LXMERT's two single-modality encoders."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout, attention_dropout=attention_dropout, eps=eps)
        self.feed_forward = FeedForward(width, hidden, dropout=dropout, eps=eps)

    def forward(self, x: Tensor, mask: Mask = None, *, keep: list[Tensor] | None = None) -> Tensor:
        """Map `x` (B, L, D), real where `mask` (B, L) is True, to (B, L, D)."""
        out: Tensor = self.feed_forward(self.attention(x, x, mask, keep=keep))
        return out
