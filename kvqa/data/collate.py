"""From examples to the `Batch` of tensors that the question-image encoder reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from kvqa.data.example import Example
from kvqa.vision.regions import Region, Regions, box_geometry

KINDS = ("image", "object", "tag", "caption")
"""What a region token can be; `image` is the whole picture, always the first token."""

LabelVectors = Callable[[Sequence[str]], Tensor]
"""Sentence vectors (len(texts), 384) of labels; frozen, so they can be kept."""


@dataclass(frozen=True)
class SeenRegions:
    """What was seen in N pictures, R region tokens each; the first one stands for the whole picture.

    Attributes:
        labels: (N, R, S) float32, sentence vectors of the labels; zeros for the whole picture.
        geometry: (N, R, 5) float32, see `kvqa.vision.regions.box_geometry`.
        scores: (N, R) float32 in [0, 1].
        kinds: (N, R) int64, position in `KINDS`.
        region_mask: (N, R) bool.
        image_feature: (N, F) float32, a vector for the whole picture; zeros where there is none.
        has_image_feature: (N,) bool.
    """

    labels: Tensor
    geometry: Tensor
    scores: Tensor
    kinds: Tensor
    region_mask: Tensor
    image_feature: Tensor
    has_image_feature: Tensor

    @property
    def vision(self) -> Tensor:
        """What the vision side reads, (N, R, S): the vectors of the labels."""
        return self.labels

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class Batch(SeenRegions):
    """Questions and what was seen in their pictures; B examples, T word pieces, each with a picture of its own.

    Attributes:
        ids, segments: (B, T) int64; `[CLS] question [SEP] names of what was seen [SEP]`, segment 1 from the names on.
        mask: (B, T) bool, True where a word piece is real.
    """

    ids: Tensor
    segments: Tensor
    mask: Tensor

    @property
    def picture(self) -> None:
        """Every text has a picture of its own; see `kvqa.data.pairs.Pairs` for the other case."""
        return None


def distinct_concepts(regions: Regions, *, threshold: float = 0.2, limit: int = 12) -> list[Region]:
    """Return the first region of each label among objects and tags with at least `threshold`, best objects first."""
    seen: dict[str, Region] = {}
    for region in regions.regions:
        if region.kind != "caption" and region.score >= threshold:
            seen.setdefault(region.label, region)
    return list(seen.values())[:limit]


def concept_text(regions: Regions, *, captions: int = 3) -> str:
    """Return the names of what was seen as one text for the language input."""
    names = [r.label for r in distinct_concepts(regions)]
    names += [r.label for r in regions.regions if r.kind == "caption"][:captions]
    return ", ".join(names)


def drop_regions(regions: Regions, rate: float, rng: random.Random) -> Regions:
    """Return `regions` with every label left out at `rate`, and now and then whole kinds or the image feature.

    Training with it makes a model that does not lean on any one detector: photos of users come with objects only.
    """
    if rate <= 0:
        return regions
    lost_labels = {label for label in sorted({r.label for r in regions.regions}) if rng.random() < rate}
    lost_kinds = {kind for kind in ("tag", "caption") if rng.random() < rate}
    kept = [i for i, r in enumerate(regions.regions) if r.label not in lost_labels and r.kind not in lost_kinds]
    return replace(
        regions,
        regions=tuple(regions.regions[i] for i in kept),
        features=None if regions.features is None else regions.features[kept],
        image_feature=None if rng.random() < rate else regions.image_feature,
    )


def region_tensors(
    seen: Sequence[Regions], label_vectors: LabelVectors, *, feature_width: int, count: int | None = None
) -> dict[str, Tensor]:
    """Return the tensors of `SeenRegions` for N pictures.

    Args:
        feature_width: F; image features of another length are left out.
        count: R, with room for the whole picture and all regions of any of them; None is as many as are needed.
    """
    size, count = len(seen), count or 1 + max(len(regions.regions) for regions in seen)
    out = {
        "labels": torch.zeros(size, count, label_vectors(["image"]).shape[1]),
        "geometry": torch.zeros(size, count, 5),
        "scores": torch.zeros(size, count),
        "kinds": torch.zeros(size, count, dtype=torch.long),
        "region_mask": torch.zeros(size, count, dtype=torch.bool),
        "image_feature": torch.zeros(size, feature_width),
        "has_image_feature": torch.zeros(size, dtype=torch.bool),
    }
    out["geometry"][:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    out["scores"][:, 0] = 1.0
    for row, regions in enumerate(seen):
        out["region_mask"][row, : len(regions.regions) + 1] = True
        if regions.regions:
            part = slice(1, len(regions.regions) + 1)
            out["labels"][row, part] = label_vectors([r.label for r in regions.regions])
            out["geometry"][row, part] = torch.from_numpy(box_geometry(regions)).float()
            out["scores"][row, part] = torch.tensor([r.score for r in regions.regions])
            out["kinds"][row, part] = torch.tensor([KINDS.index(r.kind) for r in regions.regions])
        feature = regions.image_feature
        if feature is not None and len(feature) == feature_width:
            out["image_feature"][row] = torch.from_numpy(np.asarray(feature))
            out["has_image_feature"][row] = True
    return out


@dataclass(frozen=True)
class Collator:
    """Makes a `Batch` of examples.

    Args:
        tokenizer: Of the language encoder, without padding or truncation of its own.
        label_vectors: Sentence vectors of region labels.
        max_tokens: Word pieces kept; the question is kept whole as far as it fits, names are cut first.
        max_regions: Region tokens besides the one of the whole picture.
        feature_width: F; image features of another length are left out.
        use_question, use_image: False blanks that side, for ablations.
    """

    tokenizer: Tokenizer
    label_vectors: LabelVectors
    max_tokens: int = 64
    max_regions: int = 24
    feature_width: int = 300
    use_question: bool = True
    use_image: bool = True

    @property
    def settings(self) -> tuple[int, int, int, bool, bool]:
        """What the batches depend on besides the examples."""
        return self.max_tokens, self.max_regions, self.feature_width, self.use_question, self.use_image

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Collate one or more examples; padding never changes what the encoder says of an example."""
        texts = [self._tokens(example) for example in examples]
        length = max(len(ids) for ids, _ in texts)
        size = len(examples)
        ids = torch.zeros(size, length, dtype=torch.long)
        segments, mask = torch.zeros_like(ids), torch.zeros(size, length, dtype=torch.bool)
        for row, (pieces, parts) in enumerate(texts):
            ids[row, : len(pieces)] = torch.tensor(pieces)
            segments[row, : len(pieces)] = torch.tensor(parts)
            mask[row, : len(pieces)] = True
        seen = [self._regions(example) for example in examples]
        regions = region_tensors(seen, self.label_vectors, feature_width=self.feature_width)
        return Batch(**regions, ids=ids, segments=segments, mask=mask)

    def _tokens(self, example: Example) -> tuple[list[int], list[int]]:
        question = example.question if self.use_question else ""
        names = concept_text(example.regions) if self.use_image else ""
        first = self.tokenizer.encode(question).ids  # [CLS] … [SEP]
        if len(first) > self.max_tokens:
            first = [*first[: self.max_tokens - 1], first[-1]]
        room = max(0, self.max_tokens - len(first) - 1)
        second = self.tokenizer.encode(names, add_special_tokens=False).ids[:room]
        if not second:
            return first, [0] * len(first)
        return [*first, *second, first[-1]], [0] * len(first) + [1] * (len(second) + 1)

    def _regions(self, example: Example) -> Regions:
        if not self.use_image:
            return replace(example.regions, regions=(), features=None, image_feature=None)
        return replace(example.regions, regions=example.regions.regions[: self.max_regions], features=None)
