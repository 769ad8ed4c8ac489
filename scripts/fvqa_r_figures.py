"""Measures FVQA-R: Q→A, QA→R and Q→AR of one ablation, over several seeds, on validation and, with --test, on test.

    python scripts/fvqa_r_figures.py configs/fvqa-r.yaml --root data/fvqa_r --kb kb-s \
        --own-facts data/fvqa/facts.tsv.gz --mode full --seeds 0 1 2 --out runs/fvqa-r [--test]

Modes: full, no-knowledge, no-image, question-only, answer-only. With knowledge, test questions are answered twice: over
the whole knowledge base, and without the facts that only FVQA provides and that no training question uses. Prints a
line for each seed, and leaves models and `figures.json` in --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from kb.errors import KnowledgeError
from kvqa.config import read_config
from kvqa.data.choice_facts import Knowledge
from kvqa.data.choices import ChoiceBatch, ChoiceCollator, answer_item, rationale_item, take
from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.data.gold import allowed_facts, facts_of_source
from kvqa.errors import InputError
from kvqa.models.choose import save_scorer
from kvqa.models.task_heads import ChoiceScorer
from kvqa.models.vectors import text_vectors
from kvqa.training.choose import fit_scorer, training_items
from kvqa.training.collated import collate_once
from kvqa.training.task import TaskExperiment
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import write_text_safely

MODES: dict[str, dict[str, bool]] = {
    "full": {},
    "no-knowledge": {"knowledge": False},
    "no-image": {"image": False},
    "question-only": {"knowledge": False, "image": False},
    "answer-only": {"knowledge": False, "image": False, "question": False},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure FVQA-R.")
    parser.add_argument("config", type=Path)
    for name in ("root", "kb", "own-facts", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--mode", choices=MODES, default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", action="store_true")
    try:
        measure(parser.parse_args())
    except (InputError, KnowledgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace) -> None:
    experiment = read_config(options.config, TaskExperiment)
    experiment = replace(experiment, inputs=replace(experiment.inputs, **MODES[options.mode]))
    dataset = Dataset(experiment.dataset, options.root)
    training = dataset.examples(experiment.split)
    parts = {"val": dataset.examples("val"), **({"test": dataset.examples("test")} if options.test else {})}
    vectors = text_vectors(options.vectors, text=experiment.text)
    kb = KnowledgeBase.open(options.kb) if experiment.inputs.knowledge else None
    known = {"": Knowledge(kb) if kb else None}
    if kb is not None:
        allowed = allowed_facts(training, kb, facts_of_source(kb, options.own_facts))
        known[" without its gold"] = Knowledge(kb, allowed=allowed)
    collators = {name: ChoiceCollator(vectors, experiment.inputs, k) for name, k in known.items()}
    items = training_items(training, kb, experiment.gold_dropout)
    everything = [*items, *(make(e) for part in parts.values() for e in part for make in (answer_item, rationale_item))]
    vectors.learn(collators[""].texts(everything))
    whole = collate_once(items, collators[list(collators)[-1]])
    batches = {
        f"{part}{name}": collate_examples(examples, collator)
        for part, examples in parts.items()
        for name, collator in collators.items()
    }
    for seed in options.seeds:
        out = options.out / f"{options.mode}-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        chosen = replace(experiment, seed=seed, name=f"{experiment.name}-{options.mode}")
        model = fit_scorer(chosen, whole, out, context=[e.question_id for e in training], log=say)
        scores = {name: score(model, *pair) for name, pair in batches.items()}
        save_scorer(model, chosen.inputs, out, text=chosen.text, training={"experiment": asdict(chosen)})
        write_text_safely(out / "figures.json", json.dumps(scores, indent=2) + "\n")
        say(f"{options.mode} seed {seed} {json.dumps(scores)}")


def collate_examples(examples: Sequence[Example], collator: ChoiceCollator) -> tuple[ChoiceBatch, ChoiceBatch]:
    """Return the choices of answers and those of reasons, given the right answers."""
    return (
        collate_once([answer_item(e) for e in examples], collator),
        collate_once([rationale_item(e) for e in examples], collator),
    )


@torch.inference_mode()
def score(model: ChoiceScorer, answers: ChoiceBatch, reasons: ChoiceBatch) -> dict[str, float]:
    """Return Q→A, QA→R and Q→AR in percent."""
    right = []
    for whole in (answers, reasons):
        rows = range(len(whole.kind))
        parts = [take(whole, rows[start : start + 64]) for start in range(0, len(rows), 64)]
        right.append(torch.cat([model(part).logits.argmax(1) == part.right for part in parts]))
    both = right[0] & right[1]
    return {
        name: round(100 * float(values.float().mean()), 2)
        for name, values in zip(("q_a", "qa_r", "q_ar"), (*right, both), strict=True)
    }


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
