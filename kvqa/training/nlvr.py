"""NLVR: a small encoder learns to judge sentences about drawings whose shapes are known.

First from sentences of our own grammar about random scenes, whose truth is computed, then from the data set's own
examples and the changes that keep their truth. Every part can be left out, to see what it is worth.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kvqa.data.example import Example
from kvqa.data.nlvr_grammar import judged_pairs
from kvqa.data.nlvr_phrases import Statement
from kvqa.data.nlvr_scene import BOXES, Kind, Scene, random_scene
from kvqa.data.nlvr_tokens import MAX_TOKENS, SceneTokens, Tokens, collate, numbers_of, seen_scene, statement_of
from kvqa.data.nlvr_words import token_ids, tokens
from kvqa.errors import InputError
from kvqa.models.judge import new_model, save_statement_model
from kvqa.models.statement import Judgement, StatementConfig, StatementModel
from kvqa.training.optim import adamw, linear_schedule, start_at
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text
from kvqa.training.task import TaskReport, write_report

MIXED_SCENES = 300
"""Random scenes of each kind for the sentences that are mixed into training on examples."""

SAVE_EVERY = 100
"""Steps of the grammar between two reports, and between two states that a stopped run goes on from."""

KINDS: tuple[Kind, ...] = ("towers", "scatter")


@dataclass(frozen=True)
class SyntheticStage:
    """Training on the grammar's sentences.

    Attributes:
        steps: Batches; 0 leaves the stage out.
        batch: Examples in a batch, half of them true; towers and scattered items take turns.
        scenes: Random scenes of each kind.
    """

    steps: int = 800
    batch: int = 128
    lr: float = 2e-3
    scenes: int = 2000


@dataclass(frozen=True)
class RealStage:
    """Training on the data set's examples.

    Attributes:
        epochs: Passes; 0 leaves the stage out.
        synthetic: Examples of the grammar that go into each batch beside the real ones, so that nothing is forgotten.
        augment: Change examples by the symmetries each time they are seen.
    """

    epochs: int = 6
    batch: int = 32
    lr: float = 5e-4
    synthetic: int = 32
    augment: bool = True
    weight_decay: float = 0.01


@dataclass(frozen=True)
class NlvrExperiment:
    """A complete experiment.

    Attributes:
        task: Always `nlvr`; tells this file from other experiments.
        split: Part to train on; test is refused.
        folds: Parts for cross-validation, by `meta["directory"]`, which no sentence crosses.
        seeds: A model for each.
        picture: Show the scene; without it the model has the sentence only.
    """

    name: str
    task: Literal["nlvr"] = "nlvr"
    split: str = "dev"
    folds: int = 6
    seeds: tuple[int, ...] = (0, 1, 2)
    picture: bool = True
    model: StatementConfig = field(default_factory=StatementConfig)
    synthetic: SyntheticStage = field(default_factory=SyntheticStage)
    real: RealStage = field(default_factory=RealStage)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are of the right type."""
        if self.split not in ("train", "dev"):
            yield f"split {self.split!r} is not train or dev"
        if self.folds < 2:
            yield f"folds {self.folds} is less than 2"
        if not self.seeds:
            yield "seeds is empty; give at least one"
        if self.real.synthetic and not self.synthetic.steps:
            yield "real.synthetic is of the grammar, which synthetic.steps 0 does without; set it to 0 too"


