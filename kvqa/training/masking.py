"""What pretraining hides: words, regions, patches, and sometimes the sentence that belongs to the picture.

Shares follow BERT and LXMERT: of what is chosen (15 %), 80 % is blanked, 10 % replaced at random and 10 % left as it
is, so that a model cannot tell by the input which positions it will be asked about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE = -100
"""Label of a position that no loss looks at; the default of `cross_entropy`."""
RATE = 0.15


class MaskedWords(NamedTuple):
    """Token ids to read, and what to guess.

    Attributes:
        ids: (B, T) int64.
        labels: (B, T) int64, the true id at chosen positions and `IGNORE` elsewhere.
    """

    ids: Tensor
    labels: Tensor


class MaskedRegions(NamedTuple):
    """Vision input to read, and where something is to be guessed.

    Attributes:
        vision: (B, R, F).
        masked: (B, R) bool, the chosen regions.
    """

    vision: Tensor
    masked: Tensor


class MaskedPatches(NamedTuple):
    """Pictures with blanked squares, and what was there.

    Attributes:
        pixels: (I, 3, H, W).
        masked: (I, N) bool, patches in rows.
        patches: (I, N, 3 * patch * patch), the true pixels of every patch.
    """

    pixels: Tensor
    masked: Tensor
    patches: Tensor


def mask_words(
    ids: Tensor,
    allowed: Tensor,
    *,
    mask_id: int,
    vocabulary: int,
    generator: torch.Generator,
    rate: float = RATE,
    blank: float = 0.8,
    replace: float = 0.1,
) -> MaskedWords:
    """Choose words to guess (Devlin et al., NAACL 2019).

    Args:
        ids: (B, T) int64.
        allowed: (B, T) bool, False for padding, [CLS] and [SEP].
        mask_id: Id of [MASK].
        vocabulary: Number of ids; random words are drawn from all.
        generator: Of all random numbers, on the CPU.
        rate: Share of allowed positions that is chosen, each by itself.
        blank, replace: Shares of the chosen that become [MASK] or a random word; the rest stays.
    """
    chosen = (torch.rand(ids.shape, generator=generator) < rate).to(ids.device) & allowed
    how = torch.rand(ids.shape, generator=generator).to(ids.device)
    others = torch.randint(vocabulary, ids.shape, generator=generator).to(ids.device)
    shown = ids.masked_fill(chosen & (how < blank), mask_id)
    shown = torch.where(chosen & (how >= blank) & (how < blank + replace), others, shown)
    return MaskedWords(shown, ids.masked_fill(~chosen, IGNORE))


def mask_regions(
    vision: Tensor,
    allowed: Tensor,
    *,
    generator: torch.Generator,
    rate: float = RATE,
    blank: float = 0.8,
    replace: float = 0.1,
    groups: Tensor | None = None,
) -> MaskedRegions:
    """Choose regions to guess; blanked ones are zeros, replaced ones get the features of any region of the batch.

    Args:
        vision: (B, R, F) region features.
        allowed: (B, R) bool, False for padding and for what must not be chosen.
        generator: Of all random numbers, on the CPU.
        rate, blank, replace: As in `mask_words`.
        groups: (B, R) int64 from 0 to R - 1; regions of a picture with the same number are chosen together, such as
            those with the same label: two boxes of giraffes tell of one another. None chooses each by itself.
    """

    def draw() -> Tensor:
        numbers = torch.rand(allowed.shape, generator=generator).to(vision.device)
        return numbers if groups is None else numbers.gather(1, groups)

    masked = (draw() < rate) & allowed
    how = draw()
    real = vision[allowed]  # (K, F)
    if not len(real):
        return MaskedRegions(vision, masked)
    others = real[torch.randint(len(real), allowed.shape, generator=generator).to(vision.device)]  # (B, R, F)
    blanked, replaced = masked & (how < blank), masked & (how >= blank) & (how < blank + replace)
    return MaskedRegions(
        torch.where(replaced[..., None], others, vision.masked_fill(blanked[..., None], 0.0)),
        masked,
    )


def mask_patches(pixels: Tensor, *, patch: int, generator: torch.Generator, rate: float = 0.6) -> MaskedPatches:
    """Blank square patches of pictures; 60 % as in SimMIM (Xie et al., CVPR 2022), for patches are redundant.

    Args:
        pixels: (I, 3, H, W), H and W multiples of `patch`.
        patch: Side of a patch in pixels.
        generator: On the CPU.
        rate: Share of blanked patches.
    """
    images, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    squares = pixels.reshape(images, channels, rows, patch, columns, patch)  # (I, 3, h, p, w, p)
    patches = squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (I, N, 3 p p)
    masked = (torch.rand(images, rows * columns, generator=generator) < rate).to(pixels.device)
    blanked = squares.masked_fill(masked.reshape(images, 1, rows, 1, columns, 1), 0.0)
    return MaskedPatches(blanked.reshape(pixels.shape), masked, patches)


def swap_texts(
    texts: Sequence[str], pictures: Sequence[str], rows: Sequence[int], rng: random.Random, *, rate: float = 0.5
) -> list[int]:
    """Return, for each of `rows`, the row whose text is shown with its picture: its own, or at `rate` another one.

    Args:
        texts, pictures: Of all pairs. The other text is never equal, nor one of the same picture.
        rows: The pairs of a batch.
        rng: Of all random numbers.
        rate: Share of swapped texts (LXMERT: 50 %). A row stays as it is where no other text is found.
    """
    chosen = []
    for row in rows:
        other = row
        if rng.random() < rate:
            drawn = (rng.randrange(len(texts)) for _ in range(20))
            other = next((i for i in drawn if pictures[i] != pictures[row] and texts[i] != texts[row]), row)
        chosen.append(other)
    return chosen
