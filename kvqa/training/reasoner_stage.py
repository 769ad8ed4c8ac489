"""Second stage: the graph reasoner learns to weigh the evidence.

It is trained on views of encoders that have not seen the question (cross-fitting by image): the view of an
encoder on its own training questions is too good to learn from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kvqa.data.collate import LabelVectors
from kvqa.data.example import Example
from kvqa.data.graph_batch import GraphBatch, GraphItem, collate_graphs
from kvqa.data.graph_features import normal
from kvqa.models.graph import GraphReasoner, Reasoning
from kvqa.models.model import mixed_precision
from kvqa.training.objectives import NO_TARGET, answer_loss, fact_loss
from kvqa.training.optim import adamw, linear_schedule, start_at
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text, trainable
from retrieval.knowledge_base import KnowledgeBase

Log = Callable[[str], None]


@dataclass(frozen=True)
class ReasonerStage:
    """Settings of the second stage.

    Attributes:
        fact: Weight of the fact term beside the answer term.
        gold_dropout: Rate at which the gold fact is taken out of the evidence, so that the model learns to answer
            from other facts, as it must over knowledge bases of others.
    """

    epochs: int = 20
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    fact: float = 0.5
    gold_dropout: float = 0.3


@dataclass(frozen=True)
class ReasonerTargets:
    """What is right among the evidence of one batch.

    Attributes:
        right: (B, G) bool, answer strings that are right, "no answer" where none of them is.
        gold: (B,) int64 position of the gold fact, -1 for none.
    """

    right: Tensor
    gold: Tensor


def reasoner_targets(
    items: Sequence[GraphItem], examples: Sequence[Example], gold_facts: Sequence[int], groups: int
) -> ReasonerTargets:
    """Find the right answers and the gold facts (`gold_facts`, knowledge-base ids, -1 for none) among `items`."""
    right = torch.zeros(len(items), groups, dtype=torch.bool)
    gold = torch.full((len(items),), NO_TARGET)
    for row, (item, example, fact) in enumerate(zip(items, examples, gold_facts, strict=True)):
        wanted = {normal(a) for a in example.answers}
        right[row, : len(item.answers)] = torch.tensor([a in wanted for a in item.answers])
        at = np.flatnonzero(item.evidence.fact_ids == fact)
        if fact >= 0 and len(at):
            gold[row] = int(at[0])
    return ReasonerTargets(right, gold)


def without_gold(graph: GraphBatch, targets: ReasonerTargets, chosen: Tensor) -> tuple[GraphBatch, ReasonerTargets]:
    """Take the gold fact out of the graphs that are `chosen` (B,) bool."""
    rows = torch.nonzero(chosen & (targets.gold >= 0)).squeeze(-1)
    mask, gold = graph.fact_mask.clone(), targets.gold.clone()
    mask[rows, gold[rows]] = False
    gold[rows] = NO_TARGET
    return replace(graph, fact_mask=mask), replace(targets, gold=gold)


def with_no_answer(graph: GraphBatch, targets: ReasonerTargets) -> ReasonerTargets:
    """Where no alternative that is there spells a right answer, make "no answer" the right one."""
    there = torch.cat([graph.fact_mask, graph.fact_mask, graph.label_mask, graph.vocabulary_mask], dim=1)  # (B, A - 1)
    reach = torch.zeros(targets.right.shape).scatter_add(1, graph.groups[:, :-1], there.float()) > 0  # (B, G)
    right = targets.right & reach
    lost = torch.nonzero(~right.any(-1)).squeeze(-1)
    right[lost, graph.groups[lost, -1]] = True
    return replace(targets, right=right)


def reasoner_loss(reasoning: Reasoning, targets: ReasonerTargets, stage: ReasonerStage) -> Tensor:
    """Return answer term plus weighted fact term."""
    return answer_loss(reasoning, targets.right) + stage.fact * fact_loss(reasoning, targets.gold)


def train_reasoner(
    reasoner: GraphReasoner,
    items: Sequence[GraphItem],
    examples: Sequence[Example],
    gold_facts: Sequence[int],
    kb: KnowledgeBase,
    label_vectors: LabelVectors,
    stage: ReasonerStage,
    *,
    seed: int,
    name: str,
    state: Path,
    context: str = "",
    after_epoch: Callable[[int], None] = lambda epoch: None,
    log: Log = print,
) -> None:
    """Train `reasoner` in place; continues from the file `state` where it exists and leaves the result there.

    Args:
        context: Whatever else the result depends on, as text; a state made in another context is refused.
    """
    device = next(reasoner.parameters()).device
    optimizer = adamw(reasoner.parameters(), lr=stage.lr, weight_decay=stage.weight_decay)
    steps = -(-len(items) // stage.batch)
    schedule = linear_schedule(optimizer, stage.epochs * steps)
    settings = settings_text(stage, reasoner.config, seed, [e.question_id for e in examples], kb.manifest.id, context)
    done = load_state(state, reasoner, optimizer, settings=settings)
    start_at(schedule, done * steps)
    parameters = list(trainable(reasoner).values())
    for epoch in range(done, stage.epochs):
        rng = seed_epoch(seed, name, epoch)
        order = rng.sample(range(len(items)), len(items))
        reasoner.train()
        total, start = 0.0, time.perf_counter()
        for first in range(0, len(order), stage.batch):
            rows = order[first : first + stage.batch]
            part = [items[i] for i in rows]
            graph = collate_graphs(part, kb, label_vectors)
            targets = reasoner_targets(
                part, [examples[i] for i in rows], [gold_facts[i] for i in rows], graph.num_groups
            )
            chosen = torch.tensor([rng.random() < stage.gold_dropout for _ in rows])
            graph, targets = without_gold(graph, targets, chosen)
            targets = with_no_answer(graph, targets)
            with mixed_precision(device):
                reasoning = reasoner(graph.to(device))
            loss = reasoner_loss(reasoning, ReasonerTargets(targets.right.to(device), targets.gold.to(device)), stage)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() * len(rows)
        save_state(state, reasoner, optimizer, epoch=epoch + 1, settings=settings)
        seconds = time.perf_counter() - start
        log(f"{name}: epoch {epoch + 1}/{stage.epochs} loss {total / len(order):.3f} {seconds:.1f} s")
        after_epoch(epoch)
    reasoner.eval()