class Synthetic:
    """A stream of batches of the grammar's sentences, towers and scattered items in turn.

    Args:
        scenes: Random scenes of each kind.
    """

    def __init__(self, seed: int, *, scenes: int, picture: bool = True) -> None:
        self._rng = random.Random(seed)
        self._picture = picture
        self._turn = 0
        self._drawn: dict[Kind, list[Scene]] = {}
        self._scenes: dict[Kind, list[SceneTokens]] = {}
        self._pairs: dict[Kind, Iterator[tuple[Statement, tuple[tuple[int, bool], ...]]]] = {}
        for kind in KINDS:
            drawn = [random_scene(self._rng, kind) for _ in range(scenes)]
            self._drawn[kind] = drawn
            self._scenes[kind] = [seen_scene(scene, picture=picture) for scene in drawn]
            self._pairs[kind] = judged_pairs(self._rng, kind, drawn)

    def batch(self, size: int) -> list[Tokens]:
        """Return `size` statements (one more if that is odd), each with a scene it is true of and one it is not."""
        kind = KINDS[self._turn % len(KINDS)]
        self._turn += 1
        made: list[Tokens] = []
        while len(made) < size:
            statement, judged = next(self._pairs[kind])
            ids = token_ids(tokens(statement.text))[:MAX_TOKENS]
            for number, truth in judged:
                counted = _counted(statement, self._drawn[kind][number]) if self._picture else None
                made.append(Tokens(ids, *self._scenes[kind][number], int(truth), counted))
        return made


