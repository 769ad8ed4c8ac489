"""The encoder with the heads of pretraining: a batch in, the losses out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kvqa.data.collate import Collator
from kvqa.data.pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.attention import TransformerLayer
from kvqa.models.encoder import QuestionImageEncoder
from kvqa.models.fusion import CoAttention
from kvqa.models.heads import AnswerHead, MaskedWordHead, MatchingHead, VisualHeads
from kvqa.models.model import LabelMemory, collator_of
from kvqa.models.pretrained import load_weights, read_pretrained_folder
from kvqa.models.text import TextEncoder, TextFolder, mean_pool
from kvqa.training.pretrain_batch import PretrainBatch
from kvqa.training.pretrain_config import ObjectiveConfig, Pretraining, PretrainModel
from kvqa.training.pretrain_objectives import (
    AnswerLoss,
    ContrastiveLoss,
    FactLoss,
    MaskedWordLoss,
    MatchingLoss,
    RegionFeatureLoss,
    RegionLabelLoss,
)


class PretrainingModel(nn.Module):
    """The question-image encoder and one module for each objective that is switched on.

    Args:
        config: Of the encoder.
        objectives: Weights and choices.
        text: Folder of the sentence encoder that `config.text` names.
        labels, answers: Sizes of the vocabularies.
    """

    def __init__(
        self, config: PretrainModel, objectives: ObjectiveConfig, text: TextFolder, *, labels: int, answers: int
    ) -> None:
        super().__init__()
        self.config, self.settings, self.text = config, objectives, text
        base = TextEncoder.from_folder(text)
        # Its own answer head is for fine-tuning; one row instead of none, which torch warns of.
        self.encoder = QuestionImageEncoder(base, replace(config.encoder, answers=1))
        self.tokenizer = text.tokenizer()
        self.labels = LabelMemory(self.encoder, self.tokenizer)
        self.objectives = _objectives(self.encoder, objectives, base, labels=labels, answers=answers)

    def collator(self) -> Collator:
        """Return the collator that fits the encoder."""
        return collator_of(self.config.inputs, self.config.encoder, self.tokenizer, self.labels)

    def forward(self, batch: PretrainBatch) -> dict[str, Tensor]:
        """Return the unweighted losses by name."""
        out = self.encoder(batch.batch)
        regions = (batch.masked, batch.real)
        arguments: dict[str, tuple[Tensor, ...]] = {
            "words": (out.language, batch.words),
            "features": (out.vision, batch.features, *regions),
            "objects": (out.vision, batch.objects, batch.confidence, *regions),
            "matching": (out.pooled, batch.matched),
            "answers": (out.pooled, batch.answers),
            "facts": (out.fact, batch.facts, batch.belongs, batch.counted),
        }
        if "contrastive" in self.objectives:
            arguments["contrastive"] = (*self._apart(batch), batch.same)
        return {name: objective(*arguments[name]) for name, objective in self.objectives.items()}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([getattr(self.settings, name) * loss for name, loss in losses.items()]).sum()

    def started(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that start trained: those of the sentence encoder's form."""
        yield from self.encoder.tuned.parameters()
        yield from self.encoder.sentence.parameters()

    def _apart(self, batch: PretrainBatch) -> tuple[Tensor, Tensor]:
        """Return sentences (B, S) and pictures (B, D) that know nothing of each other."""
        trunk = self.encoder.trunk
        alone = Pairs(batch.sentence_ids, batch.sentence_mask, batch.features)
        words, told = trunk.encode_words(trunk.embed(alone).words, alone)
        vision, seen = trunk.encode_vision(batch.features, batch.batch)
        return mean_pool(told.pad(words), told.mask), mean_pool(seen.pad(vision), seen.mask)


def _objectives(
    encoder: QuestionImageEncoder, settings: ObjectiveConfig, base: TextEncoder, *, labels: int, answers: int
) -> nn.ModuleDict:
    width, space = encoder.config.width, base.width
    found = nn.ModuleDict()
    if settings.words:
        head = MaskedWordHead(width, base.words.num_embeddings, word_width=space)
        head.tie(base.words)
        found["words"] = MaskedWordLoss(head)
    visual = VisualHeads(
        width, objects=labels if settings.objects else 0, attributes=0, features=space if settings.features else 0
    )
    normaliser = 1 / max(settings.region_rate, 1e-6)
    if settings.features:
        found["features"] = RegionFeatureLoss(visual, normaliser=normaliser)
    if settings.objects:
        found["objects"] = RegionLabelLoss(visual, "objects", boxes=settings.boxes, normaliser=normaliser)
    if settings.matching:
        found["matching"] = MatchingLoss(MatchingHead(width))
    if settings.answers and answers:
        found["answers"] = AnswerLoss(AnswerHead(width, answers))
    if settings.contrastive:
        found["contrastive"] = ContrastiveLoss(space, width)
    if settings.facts:
        found["facts"] = FactLoss()
    return found


def checkpoint_layers(module: nn.Module) -> None:
    """Let the layers of `module` keep only their inputs and compute the rest again for gradients.

    Results do not change, dropout included: its random numbers are drawn from the same state again.
    """
    inner = {id(part) for layer in module.modules() if isinstance(layer, CoAttention) for part in layer.modules()}
    for layer in module.modules():
        if isinstance(layer, CoAttention) or (isinstance(layer, TransformerLayer) and id(layer) not in inner):
            layer.forward = _again(layer.forward)  # type: ignore[method-assign]


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return call


def build_pretraining(experiment: Pretraining, *, labels: int, answers: int) -> PretrainingModel:
    """Build the model of an experiment with weights from its seed."""
    torch.manual_seed(experiment.seed)
    text = TextFolder.find(experiment.model.text)
    return PretrainingModel(experiment.model, experiment.objectives, text, labels=labels, answers=answers)


def load_pretraining(folder: Path) -> PretrainingModel:
    """Load a pretrained encoder with its heads, in evaluation mode.

    Raises:
        InputError: if the folder is not sound, or the installed sentence encoder is another one.
    """
    found = read_pretrained_folder(folder)
    try:
        experiment = TypeAdapter(Pretraining).validate_python(found.config)
    except ValidationError as error:
        raise InputError(f"{folder}/config.json is not of this version ({error.errors()[0]['msg']})") from None
    model = build_pretraining(experiment, labels=len(found.labels), answers=len(found.answers))
    if model.text.sha256 != found.manifest.text_sha256:
        raise InputError(f"{folder} was pretrained with another sentence encoder than {model.text.path}")
    load_weights(model, folder)
    return model.eval()
