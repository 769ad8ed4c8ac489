"""NLVR: a small encoder learns to judge sentences about drawings whose shapes are known.

First from sentences of our own grammar about random scenes, whose truth is computed, then from the data set's own
examples and the changes that keep their truth. Every part can be left out, to see what it is worth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kvqa.data.example import Example
from kvqa.data.nlvr_grammar import judged_pairs
from kvqa.data.nlvr_phrases import Statement
from kvqa.data.nlvr_scene import BOXES, FEATURES, Kind, Scene, random_scene, scene_features, scene_of
from kvqa.data.nlvr_symmetries import vary
from kvqa.data.nlvr_words import IDS, PADDING, WORDS, Words, token_ids, tokens
from kvqa.data.pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.statement import Judgement, StatementConfig, StatementModel
from kvqa.training.optim import adamw, linear_schedule
from kvqa.training.state import seed_epoch

MAX_TOKENS = 48
MIXED_SCENES = 300
"""Random scenes of each kind for the sentences that are mixed into training on examples."""

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


@dataclass(frozen=True)
class Tokens:
    """One judged statement as numbers: ids (T,), features (R, F), places (R, 4), box numbers (R,), label.

    `counted` (R,) says which boxes and items the statement counts: 1 or 0, or -1 where that is not known.
    """

    ids: list[int]
    features: NDArray[np.float32]
    places: NDArray[np.float32]
    boxes: NDArray[np.int64]
    label: int
    counted: NDArray[np.float32] | None = None


SceneTokens = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


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
            self._scenes[kind] = [_seen(scene, picture=picture) for scene in drawn]
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


def new_model(config: StatementConfig, seed: int) -> StatementModel:
    """Return a model with random weights of `seed`."""
    torch.manual_seed(seed)
    return StatementModel(config, vocabulary=len(WORDS), features=FEATURES, max_tokens=MAX_TOKENS)


def learn_grammar(
    model: StatementModel,
    settings: SyntheticStage,
    *,
    seed: int,
    picture: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Train on sentences of the grammar about random scenes."""
    if not settings.steps:
        return
    stream = Synthetic(seed, scenes=settings.scenes, picture=picture)
    optimizer = adamw(model.parameters(), lr=settings.lr)
    schedule = linear_schedule(optimizer, settings.steps, warmup=0.05)
    seed_epoch(seed, "grammar", 0)
    model.train()
    right = seen = 0
    for step in range(1, settings.steps + 1):
        batch = stream.batch(settings.batch)
        logits = _step(model, batch, optimizer, schedule)
        right += int((logits.argmax(-1) == _labels(batch)).sum())
        seen += len(batch)
        if step % 100 == 0 or step == settings.steps:
            log(f"  grammar, step {step} of {settings.steps}: {100 * right / seen:.1f} % right")
            right = seen = 0


def learn_examples(
    model: StatementModel,
    examples: Sequence[Example],
    settings: RealStage,
    *,
    seed: int,
    picture: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Train on examples of the data set, with sentences of the grammar mixed in as `settings.synthetic` says.

    Raises:
        InputError: if an example has no label or is not of NLVR.
    """
    statements = [_statement(example) for example in examples]
    if not settings.epochs:
        return
    stream = Synthetic(seed + 1000, scenes=MIXED_SCENES, picture=picture) if settings.synthetic else None
    steps = -(-len(statements) // settings.batch) * settings.epochs
    optimizer = adamw(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = linear_schedule(optimizer, steps)
    model.train()
    for epoch in range(settings.epochs):
        rng = seed_epoch(seed, "examples", epoch)
        right = 0
        order = rng.sample(range(len(statements)), len(statements))
        for start in range(0, len(order), settings.batch):
            real = [
                _tokens(statements[i], rng if settings.augment else None, picture=picture)
                for i in order[start : start + settings.batch]
            ]
            batch = real + (stream.batch(settings.synthetic) if stream else [])
            logits = _step(model, batch, optimizer, schedule)[: len(real)]
            right += int((logits.argmax(-1) == _labels(real)).sum())
        if epoch + 1 == settings.epochs:
            log(f"  examples, epoch {epoch + 1} of {settings.epochs}: {100 * right / len(order):.1f} % right")


@torch.no_grad()
def truths(model: StatementModel, examples: Sequence[Example], *, picture: bool = True) -> Tensor:
    """Return the probability (N,) that each statement is true."""
    model.eval()
    found = []
    for start in range(0, len(examples), 128):
        batch = [_tokens(_statement(example), None, picture=picture) for example in examples[start : start + 128]]
        found.append(model(*collate(batch)).logits.softmax(-1)[:, 1])
    return torch.cat(found)


def train(
    experiment: NlvrExperiment, examples: Sequence[Example], seed: int, *, log: Callable[[str], None] = print
) -> StatementModel:
    """Return a model trained on both stages of an experiment."""
    model = new_model(experiment.model, seed)
    learn_grammar(model, experiment.synthetic, seed=seed, picture=experiment.picture, log=log)
    learn_examples(model, examples, experiment.real, seed=seed, picture=experiment.picture, log=log)
    return model


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


# --- numbers ---------------------------------------------------------------------------------------------------------


def collate(batch: Sequence[Tokens]) -> tuple[Pairs, Tensor]:
    """Return the batch as the encoder reads it, and the boxes (B, R, 3) that each token of the scene belongs to."""
    length, regions = max(len(one.ids) for one in batch), max(len(one.boxes) for one in batch)
    ids = np.full((len(batch), length), IDS[PADDING])
    features = np.zeros((len(batch), regions, FEATURES), np.float32)
    places = np.zeros((len(batch), regions, 4), np.float32)
    member = np.zeros((len(batch), regions, BOXES), np.float32)
    for row, one in enumerate(batch):
        count = len(one.boxes)
        ids[row, : len(one.ids)] = one.ids
        features[row, :count], places[row, :count] = one.features, one.places
        member[row, np.arange(count), one.boxes] = 1
    words, groups = torch.from_numpy(ids), torch.from_numpy(member)
    pairs = Pairs(
        words,
        words != IDS[PADDING],
        torch.from_numpy(features),
        boxes=torch.from_numpy(places),
        region_mask=groups.sum(-1) > 0,
    )
    return pairs, groups


def _counted(statement: Statement, scene: Scene) -> NDArray[np.float32]:
    """Return which boxes and items, in the order of `scene_features`, a statement counts."""
    items = [item for box in scene for item in box]
    of_boxes = [-1.0 if statement.boxes is None else float(statement.boxes(box)) for box in scene]
    of_items = [-1.0 if statement.items is None else float(statement.items(item)) for item in items]
    return np.array(of_boxes + of_items, np.float32)


def _statement(example: Example) -> tuple[Words, Scene, int]:
    if example.label is None:
        raise InputError(f"{example.question_id} has no label; NLVR statements are true or false")
    return tokens(example.question), scene_of(example), example.label


def _tokens(statement: tuple[Words, Scene, int], rng: random.Random | None, *, picture: bool) -> Tokens:
    words, scene, label = statement
    if rng is not None:
        words, scene = vary(words, scene, rng)
    return Tokens(token_ids(words)[:MAX_TOKENS], *_seen(scene, picture=picture), label)


def _seen(scene: Scene, *, picture: bool) -> SceneTokens:
    """Return the tokens of a scene; without the picture, those of three boxes of which nothing is known."""
    if picture:
        return scene_features(scene)
    features, places, boxes = scene_features(((), (), ()))
    return features, places, boxes


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
