"""Training for choices on frozen sentence vectors: answers and reasons of VCR and FVQA-R, with facts."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from numpy.typing import NDArray

from kvqa.data.choice_facts import Knowledge
from kvqa.data.choices import ChoiceBatch, ChoiceCollator, Item, answer_item, rationale_item, take
from kvqa.data.example import Example
from kvqa.data.gold import UNKNOWN, gold_fact_ids
from kvqa.data.text_vectors import TextVectors
from kvqa.models.choose import choice_scores, save_scorer
from kvqa.models.task_heads import ChoiceScorer, choice_loss
from kvqa.training.collated import HELD_BYTES, collate_once
from kvqa.training.task import Log, TaskExperiment, TaskReport, TaskStep, fit, identity, write_report
from retrieval.knowledge_base import KnowledgeBase


def train_choices(
    experiment: TaskExperiment,
    training: Sequence[Example],
    validation: Mapping[str, Sequence[Example]],
    vectors: TextVectors,
    out: Path,
    *,
    kb: KnowledgeBase | None = None,
    allowed: NDArray | None = None,  # type: ignore[type-arg]
    device: str = "cpu",
    held_bytes: int = HELD_BYTES,
    provenance: dict[str, str] | None = None,
    log: Log = print,
) -> TaskReport:
    """Train a scorer of answers and, where the examples have them, of reasons; leave it in `out`.

    Args:
        validation: Examples to score by name of the part.
        kb: Facts are retrieved from it if `experiment.inputs.knowledge` says so.
        allowed: (num_facts,) bool, facts that may be seen in training; None is all.
        held_bytes: Collated items that take more lie in `out` while training; the result is the same.

    Raises:
        InputError: if they find no room there.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    inputs = experiment.inputs
    knowledge = Knowledge(kb, allowed=allowed) if kb is not None and inputs.knowledge else None
    collator = ChoiceCollator(vectors, inputs, knowledge, experiment.scorer.feature_width)
    items = training_items(training, kb if knowledge else None, experiment.gold_dropout)
    vectors.learn(collator.texts(items))
    log(f"{len(training)} questions, {len(items)} choices")
    kb_id = "" if kb is None else kb.manifest.id
    context = [kb_id, [e.question_id for e in training]]
    whole = collate_once(items, collator, folder=out, budget=held_bytes, log=log)
    model = fit_scorer(experiment, whole, out, context=context, device=device, log=log)
    asked = replace(collator, knowledge=Knowledge(kb) if knowledge and kb else None)
    scores = {name: accuracy(model, part, asked) for name, part in validation.items()}
    report = TaskReport(scores, {"train": len(training), **{n: len(p) for n, p in validation.items()}},
                        time.perf_counter() - start)  # fmt: skip
    training_record = {"experiment": asdict(experiment), "kb": kb_id, "scores": scores, **(provenance or {})}
    save_scorer(model, inputs, out, text=experiment.text, training=training_record)
    write_report(out, report)
    return report


def fit_scorer(
    experiment: TaskExperiment,
    whole: ChoiceBatch,
    out: Path,
    *,
    context: Sequence[object] = (),
    device: str = "cpu",
    log: Log = print,
) -> ChoiceScorer:
    """Train a scorer on the items of `whole`, which stays where it is; the state of training lies in `out`."""
    torch.manual_seed(experiment.seed)
    model = ChoiceScorer(whole.labels.shape[-1], experiment.scorer).to(device)

    def step(rows: Sequence[int]) -> TaskStep:
        batch = take(whole, rows).to(device)
        return TaskStep(
            model.embed(batch),
            lambda embeddings: model(batch, embeddings).logits,
            lambda logits: choice_loss(logits, batch.right),
            batch.mask,
            batch.region_mask,
        )

    settings = [identity(experiment), *context]
    fit(
        model, len(whole.kind), step, experiment.stage, seed=experiment.seed, state=out / "task.state",
        adversarial=experiment.adversarial, context=settings, log=log,
    )  # fmt: skip
    return model


def training_items(examples: Sequence[Example], kb: KnowledgeBase | None, gold_dropout: float) -> list[Item]:
    """Return the choices to learn from; some do not see the gold fact of their example.

    Without that a model learns that the fact is always there, and fails where the knowledge base lacks it.
    """
    gold = gold_fact_ids(examples, kb) if kb is not None and any(e.facts for e in examples) else None
    items = []
    for row, example in enumerate(examples):
        hidden: frozenset[int] = frozenset()
        rng = random.Random(f"gold dropout/{example.question_id}")
        if gold is not None and gold[row] != UNKNOWN and rng.random() < gold_dropout:
            hidden = frozenset([int(gold[row])])
        own = [answer_item(example)]
        own += [rationale_item(example)] if example.rationale_choices else []
        items += [replace(item, hidden=hidden) for item in own]
    return items


def accuracy(model: ChoiceScorer, examples: Sequence[Example], collator: ChoiceCollator) -> dict[str, float]:
    """Return Q→A and, where there are reasons, QA→R and Q→AR, in percent."""
    answers = choice_scores(model, [answer_item(e) for e in examples], collator)
    right = answers.argmax(1) == torch.tensor([-1 if e.label is None else e.label for e in examples])
    scores = {"q_a": right}
    if all(e.rationale_choices for e in examples):
        reasons = choice_scores(model, [rationale_item(e) for e in examples], collator)
        scores["qa_r"] = reasons.argmax(1) == torch.tensor([e.rationale_label for e in examples])
        scores["q_ar"] = right & scores["qa_r"]
    return {name: round(100 * float(values.float().mean()), 2) for name, values in scores.items()}
