"""First stage: the question-image encoder learns where in the space of facts, entities and relations to look."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.collate import Batch, Collator, concept_text, drop_regions
from kvqa.data.example import Example
from kvqa.data.gold import UNKNOWN
from kvqa.models.crossmodal import Embeddings
from kvqa.models.encoder import QuestionImage, QuestionImageEncoder
from kvqa.models.model import mixed_precision
from kvqa.training.adversarial import AdversarialSettings, Perturbable, adversarial_step
from kvqa.training.objectives import class_loss, search_logits, search_loss
from kvqa.training.optim import adamw, linear_schedule, start_at
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text, trainable
from kvqa.training.targets import Targets
from retrieval.knowledge_base import KnowledgeBase
from retrieval.precision import fast_bfloat16

Log = Callable[[str], None]


@dataclass(frozen=True)
class EncoderStage:
    """Settings of the first stage.

    Attributes:
        epochs, batch, lr: The usual; `fold_epochs` is for the encoders of cross-fitting, `lr_new` for what does not
            start from the sentence encoder, `lr_heads` for the linear heads.
        tau: Temperature of the search losses.
        region_dropout: Rate at which seen labels are left out.
        fact, answer, anchor, relation, side, visible, vocabulary: Weights of the loss terms; 0 switches one off.
        adversarial: Train on changed word and label vectors as well; None does not. The KL term compares how the
            facts are ranked.
    """

    epochs: int = 3
    fold_epochs: int = 2
    batch: int = 32
    lr: float = 2e-4
    lr_new: float = 5e-4
    lr_heads: float = 3e-3
    tau: float = 0.03
    region_dropout: float = 0.15
    clip: float = 1.0
    fact: float = 1.0
    answer: float = 0.5
    anchor: float = 0.5
    relation: float = 0.2
    side: float = 0.5
    visible: float = 0.3
    vocabulary: float = 0.5
    adversarial: AdversarialSettings | None = None


@dataclass(frozen=True)
class SearchSpace:
    """The frozen vectors that queries are matched with.

    Attributes:
        facts: (num_facts, S) in the fast format; zeros for facts that training must not see, not even as negatives.
        entities: (K, S): the entities of gold facts and a random sample of all others as negatives.
        entity_rows: (num_entities,) int64, the row of each entity in `entities`, -1 where it was not sampled.
        relations: (num_relations, S).
    """

    facts: Tensor
    entities: Tensor
    entity_rows: NDArray[np.int64]
    relations: Tensor

    @classmethod
    def of(
        cls, kb: KnowledgeBase, allowed: NDArray[np.bool_], targets: Targets, *, seed: int, sample: int = 20_000
    ) -> SearchSpace:
        """Take the vectors of `kb`; `allowed` (num_facts,) says which facts training may see."""
        facts = np.concatenate([_fact_vectors(kb, allowed, start) for start in range(0, len(kb.index), 65536)])
        shown = np.unique(np.asarray(kb.triples)[allowed][:, [0, 2]])
        drawn = np.random.default_rng(seed).permutation(shown)[:sample]
        gold = np.concatenate([targets.answer, targets.anchor])
        chosen = np.union1d(drawn, gold[gold >= 0])
        rows = np.full(kb.manifest.entities, UNKNOWN, dtype=np.int64)
        rows[chosen] = np.arange(len(chosen))
        kept = torch.bfloat16 if fast_bfloat16() else torch.float32
        return cls(
            facts=torch.from_numpy(facts).to(kept),
            entities=torch.from_numpy(np.asarray(kb.entity_vectors[chosen])).to(kept),
            entity_rows=rows,
            relations=torch.from_numpy(kb.relation_vectors).to(kept),
        )

    def to(self, device: torch.device) -> SearchSpace:
        """Return the same vectors on another device."""
        moved = (t.to(device) for t in (self.facts, self.entities, self.relations))
        facts, entities, relations = moved
        return SearchSpace(facts, entities, self.entity_rows, relations)

    def rows(self, entities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows in `entities` of entity ids, -1 for none."""
        return np.where(entities >= 0, self.entity_rows[entities], UNKNOWN)


def _fact_vectors(kb: KnowledgeBase, allowed: NDArray[np.bool_], start: int) -> NDArray[np.float16]:
    ids = np.arange(start, min(start + 65536, len(kb.index)))
    return (kb.index.vectors(ids) * allowed[ids, None]).astype(np.float16)


