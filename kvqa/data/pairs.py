"""`Pairs`: texts and the pictures they go with, as tensors for the cross-modal encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Texts and pictures; B texts of T tokens, I pictures of R regions (or grid cells, or patches).

    Attributes:
        ids: (B, T) int64 token ids.
        mask: (B, T) bool, True where a token is real.
        vision: What the vision side reads: region, grid or patch features (I, R, F), or pixels (I, 3, H, W) as the
            backbone wants them normalised.
        boxes: (I, R, 4) float, x1, y1, x2, y2 as shares of width and height; None where the form needs none.
        region_mask: (I, R) bool, True where a region is real; None where all are. For pixels, R is the number of
            tokens that become of them.
        segments: (B, T) int64; None for one segment.
        picture: (B,) int64, the picture that each text belongs to, so that one picture with many texts is
            encoded once; None where text i belongs to picture i and B = I.
    """

    ids: Tensor
    mask: Tensor
    vision: Tensor
    boxes: Tensor | None = None
    region_mask: Tensor | None = None
    segments: Tensor | None = None
    picture: Tensor | None = None

    def to(self, device: torch.device | str) -> Pairs:
        """Return the pairs on another device."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return Pairs(**{name: tensor.to(device) for name, tensor in given.items()})
