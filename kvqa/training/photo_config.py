"""What pretraining on photos or their features is: every setting, as one complete YAML file holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from kvqa.data.pretrain_pairs import Source
from kvqa.models.crossmodal import CrossModalConfig
from kvqa.training.pretrain_config import RunConfig, objective_problems

TERMS = ("words", "features", "patches", "matching", "contrastive")
"""Objectives of this recipe in the order of the log."""


@dataclass(frozen=True)
class PhotoObjectives:
    """Weights of the objectives, 0 switches one off; see `kvqa.training.pretrain_objectives`.

    Attributes:
        words, features, patches, matching, contrastive: Weights. `features` needs an encoder that reads features
            (`vision.kind` regions, grid or patches), `patches` one that reads pixels itself (pixels).
        word_rate, region_rate, patch_rate: Shares that are masked; regions are whatever has features.
        swap: Share of swapped sentences; without `matching` none is swapped.
    """

    words: float = 1.0
    features: float = 0.0
    patches: float = 0.0
    matching: float = 1.0
    contrastive: float = 1.0
    word_rate: float = 0.15
    region_rate: float = 0.15
    patch_rate: float = 0.6
    swap: float = 0.5

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        yield from objective_problems(self, TERMS, ("word_rate", "region_rate", "patch_rate", "swap"))


@dataclass(frozen=True)
class PhotoModelConfig:
    """The encoder that is pretrained, and how texts and photos are brought to it.

    Attributes:
        encoder: With `vision.kind` pixels or backbone for photos; regions, grid or patches for features.
        tokenizer: Folder or installed package with a `tokenizer.json`; empty: that of `encoder.language.model`.
        max_tokens: Longer texts are cut.
        short, size: The shorter side of a photo is brought to `short` pixels, and `size` x `size` are cut out of its
            middle. Features have none of this.
        mean, std: Of each colour; what the backbone was trained with.
        freeze_text, freeze_vision: Leave language encoder or backbone as they were loaded.
    """

    encoder: CrossModalConfig = field(default_factory=CrossModalConfig)
    tokenizer: str = ""
    max_tokens: int = 40
    short: int = 256
    size: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    freeze_text: bool = False
    freeze_vision: bool = False

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        encoder = self.encoder
        yield from (f"model.encoder: {problem}" for problem in encoder.problems())
        if encoder.vision.kind == "pixels" and self.size % encoder.vision.patch:
            yield f"model.size {self.size} is not a multiple of the patch, {encoder.vision.patch}"
        if not 0 < self.size <= self.short:
            yield f"model.size {self.size} is not between 1 and model.short, {self.short}"
        if not (self.tokenizer or encoder.language.model):
            yield "model.tokenizer is empty and encoder.language.model names none; give one"
        if self.freeze_text and not encoder.language.model:
            yield "model.freeze_text freezes a language encoder of random weights; name encoder.language.model"
        if self.freeze_vision and encoder.vision.kind != "backbone":
            yield "model.freeze_vision is for a backbone; leave it out"
        if self.max_tokens < 3:
            yield f"model.max_tokens {self.max_tokens} leaves no word"


@dataclass(frozen=True)
class PhotoPretraining:
    """A complete pretraining run on photos.

    Attributes:
        name: Goes into reports and manifests.
        task: Always `photos`; tells this file from other experiments.
        seed: Of everything random.
        photos: Folders of photos, searched to any depth; or none, with `features`.
        features: Folder of features (`kvqa features`), in place of photos.
        texts, leave_out: Sources, see `kvqa.data.pretrain_pairs`. `leave_out` names the splits that models made from
            this one will be scored on.
        held_out: Share of the photos kept aside, on which losses and search are shown.
    """

    name: str
    texts: tuple[Source, ...]
    photos: tuple[str, ...] = ()
    features: str = ""
    leave_out: tuple[Source, ...] = ()
    task: Literal["photos"] = "photos"
    seed: int = 0
    held_out: float = 0.1
    model: PhotoModelConfig = field(default_factory=PhotoModelConfig)
    objectives: PhotoObjectives = field(default_factory=PhotoObjectives)
    run: RunConfig = field(default_factory=RunConfig)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are of the right type."""
        for part in ("texts", "leave_out"):
            for source in getattr(self, part):
                yield from (f"{part}: {problem}" for problem in source.problems())
        out = {(source.data, source.split) for source in self.leave_out}
        for source in self.texts:
            if (source.data, source.split) in out or source.split.startswith("test"):
                yield f"texts: {source} is an evaluation split; pretrain on another one"
        if not 0 <= self.held_out < 0.9:
            yield f"held_out {self.held_out} is not in [0, 0.9)"
        kind = self.model.encoder.vision.kind
        if bool(self.photos) == bool(self.features):
            yield "give either photos or features"
        if (kind in ("pixels", "backbone")) == bool(self.features):
            yield f"model.encoder.vision.kind {kind!r} does not read {'features' if self.features else 'photos'}"
        if self.objectives.patches and kind != "pixels":
            yield "objectives.patches needs model.encoder.vision.kind pixels; set it to 0"
        if self.objectives.features and not self.features:
            yield "objectives.features needs features; set it to 0"
        yield from self.model.problems()
        yield from self.objectives.problems()
        yield from self.run.problems()