def encoder_loss(out: QuestionImage, space: SearchSpace, targets: Targets, stage: EncoderStage) -> Tensor:
    """Return the weighted sum of the terms that `stage` switches on."""
    device = out.fact.device

    def wanted(values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(device)

    terms: dict[str, Callable[[], Tensor]] = {
        "fact": lambda: search_loss(out.fact, space.facts, wanted(targets.fact), tau=stage.tau),
        "answer": lambda: search_loss(out.answer, space.entities, wanted(space.rows(targets.answer)), tau=stage.tau),
        "anchor": lambda: search_loss(out.anchor, space.entities, wanted(space.rows(targets.anchor)), tau=stage.tau),
        "relation": lambda: search_loss(out.relation, space.relations, wanted(targets.relation), tau=stage.tau),
        "side": lambda: class_loss(out.side, wanted(targets.side)),
        "visible": lambda: class_loss(out.visible, wanted(targets.visible)),
        "vocabulary": lambda: class_loss(out.vocabulary, wanted(targets.vocabulary)),
    }
    total = torch.zeros((), device=device)
    for name, term in terms.items():
        if getattr(stage, name):
            total = total + getattr(stage, name) * term()
    return total


def like_lengths(examples: Sequence[Example], batch: int, rng: random.Random, *, pool: int = 8) -> list[list[int]]:
    """Return all rows of `examples` in random batches whose texts are of like length, to spend little on padding."""
    order = rng.sample(range(len(examples)), len(examples))
    lengths = [len(e.question) + len(concept_text(e.regions)) for e in examples]
    batches = []
    for first in range(0, len(order), batch * pool):
        rows = sorted(order[first : first + batch * pool], key=lambda i: lengths[i])
        batches += [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return rng.sample(batches, len(batches))


def optimizer_of(encoder: QuestionImageEncoder, stage: EncoderStage) -> torch.optim.AdamW:
    """Return one optimiser with three rates: what starts trained, what starts new, and the linear heads."""
    started = {id(p) for p in [*encoder.tuned.parameters(), *encoder.sentence.parameters()]}
    heads = {id(p) for head in (encoder.side, encoder.visible, encoder.vocabulary) for p in head.parameters()}
    new = [p for p in encoder.parameters() if id(p) not in started | heads]
    optimizer = adamw([p for p in encoder.parameters() if id(p) in started], lr=stage.lr)
    for parameters, lr in ((new, stage.lr_new), ([p for p in encoder.parameters() if id(p) in heads], stage.lr_heads)):
        for group in adamw(parameters, lr=lr).param_groups:
            optimizer.add_param_group(group)
    return optimizer


def backward(
    encoder: QuestionImageEncoder, batch: Batch, space: SearchSpace, targets: Targets, stage: EncoderStage
) -> float:
    """Leave the gradients of a batch in the parameters, plain or adversarial as `stage` says, and return the loss."""
    device = encoder.bridge.weight.device

    def forward(words: Tensor | None, labels: Tensor | None) -> QuestionImage:
        assert words is not None and labels is not None
        with mixed_precision(device):
            return encoder(batch, Embeddings(words, labels))

    def loss(out: QuestionImage) -> Tensor:
        with mixed_precision(device):
            return encoder_loss(out, space, targets, stage)

    embedded = encoder.trunk.embed(batch)
    if stage.adversarial is None:
        total = loss(forward(embedded.words, embedded.vision))
        total.backward()
        return total.item()
    report = adversarial_step(
        forward,
        Perturbable(embedded.words, embedded.vision, batch.mask, batch.region_mask),
        loss,
        stage.adversarial,
        logits=lambda out: search_logits(out.fact, space.facts, tau=stage.tau),
    )
    return report.loss


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
    context: str = "",
    log: Log = print,
) -> None:
    """Train `encoder` in place; continues from the file `state` where it exists and leaves the result there.

    Args:
        context: Whatever else the result depends on, as text; a state made in another context is refused.
        name: What the log and the random numbers call this run, such as `"encoder"` or `"fold-1"`.
    """
    device = encoder.bridge.weight.device
    optimizer = optimizer_of(encoder, stage)
    steps = -(-len(examples) // stage.batch)
    schedule = linear_schedule(optimizer, stage.epochs * steps)
    settings = settings_text(stage, encoder.config, collator.settings, seed, [e.question_id for e in examples], context)
    done = load_state(state, encoder, optimizer, settings=settings)
    start_at(schedule, done * steps)
    parameters = list(trainable(encoder).values())
    for epoch in range(done, stage.epochs):
        rng = seed_epoch(seed, name, epoch)
        encoder.train()
        total, start = 0.0, time.perf_counter()
        for rows in like_lengths(examples, stage.batch, rng):
            shown = [
                replace(examples[i], regions=drop_regions(examples[i].regions, stage.region_dropout, rng)) for i in rows
            ]
            loss = backward(encoder, collator(shown).to(device), space, targets.take(rows), stage)
            torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss * len(rows)
        save_state(state, encoder, optimizer, epoch=epoch + 1, settings=settings)
        seconds = time.perf_counter() - start
        rate = len(examples) / seconds
        log(f"{name}: epoch {epoch + 1}/{stage.epochs} loss {total / len(examples):.3f} {rate:.0f} questions/s")
    encoder.eval()
