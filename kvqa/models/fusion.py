"""Cross-modality layers: how language and vision look at each other.

Three arrangements of the literature:

- co-attention, cross-attention first (LXMERT, Tan and Bansal, EMNLP 2019): two streams, cross-attention in both
  directions with one set of weights, then self-attention and feed-forward in each stream;
- co-attention, self-attention first (METER, Dou et al., CVPR 2022): self-attention, cross-attention with weights
  of its own in each direction, feed-forward;
- merged attention: one transformer over the concatenated sequences, with fewer parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from kvqa.models.attention import Attention, Mask, Rates, TransformerLayer
from kvqa.models.rows import Rows, as_rows

Order = Literal["cross-first", "self-first"]


@dataclass
class CrossAttentions:
    """Attention weights of the cross-modality layers, one tensor a layer, in the layers' order.

    Attributes:
        to_vision: (B, H, T, R) from words to regions; of merged attention: cut out of `joint`.
        to_language: (B, H, R, T) from regions to words.
        language, vision: (B, H, T, T), (B, H, R, R) self-attention within each stream.
        joint: (B, H, T + R, T + R) of merged attention; empty for co-attention.
    """

    to_vision: list[Tensor] = field(default_factory=list)
    to_language: list[Tensor] = field(default_factory=list)
    language: list[Tensor] = field(default_factory=list)
    vision: list[Tensor] = field(default_factory=list)
    joint: list[Tensor] = field(default_factory=list)


class CoAttention(nn.Module):
    """One cross-modality layer over two streams of the same width D.

    Args:
        shared: One cross-attention for both directions, as in LXMERT; False gives each direction its own.
        order: Whether the two streams meet before or after self-attention.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        shared: bool = True,
        order: Order = "cross-first",
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.order = order
        rates = Rates(dropout=dropout, attention_dropout=attention_dropout, eps=eps)
        self.to_vision = Attention(width, heads, **rates)
        self.to_language = self.to_vision if shared else Attention(width, heads, **rates)
        self.language = TransformerLayer(width, heads, hidden, **rates)
        self.vision = TransformerLayer(width, heads, hidden, **rates)

    def forward(
        self,
        language: Tensor,
        vision: Tensor,
        language_mask: Mask,
        vision_mask: Mask,
        *,
        keep: CrossAttentions | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map language (B, T, D) and vision (B, R, D) to the same shapes; both look at the other's *input*."""
        told, seen = as_rows(language_mask, language), as_rows(vision_mask, vision)
        kept = CrossAttentions() if keep is None else keep
        lists = (None,) * 4 if keep is None else (kept.to_vision, kept.to_language, kept.language, kept.vision)
        if self.order == "cross-first":
            words = self.to_vision(language, vision, seen, told, keep=lists[0])
            regions = self.to_language(vision, language, told, seen, keep=lists[1])
            return self.language(words, told, keep=lists[2]), self.vision(regions, seen, keep=lists[3])
        words = self.language.attention(language, language, told, keep=lists[2])
        regions = self.vision.attention(vision, vision, seen, keep=lists[3])
        words = self.to_vision(words, vision, seen, told, keep=lists[0])
        regions = self.to_language(regions, language, told, seen, keep=lists[1])
        return self.language.feed_forward(words), self.vision.feed_forward(regions)

    @property
    def crossing(self) -> tuple[Attention, Attention]:
        """The attention between the streams, one for each direction; the same twice where it is shared."""
        return self.to_vision, self.to_language

    def first_word(self, language: Tensor, vision: Tensor, told: Rows, seen: Rows) -> Tensor:
        """Return the new state (B, 1, D) of each first word alone, at a fraction of the cost.

        In the last layer nothing else is needed where only the pooled vector is wanted.
        """
        if self.order == "cross-first":
            words = self.to_vision(language, vision, seen, told)
            first = told.pad(words)[:, :1]
            first = self.language.attention(first, words, told)
        else:
            first = self.language.attention(told.pad(language)[:, :1], language, told)
            first = self.to_vision(first, vision, seen)
        out: Tensor = self.language.feed_forward(first)
        return out


def merge(
    layers: Iterable[nn.Module],
    language: Tensor,
    vision: Tensor,
    told: Rows,
    seen: Rows,
    *,
    keep: CrossAttentions | None,
) -> tuple[Tensor, Tensor]:
    """Run transformer layers over the concatenation of language (B, T, D) and vision (B, R, D); return both."""
    rows = told.join(seen)
    joint = rows.pack(torch.cat([told.pad(language), seen.pad(vision)], dim=1))  # (B, T + R, D)
    for layer in layers:
        joint = layer(joint, rows, keep=None if keep is None else keep.joint)
    words = told.shape[1]
    if keep is not None:
        keep.to_vision += [w[:, :, :words, words:] for w in keep.joint]
        keep.to_language += [w[:, :, words:, :words] for w in keep.joint]
        keep.language += [w[:, :, :words, :words] for w in keep.joint]
        keep.vision += [w[:, :, words:, words:] for w in keep.joint]
    joint = rows.pad(joint)
    return told.pack(joint[:, :words]), seen.pack(joint[:, words:])
