"""The one attention block, and the transformer layer made of it, that every encoder here uses.

The arrangement is that of BERT and LXMERT: each sub-layer adds its output to its input and normalises
the sum (post-norm). Masks are boolean, True where a position is real.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from `x` (B, L, D) to `context` (B, S, C) where `mask` (B, S) is True; returns (B, L, D)."""
        query, key, value = self._heads(self.query(x)), self._heads(self.key(context)), self._heads(self.value(context))
        dropout = self.attention_dropout if self.training else 0.0
        if query.requires_grad and query.device.type == "cpu":
            # The fused kernel's backward is four times slower than plain products on CPUs at these lengths.
            weights = F.dropout(_weights(query, key, mask), dropout)
            mixed = weights.to(value.dtype) @ value
        else:
            allowed = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, S)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
        return self._close(x, mixed)  # of (B, H, L, D / H)

    def weights(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention weights (B, H, L, S) that `forward` uses in evaluation, for inspection."""
        query, key = self._heads(self.query(x)), self._heads(self.key(context))
        return _weights(query, key, mask)

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)  # (B, H, L, D / H)

    def _close(self, x: Tensor, mixed: Tensor) -> Tensor:
        joined = mixed.transpose(1, 2).flatten(2)  # (B, L, D)
        out: Tensor = self.norm(x + self.dropout(self.output(joined)))
        return out


def _weights(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Return softmax weights (B, H, L, S) of heads `query` (B, H, L, D / H) and `key` (B, H, S, D / H)."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


class FeedForward(nn.Module):
    """Two linear maps with GELU between, residual sum and LayerNorm."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.1, eps: float = 1e-12) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, L, D) to (B, L, D)."""
        out: Tensor = self.norm(x + self.dropout(self.contract(F.gelu(self.expand(x)))))
        return out


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward: the layer of BERT, and of LXMERT's two single-modality encoders."""

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float = 0.1, eps: float = 1e-12) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=dropout, eps=eps)
        self.feed_forward = FeedForward(width, hidden, dropout=dropout, eps=eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `x` (B, L, D), real where `mask` (B, L) is True, to (B, L, D)."""
        out: Tensor = self.feed_forward(self.attention(x, x, mask))
        return out