def learn_grammar(
    model: StatementModel,
    settings: SyntheticStage,
    *,
    seed: int,
    picture: bool = True,
    state: Path | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Train on sentences of the grammar about random scenes.

    Args:
        state: File that the state is left in now and then; a run that was stopped goes on from it. Nothing of the data
            set goes into this stage.
    """
    if not settings.steps:
        return
    identity = settings_text("grammar", settings, model.config, seed, picture)
    optimizer = adamw(model.parameters(), lr=settings.lr)
    schedule = linear_schedule(optimizer, settings.steps, warmup=0.05)
    done = load_state(state, model, optimizer, settings=identity) if state else 0
    if done == settings.steps:
        return
    stream = Synthetic(seed, scenes=settings.scenes, picture=picture)
    for _ in range(done):
        stream.batch(settings.batch)
    start_at(schedule, done)
    model.train()
    right = seen = 0
    for step in range(done + 1, settings.steps + 1):
        if (step - 1) % SAVE_EVERY == 0:
            seed_epoch(seed, "grammar", (step - 1) // SAVE_EVERY)
        batch = stream.batch(settings.batch)
        logits = _step(model, batch, optimizer, schedule)
        right += int((logits.argmax(-1) == _labels(batch)).sum())
        seen += len(batch)
        if step % SAVE_EVERY == 0 or step == settings.steps:
            log(f"  grammar, step {step} of {settings.steps}: {100 * right / seen:.1f} % right")
            right = seen = 0
            if state:
                kept = None if step == settings.steps else optimizer
                save_state(state, model, kept, epoch=step, settings=identity)


def learn_examples(
    model: StatementModel,
    examples: Sequence[Example],
    settings: RealStage,
    *,
    seed: int,
    picture: bool = True,
    state: Path | None = None,
    context: Sequence[object] = (),
    log: Callable[[str], None] = print,
) -> None:
    """Train on examples of the data set, with sentences of the grammar mixed in as `settings.synthetic` says.

    Args:
        state: File that the state is left in after each epoch; a run that was stopped goes on from it.
        context: What the result depends on besides; a state of another context is refused.

    Raises:
        InputError: if an example has no label or is not of NLVR; the state was made with other settings.
    """
    statements = [statement_of(example) for example in examples]
    if not settings.epochs:
        return
    stream = Synthetic(seed + 1000, scenes=MIXED_SCENES, picture=picture) if settings.synthetic else None
    steps = -(-len(statements) // settings.batch)
    optimizer = adamw(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = linear_schedule(optimizer, steps * settings.epochs)
    names = [example.question_id for example in examples]
    identity = settings_text("examples", settings, model.config, seed, picture, names, *context)
    done = load_state(state, model, optimizer, settings=identity) if state else 0
    start_at(schedule, done * steps)
    if stream:
        for _ in range(done * steps):
            stream.batch(settings.synthetic)
    model.train()
    for epoch in range(done, settings.epochs):
        rng = seed_epoch(seed, "examples", epoch)
        right = 0
        order = rng.sample(range(len(statements)), len(statements))
        for start in range(0, len(order), settings.batch):
            real = [
                numbers_of(statements[i], rng if settings.augment else None, picture=picture)
                for i in order[start : start + settings.batch]
            ]
            batch = real + (stream.batch(settings.synthetic) if stream else [])
            logits = _step(model, batch, optimizer, schedule)[: len(real)]
            right += int((logits.argmax(-1) == _labels(real)).sum())
        if state:
            save_state(state, model, optimizer, epoch=epoch + 1, settings=identity)
        if epoch + 1 == settings.epochs:
            log(f"  examples, epoch {epoch + 1} of {settings.epochs}: {100 * right / len(order):.1f} % right")


def train(
    experiment: NlvrExperiment,
    examples: Sequence[Example],
    out: Path,
    *,
    seed: int,
    provenance: dict[str, str] | None = None,
    log: Callable[[str], None] = print,
) -> TaskReport:
    """Train on both stages of an experiment and leave the model in `out`.

    Raises:
        InputError: as `learn_examples`; `out` holds the state of another run.
    """
    begun = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    model, picture = new_model(experiment.model, seed), experiment.picture
    learn_grammar(model, experiment.synthetic, seed=seed, picture=picture, state=out / "grammar.state", log=log)
    learn_examples(
        model,
        examples,
        experiment.real,
        seed=seed,
        picture=picture,
        state=out / "examples.state",
        context=[experiment.synthetic],
        log=log,
    )
    report = TaskReport({}, {"train": len(examples)}, time.perf_counter() - begun)
    record = {"experiment": asdict(experiment), "seed": seed, **(provenance or {})}
    save_statement_model(model, out, picture=picture, training=record)
    write_report(out, report)
    return report


def folds_of(examples: Iterable[Example], count: int) -> list[list[Example]]:
    """Return the examples in `count` parts by their published directory, so that no sentence is in two.

    Raises:
        InputError: if a sentence is in two directories, or there are fewer directories than parts.
    """
    examples = list(examples)
    home: dict[str, str] = {}
    for example in examples:
        if home.setdefault(example.meta["group"], example.meta["directory"]) != example.meta["directory"]:
            raise InputError(f"sentence {example.meta['group']} lies in two directories; it cannot be held out")
    names = sorted(set(home.values()))
    if len(names) < count:
        raise InputError(f"there are {len(names)} directories, so at most as many folds, but {count} are wanted")
    place = {name: number % count for number, name in enumerate(names)}
    parts: list[list[Example]] = [[] for _ in range(count)]
    for example in examples:
        parts[place[example.meta["directory"]]].append(example)
    return parts


def _counted(statement: Statement, scene: Scene) -> NDArray[np.float32]:
    """Return which boxes and items, in the order of `scene_features`, a statement counts."""
    items = [item for box in scene for item in box]
    of_boxes = [-1.0 if statement.boxes is None else float(statement.boxes(box)) for box in scene]
    of_items = [-1.0 if statement.items is None else float(statement.items(item)) for item in items]
    return np.array(of_boxes + of_items, np.float32)


def _labels(batch: Sequence[Tokens]) -> Tensor:
    return torch.tensor([one.label for one in batch])


def _step(
    model: StatementModel,
    batch: Sequence[Tokens],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> Tensor:
    """Train on one batch; return its logits."""
    judged: Judgement = model(*collate(batch))
    loss = F.cross_entropy(judged.logits, _labels(batch)) + counting_loss(judged, batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    return judged.logits.detach()


def counting_loss(judged: Judgement, batch: Sequence[Tokens]) -> Tensor:
    """Return how far the model is from knowing what statements count, where that is known; 0 where nothing is."""
    loss = judged.logits.new_zeros(())
    if judged.objects is None or judged.groups is None:
        return loss
    counted = np.full(judged.objects.shape, -1.0, np.float32)
    for row, one in enumerate(batch):
        if one.counted is not None:
            counted[row, : len(one.counted)] = one.counted
    target = torch.from_numpy(counted)
    for logits, wanted in ((judged.groups, target[:, :BOXES]), (judged.objects[:, BOXES:], target[:, BOXES:])):
        known = wanted >= 0
        if known.any():
            loss = loss + F.binary_cross_entropy_with_logits(logits[known], wanted[known])
    return loss
