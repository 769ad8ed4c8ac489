"""What adversarial training costs, and what it does to accuracy, clean and under attack.

    python scripts/adversarial_fvqa.py --root FVQA --out runs/adversarial [--seeds 0 1 2] [--questions 1000]

Trains the question-image encoder to find the gold fact among FVQA's own facts, on questions of train0, plain and
adversarially, from the same start and in the same order. A quarter of train0's pictures is kept aside; accuracy there
(the gold fact is first of all facts) is measured clean and under attacks on the word vectors. Facts that no training
question uses are hidden in training. No test split is read. Prints the tables and leaves them as `report.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kvqa.attack.curves import AttackBatch, attack_curves
from kvqa.attack.fvqa import attackable, closed_facts
from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.models.model import InputConfig, KvqaModel, ModelConfig
from kvqa.models.perturbation import AttackSettings
from kvqa.models.text import TextFolder
from kvqa.training.adversarial import AdversarialSettings
from kvqa.training.encoder_stage import EncoderStage, SearchSpace, backward, train_encoder
from kvqa.training.finetune import split_by_image
from kvqa.training.targets import Targets
from retrieval.manifest import write_text_safely

PLAIN = EncoderStage(epochs=2, answer=0, anchor=0, relation=0, side=0, visible=0, vocabulary=0)
FREE = AdversarialSettings(perturb="words", steps=3, lr=0.1)
PUBLISHED = replace(FREE, use_last_update=False, detach_clean=False)
FGSM = AdversarialSettings(method="fgsm", perturb="words", norm="linf", max_norm=0.005)
PGD = replace(FGSM, method="pgd", lr=0.005)
TIMED: dict[str, AdversarialSettings | None] = {
    "plain": None,
    "fgsm": FGSM,
    "pgd, 3 steps": PGD,
    "free as published, K = 3": PUBLISHED,
    "free corrected, K = 3": FREE,
    "free corrected, K = 3, words and labels": replace(FREE, perturb="both"),
}
TRAINED = ("plain", "fgsm", "free corrected, K = 3")
SIZES = (0.0, 0.05, 0.1)


def new_model(seed: int) -> KvqaModel:
    """Return an untrained model."""
    torch.manual_seed(seed)
    return KvqaModel(ModelConfig(inputs=InputConfig(max_tokens=48)), TextFolder.find())


def fact_targets(rows: Sequence[int]) -> Targets:
    """Return targets that have only the gold fact."""
    none = np.full(len(rows), -1, dtype=np.int64)
    return Targets(np.array(rows, dtype=np.int64), *[none] * 6)


def space_of(vectors: Tensor, shown: Sequence[int]) -> SearchSpace:
    """Return the facts (K, S) with zeros for those that training must not see."""
    kept = torch.zeros_like(vectors)
    kept[list(shown)] = vectors[list(shown)]
    return SearchSpace(kept.bfloat16(), kept[:1].bfloat16(), np.array([0]), kept[:1].bfloat16())


def batches(model: KvqaModel, items: Sequence[tuple[Example, int]], vectors: Tensor) -> Iterator[AttackBatch]:
    """Yield the held-out questions, as many as look alike together."""
    ordered = sorted(items, key=lambda item: len(item[0].question))
    for start in range(0, len(ordered), 32):
        part = ordered[start : start + 32]
        batch = model.collator()([example for example, _ in part])
        yield attackable(model, batch, torch.tensor([row for _, row in part]), vectors, "words")


def seconds_per_step(examples: Sequence[tuple[Example, int]], vectors: Tensor, rounds: int) -> dict[str, float]:
    """Return the median time of a forward and backward pass of each kind, taken in turns on the same batches."""
    model = new_model(0)
    encoder = model.encoder.train()
    space, times = space_of(vectors, range(len(vectors))), {name: [] for name in TIMED}  # type: ignore[var-annotated]
    for number in range(rounds + 1):
        part = examples[number * 32 : number * 32 + 32]
        batch = model.collator()([example for example, _ in part])
        for name, adversarial in TIMED.items():
            start = time.perf_counter()
            stage = replace(PLAIN, adversarial=adversarial)
            backward(encoder, batch, space, fact_targets([row for _, row in part]), stage)
            times[name].append(time.perf_counter() - start)
            encoder.zero_grad()
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first round warms up


def run(seed: int, name: str, known: Sequence[tuple[Example, int]], vectors: Tensor, options: Any) -> dict[str, Any]:
    """Train one encoder and attack it; return accuracies in percent by attack and size."""
    examples = [example for example, _ in known]
    kept, aside = split_by_image(examples, 0.25, seed=seed, salt="adversarial")
    rng = random.Random(seed)
    training = [known[i] for i in rng.sample(kept, min(options.questions, len(kept)))]
    held_out = [known[i] for i in rng.sample(aside, min(options.held_out, len(aside)))]
    model = new_model(seed)
    start = time.perf_counter()
    train_encoder(
        model.encoder,
        model.collator(),
        [example for example, _ in training],
        fact_targets([row for _, row in training]),
        space_of(vectors, sorted({row for _, row in training})),
        replace(PLAIN, epochs=options.epochs, adversarial=TIMED[name]),
        seed=seed,
        name=name,
        state=options.out / f"{seed}-{name.split(',')[0].replace(' ', '-')}.state",
        log=lambda line: print(line, flush=True),
    )
    seconds = time.perf_counter() - start
    model.eval().requires_grad_(False)
    settings = AttackSettings(steps=5)
    curves, count = attack_curves(
        batches(model, held_out, vectors), ["random", "fgsm", "pgd"], SIZES, settings, seed=seed
    )
    accuracy = {f"{m} {p.eps:g}": p.accuracy for m, points in curves.items() for p in points if p.eps}
    return {
        "seed": seed,
        "training": name,
        "seconds": round(seconds),
        "questions": len(training),
        "held out": count,
    } | {
        "clean": curves["fgsm"][0].accuracy,
        **accuracy,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="batches of 32 on which a step is timed")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, vectors = closed_facts(new_model(0), options.root)
    examples = FvqaDataset(options.root).examples("train0")
    known = [(e, rows[e.facts[0]]) for e in examples if e.facts and e.facts[0] in rows]
    report: dict[str, Any] = {"settings": {n: a and asdict(a) for n, a in TIMED.items()}, "runs": []}
    report["seconds_per_step"] = {n: round(s, 3) for n, s in seconds_per_step(known, vectors, options.rounds).items()}
    plain = report["seconds_per_step"]["plain"]
    for name, seconds in report["seconds_per_step"].items():
        print(f"| {name} | {seconds:.3f} | {seconds / plain:.2f} |", flush=True)
    for seed in options.seeds:
        for name in TRAINED:
            report["runs"].append(run(seed, name, known, vectors, options))
            print("| " + " | ".join(str(value) for value in report["runs"][-1].values()) + " |", flush=True)
            write_text_safely(options.out / "report.json", json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
