"""Texts and photos, or their features, as tensors with parts of both hidden."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from kvqa.data.features import FeatureStore
from kvqa.data.images import middle, read_image
from kvqa.data.pairs import Pairs
from kvqa.data.pretrain_pairs import Pair
from kvqa.training.masking import mask_patches, mask_regions, mask_words, swap_texts
from kvqa.training.photo_config import PhotoModelConfig, PhotoObjectives
from kvqa.training.pretrain_batch import same_names

MASKS = ("[MASK]", "<mask>")
"""What families of text encoders call a hidden word."""


@dataclass(frozen=True)
class PhotoBatch:
    """B texts and photos.

    Attributes:
        pairs: What the encoder reads: masked, perhaps swapped texts, and photos with blanked patches, or features with
            blanked regions.
        words: (B, T) hidden words, `IGNORE` elsewhere.
        features, regions, real: (B, R, F) true features, (B, R) which are hidden, and which are there; R is 0 without
            the objective.
        patches, masked: (B, N, 3 p p) true pixels and (B, N) which are blanked; N is 0 without the objective.
        matched: (B,) int64, 1 where the text is the photo's own.
        own: The photos' own texts as they are, (B, T') ids and mask; photos or features as in `pairs`.
        same: (B, B) bool, the same photo or the same text.
    """

    pairs: Pairs
    words: Tensor
    features: Tensor
    regions: Tensor
    real: Tensor
    patches: Tensor
    masked: Tensor
    matched: Tensor
    own: Pairs
    same: Tensor

    def to(self, device: torch.device | str) -> PhotoBatch:
        """Return the batch on another device."""
        return PhotoBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class PhotoCollator:
    """Makes a `PhotoBatch` of some of `pairs`; everything random comes from the seed of the call.

    Args:
        pairs: All pairs of this part, of `gather_photos`.
        tokenizer: Of the language encoder.
        config, settings: Sizes, rates, and which objectives there are.
        store: Features of the pictures, by the pairs' `regions.image`; None reads photos.

    Raises:
        ValueError: if the tokenizer has no word for a hidden one.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        tokenizer: Tokenizer,
        config: PhotoModelConfig,
        settings: PhotoObjectives,
        *,
        store: FeatureStore | None = None,
    ) -> None:
        self.pairs, self.tokenizer, self.config, self.settings, self.store = pairs, tokenizer, config, settings, store
        self.texts = [pair.text for pair in pairs]
        self.pictures = [pair.picture for pair in pairs]
        masks = [number for word in MASKS if (number := tokenizer.token_to_id(word)) is not None]
        if not masks:
            raise ValueError(f"the tokenizer has none of {', '.join(MASKS)}; pretraining masks words with it")
        self.mask_id = masks[0]
        self.special = torch.tensor(tokenizer.encode("").ids)  # what frames every text

    def __call__(self, rows: Sequence[int], seed: int) -> PhotoBatch:
        """Return the batch of the pairs at `rows`.

        Raises:
            InputError: if a photo or its features are missing or damaged.
        """
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        settings = self.settings
        told = swap_texts(self.texts, self.pictures, rows, rng, rate=settings.swap if settings.matching else 0.0)
        ids, mask = self.tokens([self.texts[row] for row in told])
        words = mask_words(
            ids,
            mask & ~torch.isin(ids, self.special),
            mask_id=self.mask_id,
            vocabulary=self.tokenizer.get_vocab_size(),
            generator=generator,
            rate=settings.word_rate if settings.words else 0.0,
        )
        whole = self.pictured([self.texts[row] for row in rows], [self.pairs[row] for row in rows])
        vision, real = whole.vision, whole.region_mask
        features, regions = vision.new_zeros(len(rows), 0, 0), torch.zeros(len(rows), 0, dtype=torch.bool)
        patches, masked = features, regions
        if settings.features and real is not None:
            features = vision
            vision, regions = mask_regions(vision, real, generator=generator, rate=settings.region_rate)
        if settings.patches:
            patch = self.config.encoder.vision.patch
            vision, masked, patches = mask_patches(vision, patch=patch, generator=generator, rate=settings.patch_rate)
        return PhotoBatch(
            pairs=replace(whole, ids=words.ids, mask=mask, vision=vision),
            words=words.labels,
            features=features,
            regions=regions,
            real=regions if real is None else real,
            patches=patches,
            masked=masked,
            matched=torch.tensor([int(text == row) for text, row in zip(told, rows, strict=True)]),
            own=replace(whole, vision=vision),
            same=same_names([self.pictures[row] for row in rows]) | same_names([self.texts[row] for row in rows]),
        )

    def pictured(self, texts: Sequence[str], pairs: Sequence[Pair]) -> Pairs:
        """Return B texts and the pictures of B pairs, nothing hidden."""
        ids, mask = self.tokens(texts)
        if self.store is None:
            return Pairs(ids, mask, self.photos(pairs))
        found = self.store.batch([pair.regions.image for pair in pairs])
        return Pairs(ids, mask, found.features, found.boxes, found.mask)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) of texts and where they are real, (B, T)."""
        self.tokenizer.enable_truncation(self.config.max_tokens)
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([number for row in rows for number in row])
        return ids, mask

    def photos(self, pairs: Sequence[Pair]) -> Tensor:
        """Return normalised pixels (B, 3, size, size)."""
        config = self.config
        cut = [
            middle(read_image(Path(pair.regions.image)), short=config.short, height=config.size, width=config.size)
            for pair in pairs
        ]
        mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
        return (torch.from_numpy(np.stack(cut)) - mean) / std
