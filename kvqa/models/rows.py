"""Which positions of a padded batch are real, and how to do no work on the others.

A batch of B sequences with at most L positions is either *padded*, (B, L, D), or *packed*: the N real positions
of all sequences one after another, (N, D). Linear maps, normalisation and feed-forward layers treat each position
by itself and so take both; only attention needs to know where a sequence begins and ends, and asks `Rows`.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Rows:
    """The real positions of a padded batch.

    Args:
        mask: (B, L) bool, True where a position is real.
        packed: Whether the streams that go with it are packed, (N, D), instead of padded, (B, L, D). The first
            position of a sequence is always kept: a sequence without any real one still has something to compute
            with, and what is pooled from it is the same.
        causal: Each position sees itself and those before it only, as a text that is being written does.
    """

    def __init__(self, mask: Tensor, *, packed: bool = False, causal: bool = False) -> None:
        self.mask = mask
        self.causal = causal
        self.packed = packed
        self._biases: dict[torch.dtype, Tensor] = {}
        if packed:
            kept = mask.clone()
            kept[:, 0] = True
            flat = kept.flatten()
            self._index = flat.nonzero().squeeze(1)  # (N,) where each packed position stands in the padded batch
            first = (flat.cumsum(0) - 1).view_as(mask)  # the packed position of each padded one
            self._inverse = torch.where(kept, first, first[:, :1]).flatten()  # padding repeats the row's first one

    @property
    def shape(self) -> tuple[int, int]:
        """B and L."""
        return self.mask.shape[0], self.mask.shape[1]

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Return what is added to attention scores: (B, 1, 1, L), 0 where real, the least number elsewhere.

        Of causal rows it is (B, 1, L, L).

        The least number rather than minus infinity: where nothing at all is real, attention is then even over
        all positions, as in BERT, and not undefined.
        """
        if dtype not in self._biases:
            seen = self.mask[:, None, :]  # (B, 1, L)
            if self.causal:
                seen = seen & torch.ones(2 * seen.shape[-1:], dtype=torch.bool, device=seen.device).tril()
            zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            self._biases[dtype] = zeros.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
        return self._biases[dtype]

    def pad(self, x: Tensor) -> Tensor:
        """Return a stream as (B, L, D), whichever form it has."""
        if not self.packed:
            return x
        return x.index_select(0, self._inverse).view(*self.shape, x.shape[-1])

    def pack(self, x: Tensor) -> Tensor:
        """Return a padded stream (B, L, D) in the form that this batch has: itself, or (N, D)."""
        return x.flatten(0, 1).index_select(0, self._index) if self.packed else x

    def join(self, other: Rows) -> Rows:
        """Return the rows of two streams, one behind the other in each sequence."""
        return Rows(torch.cat([self.mask, other.mask], dim=1), packed=self.packed)


def as_rows(mask: Tensor | Rows | None, x: Tensor) -> Rows:
    """Return `mask` as rows; None says that every position of the padded stream `x` (B, L, D) is real."""
    if isinstance(mask, Rows):
        return mask
    return Rows(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask)
