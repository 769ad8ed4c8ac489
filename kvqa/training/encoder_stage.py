"""First stage: the question-image encoder learns where in the space of facts, entities and relations to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.collate import Collator, drop_regions
from kvqa.data.example import Example
from kvqa.models.encoder import QuestionImage, QuestionImageEncoder
from kvqa.models.model import mixed_precision
from kvqa.training.objectives import class_loss, search_loss
from kvqa.training.optim import adamw, linear_schedule
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text, trainable
from kvqa.training.targets import Targets
from retrieval.knowledge_base import KnowledgeBase

Log = Callable[[str], None]


@dataclass(frozen=True)
class EncoderStage:
    """Settings of the first stage.

    Attributes:
        epochs, batch, lr: The usual; `lr_new` is for what does not start from the sentence encoder.
        tau: Temperature of the search losses.
        region_dropout: Rate at which seen labels are left out.
        fact, answer, anchor, relation, side, visible, vocabulary: Weights of the loss terms; 0 switches one off.
    """

    epochs: int = 3
    batch: int = 32
    lr: float = 2e-4
    tau: float = 0.03
    region_dropout: float = 0.15
    clip: float = 1.0
    fact: float = 1.0
    answer: float = 0.5
    anchor: float = 0.5
    relation: float = 0.2
    side: float = 0.2
    visible: float = 0.1
    vocabulary: float = 0.3


@dataclass(frozen=True)
class SearchSpace:
    """The frozen vectors that queries are matched with.

    Attributes:
        facts: (num_facts, S) bfloat16. entities: (num_entities, S) bfloat16. relations: (num_relations, S).
        hidden_facts: (num_facts,) bool, facts that training must not see, not even as negatives.
        hidden_entities: (num_entities,) bool, entities that occur in hidden facts only.
    """

    facts: Tensor
    entities: Tensor
    relations: Tensor
    hidden_facts: Tensor
    hidden_entities: Tensor

    @classmethod
    def of(cls, kb: KnowledgeBase, allowed: NDArray[np.bool_]) -> SearchSpace:
        """Take the vectors of `kb`; `allowed` (num_facts,) says which facts training may see."""
        pieces = [
            torch.from_numpy(kb.index.vectors(np.arange(start, min(start + 65536, len(kb.index))))).bfloat16()
            for start in range(0, len(kb.index), 65536)
        ]
        shown = np.zeros(kb.manifest.entities, dtype=bool)
        shown[np.asarray(kb.triples)[allowed][:, [0, 2]].ravel()] = True
        return cls(
            facts=torch.cat(pieces),
            entities=torch.from_numpy(np.array(kb.entity_vectors)).bfloat16(),
            relations=torch.from_numpy(kb.relation_vectors).bfloat16(),
            hidden_facts=torch.from_numpy(~allowed),
            hidden_entities=torch.from_numpy(~shown),
        )

    def to(self, device: torch.device) -> SearchSpace:
        """Return the same vectors on another device."""
        return SearchSpace(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def encoder_loss(out: QuestionImage, space: SearchSpace, targets: Targets, stage: EncoderStage) -> Tensor:
    """Return the weighted sum of the terms that `stage` switches on."""
    device = out.fact.device

    def wanted(values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(device)

    facts, entities = (space.facts, space.hidden_facts), (space.entities, space.hidden_entities)
    terms = {
        "fact": lambda: search_loss(out.fact, facts[0], wanted(targets.fact), hidden=facts[1], tau=stage.tau),
        "answer": lambda: search_loss(out.answer, entities[0], wanted(targets.answer), hidden=entities[1], tau=stage.tau),
        "anchor": lambda: search_loss(out.anchor, entities[0], wanted(targets.anchor), hidden=entities[1], tau=stage.tau),
        "relation": lambda: search_loss(out.relation, space.relations, wanted(targets.relation), tau=stage.tau),
        "side": lambda: class_loss(out.side, wanted(targets.side)),
        "visible": lambda: class_loss(out.visible, wanted(targets.visible)),
        "vocabulary": lambda: class_loss(out.vocabulary, wanted(targets.vocabulary)),
    }
    loss: Tensor = sum((getattr(stage, n) * term() for n, term in terms.items() if getattr(stage, n)), torch.zeros(()))
    return loss


def train_encoder(
    encoder: QuestionImageEncoder,
    collator: Collator,
    examples: Sequence[Example],
    targets: Targets,
    space: SearchSpace,
    stage: EncoderStage,
    *,
    seed: int,
    name: str,
    state: Path,
    log: Log = print,
) -> None:
    """Train `encoder` in place; continues from the file `state` where it exists and leaves the result there.

    Args:
        name: What the log and the random numbers call this run, such as `"encoder"` or `"fold-1"`.
    """
    device = encoder.bridge.weight.device
    optimizer = adamw(encoder.parameters(), lr=stage.lr)
    steps = -(-len(examples) // stage.batch)
    schedule = linear_schedule(optimizer, stage.epochs * steps)
    settings = settings_text(stage, encoder.config, seed, name, [e.question_id for e in examples], len(space.facts))
    done = load_state(state, encoder, optimizer, settings=settings)
    schedule.last_epoch = done * steps
    for group, factor in zip(optimizer.param_groups, schedule.lr_lambdas, strict=True):
        group["lr"] = group["initial_lr"] * factor(done * steps)
    parameters = list(trainable(encoder).values())
    for epoch in range(done, stage.epochs):
        rng = seed_epoch(seed, name, epoch)
        order = rng.sample(range(len(examples)), len(examples))
        encoder.train()
        total, start = 0.0, time.perf_counter()
        for first in range(0, len(order), stage.batch):
            rows = order[first : first + stage.batch]
            shown = [
                replace(examples[i], regions=drop_regions(examples[i].regions, stage.region_dropout, rng)) for i in rows
            ]
            with mixed_precision(device):
                loss = encoder_loss(encoder(collator(shown).to(device)), space, targets.take(rows), stage)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() * len(rows)
        save_state(state, encoder, optimizer, epoch=epoch + 1, settings=settings)
        seconds = time.perf_counter() - start
        log(f"{name}: epoch {epoch + 1}/{stage.epochs} loss {total / len(order):.3f} {len(order) / seconds:.0f} questions/s")
    encoder.eval()
