"""Cross-modality layers: how language and vision look at each other.

`CoAttention` is LXMERT's layer (Tan and Bansal, EMNLP 2019): two streams, cross-attention in both
directions with one set of weights, then self-attention and feed-forward in each stream.
"""

from __future__ import annotations

from torch import Tensor, nn

from kvqa.models.attention import Attention, TransformerLayer


class CoAttention(nn.Module):
    """One cross-modality layer over two streams of the same width D.

    Args:
        shared: One cross-attention for both directions, as in LXMERT; False gives each direction its own.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, shared: bool = True, dropout: float = 0.1, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.to_vision = Attention(width, heads, dropout=dropout, eps=eps)
        self.to_language = self.to_vision if shared else Attention(width, heads, dropout=dropout, eps=eps)
        self.language = TransformerLayer(width, heads, hidden, dropout=dropout, eps=eps)
        self.vision = TransformerLayer(width, heads, hidden, dropout=dropout, eps=eps)

    def forward(
        self, language: Tensor, vision: Tensor, language_mask: Tensor, vision_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map language (B, T, D) and vision (B, R, D) to the same shapes; both look at the other's *input*."""
        seen = self.to_vision(language, vision, vision_mask)
        told = self.to_language(vision, language, language_mask)
        return self.language(seen, language_mask), self.vision(told, vision_mask)
