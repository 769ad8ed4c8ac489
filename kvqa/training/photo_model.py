"""A cross-modal encoder that reads photos or features, with the heads of pretraining: a batch in, the losses out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.data.pairs import Pairs
from kvqa.models.crossmodal import CrossModal, CrossModalConfig, CrossModalEncoder, build_encoder
from kvqa.models.heads import MaskedWordHead, MatchingHead, VisualHeads
from kvqa.models.language import AutoText
from kvqa.models.text import TextEncoder, mean_pool
from kvqa.models.vision_embedding import Backbone
from kvqa.training.photo_batch import PhotoBatch
from kvqa.training.photo_config import PhotoModelConfig, PhotoObjectives
from kvqa.training.pretrain_objectives import (
    ContrastiveLoss,
    MaskedWordLoss,
    MatchingLoss,
    PatchLoss,
    RegionFeatureLoss,
)


class PhotoModel(nn.Module):
    """The encoder of a config and one module for each objective that is switched on.

    Args:
        config: Of the encoder; what is frozen stays as loaded, without dropout.
        objectives: Weights and choices.
        encoder: Instead of a new one.

    Raises:
        InputError: if a part of the encoder cannot be loaded.
    """

    def __init__(
        self, config: PhotoModelConfig, objectives: PhotoObjectives, *, encoder: CrossModalEncoder | None = None
    ) -> None:
        super().__init__()
        self.config, self.settings = config, objectives
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.frozen = [self.encoder.language] if config.freeze_text else []
        if config.freeze_vision:
            assert isinstance(self.encoder.regions, Backbone)
            self.frozen.append(self.encoder.regions.model)
        for part in self.frozen:
            part.requires_grad_(False)
        self.objectives = _objectives(self.encoder.language, config.encoder, objectives)

    def forward(self, batch: PhotoBatch) -> dict[str, Tensor]:
        """Return the unweighted losses by name."""
        out: CrossModal = self.encoder(batch.pairs)
        arguments: dict[str, tuple[Tensor, ...]] = {
            "words": (out.language, batch.words),
            "features": (out.vision, batch.features, batch.regions, batch.real),
            "patches": (out.vision, batch.patches, batch.masked),
            "matching": (out.pooled, batch.matched),
        }
        if "contrastive" in self.objectives:
            assert out.seen is not None
            photos = mean_pool(out.seen, out.vision_mask)
            arguments["contrastive"] = (self.sentences(batch.own), photos, batch.same)
        return {name: objective(*arguments[name]) for name, objective in self.objectives.items()}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([getattr(self.settings, name) * loss for name, loss in losses.items()]).sum()

    def started(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that start trained: those of a named language model and of a backbone."""
        if self.config.encoder.language.model:
            yield from self.encoder.language.parameters()
        if isinstance(self.encoder.regions, Backbone):
            yield from self.encoder.regions.model.parameters()

    def train(self, mode: bool = True) -> PhotoModel:
        """Switch to training, in which frozen parts still run without dropout and keep their statistics."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def sentences(self, own: Pairs) -> Tensor:
        """Return what the language encoder alone says of texts, (B, S)."""
        words, told = self.encoder.encode_words(self.encoder.embed(own).words, own)
        return mean_pool(told.pad(words), told.mask)

    @torch.inference_mode()
    def search_vectors(self, own: Pairs) -> tuple[Tensor, Tensor]:
        """Return unit vectors (B, 256) of texts and of photos, made apart, by whose products they find each other.

        Raises:
            ValueError: if the model was trained without the contrastive objective.
        """
        if "contrastive" not in self.objectives:
            raise ValueError("the model has no contrastive objective; set objectives.contrastive")
        contrastive: Any = self.objectives["contrastive"]
        seen, rows = self.encoder.encode_vision(own.vision, own)
        photos = mean_pool(rows.pad(seen), rows.mask)
        return (
            F.normalize(contrastive.language(self.sentences(own)).float(), dim=-1),
            F.normalize(contrastive.vision(photos).float(), dim=-1),
        )


def _objectives(language: nn.Module, config: CrossModalConfig, settings: PhotoObjectives) -> nn.ModuleDict:
    assert isinstance(language, TextEncoder | AutoText)
    words = language.words if isinstance(language, TextEncoder) else language.model.get_input_embeddings()
    found = nn.ModuleDict()
    if settings.words:
        head = MaskedWordHead(config.width, words.num_embeddings, word_width=words.embedding_dim)
        head.tie(words)
        found["words"] = MaskedWordLoss(head)
    if settings.features:
        heads = VisualHeads(config.width, objects=0, attributes=0, features=config.vision.feature_width)
        found["features"] = RegionFeatureLoss(heads, normaliser=1 / max(settings.region_rate, 1e-6))
    if settings.patches:
        found["patches"] = PatchLoss(config.width, config.vision.patch)
    if settings.matching:
        found["matching"] = MatchingLoss(MatchingHead(config.width))
    if settings.contrastive:
        found["contrastive"] = ContrastiveLoss(language.width, config.width)
    return found
