"""What adversarial training costs, and what it does to accuracy, clean and under attack.

    python scripts/adversarial_fvqa.py --root FVQA --out runs/adversarial [--seeds 0 1 2] [--epochs 4]

The task: tell from question and detected objects which relation the fact has that answers (FVQA's query type; 12
classes). A small cross-modal encoder learns it from scratch on three quarters of the pictures of train0, plain and
adversarially, from the same start and in the same order; the rest is attacked. No test split is read.

The cost of a step is CPU time on one thread, the median over batches that all kinds of training take in turns; it is
measured on the small encoder and, with `--real`, on the question-image encoder of the released size. Prints the tables
and leaves everything in `report.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.attack.curves import AttackBatch, attack_curves
from kvqa.attack.fvqa import closed_facts
from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.pairs import Pairs
from kvqa.models.crossmodal import CrossModalConfig, Embeddings, build_encoder
from kvqa.models.language import LanguageConfig
from kvqa.models.model import InputConfig, KvqaModel, ModelConfig
from kvqa.models.perturbation import AttackSettings, Parts, root_mean_square
from kvqa.models.text import TextFolder
from kvqa.models.vision_embedding import VisionConfig
from kvqa.training.adversarial import AdversarialSettings, Perturbable, adversarial_step
from kvqa.training.encoder_stage import EncoderStage, SearchSpace, backward
from kvqa.training.finetune import split_by_image
from kvqa.training.memory import keep_freed_memory
from kvqa.training.optim import adamw, linear_schedule
from kvqa.training.targets import Targets
from kvqa.vision.regions import box_geometry
from retrieval.manifest import write_text_safely

WORDS, REGIONS, BATCH = 24, 12, 32
FREE = AdversarialSettings(perturb="words", steps=3, lr=0.02)
PUBLISHED = replace(FREE, use_last_update=False, detach_clean=False)
FGSM = AdversarialSettings(method="fgsm", perturb="words", norm="linf", max_norm=0.005)
KINDS: dict[str, AdversarialSettings | None] = {
    "plain": None,
    "FGSM": FGSM,
    "PGD, 3 steps": replace(FGSM, method="pgd", lr=0.003),
    "free as published, K = 3": PUBLISHED,
    "free corrected, K = 3": FREE,
    "free corrected, K = 3, words and labels": replace(FREE, perturb="both"),
}
TRAINED = ("plain", "FGSM", "free corrected, K = 3")
SIZES = {"words": (0.0, 0.1, 0.2), "features": (0.0, 0.5)}


@dataclass(frozen=True)
class Questions:
    """N questions as tensors.

    Attributes:
        ids, mask: (N, T) word pieces of the question, numbered as they occur here; 0 is padding.
        labels, boxes, seen: (N, R, 384) vectors of detected labels, (N, R, 4) shares, (N, R) bool.
        relation: (N,) int64 class.
        vocabulary: Number of different word pieces.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor
    boxes: Tensor
    seen: Tensor
    relation: Tensor
    vocabulary: int = 0

    def pairs(self, rows: Sequence[int]) -> Pairs:
        """Return some questions with their pictures."""
        at = list(rows)
        return Pairs(self.ids[at], self.mask[at], self.labels[at].float(), self.boxes[at], self.seen[at])


class Classifier(nn.Module):
    """A small cross-modal encoder and a linear map to the classes."""

    def __init__(self, vocabulary: int, classes: int = 12) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"width": 128, "heads": 4, "hidden": 256}
        language = LanguageConfig(vocabulary=vocabulary, layers=1, positions=WORDS, padding_index=0, **sizes)
        vision = VisionConfig(kind="regions", feature_width=384, layers=1)
        config = CrossModalConfig(language=language, vision=vision, cross_layers=1, pool="both", **sizes)
        self.encoder = build_encoder(config)
        self.answer = nn.Linear(128, classes)

    def forward(self, words: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        """Return logits (B, classes)."""
        return self.answer(self.encoder.encode(Embeddings(words, labels), pairs).pooled)


def read_questions(examples: Sequence[Example], model: KvqaModel) -> Questions:
    """Turn examples into tensors; rare relations are one class, and so are the comparisons (`fast#f`)."""
    size = len(examples)
    relations = ["compare" if e.facts[0][1].endswith("#f") else e.facts[0][1] for e in examples]
    common = sorted(set(relations), key=lambda name: (-relations.count(name), name))[:11]
    found = Questions(
        torch.zeros(size, WORDS, dtype=torch.long),
        torch.zeros(size, WORDS, dtype=torch.bool),
        torch.zeros(size, REGIONS, 384, dtype=torch.float16),
        torch.zeros(size, REGIONS, 4),
        torch.zeros(size, REGIONS, dtype=torch.bool),
        torch.tensor([common.index(name) if name in common else 11 for name in relations]),
    )
    model.labels(sorted({r.label for e in examples for r in e.regions.regions[:REGIONS]}))  # all at once is faster
    for row, example in enumerate(examples):
        ids = model.tokenizer.encode(example.question).ids[:WORDS]
        found.ids[row, : len(ids)] = torch.tensor(ids)
        found.mask[row, : len(ids)] = True
        regions = replace(example.regions, regions=example.regions.regions[:REGIONS], features=None)
        count = max(1, len(regions.regions))
        found.seen[row, :count] = True  # a picture in which nothing was detected has one empty region
        if regions.regions:
            found.labels[row, :count] = model.labels([r.label for r in regions.regions]).half()
            found.boxes[row, :count] = torch.from_numpy(box_geometry(regions)[:, :4])
    known, numbers = found.ids.unique(return_inverse=True)  # sorted, so that padding stays 0
    return replace(found, ids=numbers, vocabulary=len(known))


def train_step(model: Classifier, questions: Questions, rows: Sequence[int], kind: AdversarialSettings | None) -> None:
    """Leave the gradients of a batch in the parameters."""
    pairs, wanted = questions.pairs(rows), questions.relation[list(rows)]
    clean = model.encoder.embed(pairs)
    if kind is None:
        F.cross_entropy(model(clean.words, clean.vision, pairs), wanted).backward()
        return
    adversarial_step(
        lambda words, visual: model(words, visual, pairs),
        Perturbable(clean.words, clean.vision, pairs.mask, pairs.region_mask),
        lambda logits: F.cross_entropy(logits, wanted),
        kind,
    )


def train(questions: Questions, rows: Sequence[int], kind: AdversarialSettings | None, seed: int, epochs: int) -> Any:
    """Return a trained classifier."""
    torch.manual_seed(seed)
    model = Classifier(questions.vocabulary).train()
    optimizer = adamw(model.parameters(), lr=1e-3)
    schedule = linear_schedule(optimizer, epochs * -(-len(rows) // BATCH))
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(rows)
        for start in range(0, len(order), BATCH):
            train_step(model, questions, order[start : start + BATCH].tolist(), kind)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model.eval().requires_grad_(False)


def attackable(model: Classifier, questions: Questions, rows: Sequence[int], on: str) -> AttackBatch:
    """Return held-out questions as they can be attacked."""
    pairs = questions.pairs(rows)
    clean = model.encoder.embed(pairs)
    values, mask = (clean.words, pairs.mask) if on == "words" else (clean.vision, questions.seen[list(rows)])

    def logits(parts: Parts) -> Tensor:
        return model(parts.get("words", clean.words), parts.get("features", clean.vision), pairs)

    units = {on: root_mean_square(values, mask)}
    return AttackBatch({on: values}, questions.relation[list(rows)], logits, {on: mask}, units)


def attacked(model: Classifier, questions: Questions, rows: Sequence[int], seed: int) -> dict[str, float]:
    """Return accuracies in percent, clean and by attack and size."""
    found = {}
    for on, sizes in SIZES.items():
        batches = [attackable(model, questions, rows[i : i + 128], on) for i in range(0, len(rows), 128)]
        methods: list[Any] = ["random", "fgsm", "pgd"]
        curves, _ = attack_curves(batches, methods, sizes, AttackSettings(steps=5), seed=seed)
        found["clean"] = curves["fgsm"][0].accuracy
        found |= {f"{on} {m} {p.eps:g}": p.accuracy for m, points in curves.items() for p in points[1:]}
    return found


def cost(step: Callable[[int, AdversarialSettings | None], None], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each kind of step in seconds; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(rounds + 1):
        for name, kind in KINDS.items():
            start = time.process_time()
            step(number, kind)
            times[name].append(time.process_time() - start)
    return {name: round(statistics.median(values[1:]), 4) for name, values in times.items()}


def real_step(root: Path, examples: Sequence[Example], model: KvqaModel) -> Callable[..., None]:
    """Return a step of the question-image encoder that searches the gold fact among FVQA's own facts."""
    rows, vectors = closed_facts(model, root)
    encoder, facts = model.encoder.train(), vectors.bfloat16()
    space = SearchSpace(facts, facts[:1], np.array([0]), facts[:1])
    stage = EncoderStage(answer=0, anchor=0, relation=0, side=0, visible=0, vocabulary=0)
    none = np.full(BATCH, -1, dtype=np.int64)

    def step(number: int, kind: AdversarialSettings | None) -> None:
        part = examples[number * BATCH : (number + 1) * BATCH]
        gold = np.array([rows.get(e.facts[0], -1) for e in part])
        batch = model.collator()(part)
        backward(encoder, batch, space, Targets(gold, *[none] * 6), replace(stage, adversarial=kind))
        encoder.zero_grad()

    return step


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--held-out", type=int, default=400, help="questions that are attacked")
    parser.add_argument("--rounds", type=int, default=20, help="batches on which a step is timed")
    parser.add_argument("--real", type=int, default=0, help="batches on which the large encoder is timed; 0: not")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    examples = [e for e in FvqaDataset(options.root).examples("train0") if e.facts]
    large = KvqaModel(ModelConfig(inputs=InputConfig(max_tokens=48)), TextFolder.find())
    questions = read_questions(examples, large)
    print(f"{len(examples)} questions read", flush=True)
    report: dict[str, Any] = {"kinds": {n: k and asdict(k) for n, k in KINDS.items()}, "runs": []}

    def keep() -> None:
        write_text_safely(options.out / "report.json", json.dumps(report, indent=2) + "\n")

    for seed in options.seeds:
        kept, aside = split_by_image(examples, 0.25, seed=seed, salt="adversarial")
        aside = aside[: options.held_out]
        for name in TRAINED:
            start = time.process_time()
            model = train(questions, kept, KINDS[name], seed, options.epochs)
            seconds = round(time.process_time() - start, 1)
            scores = attacked(model, questions, aside, seed)
            report["runs"].append({"seed": seed, "training": name, "cpu_s": seconds, "held_out": len(aside), **scores})
            print(report["runs"][-1], flush=True)
            keep()
    small = Classifier(questions.vocabulary).train()
    report["cpu_s_per_step"] = cost(
        lambda number, kind: train_step(small, questions, range(number * BATCH, (number + 1) * BATCH), kind),
        options.rounds,
    )
    if options.real:
        report["cpu_s_per_step_real"] = cost(real_step(options.root, examples, large), options.real)
    keep()
    print({name: values for name, values in report.items() if name.startswith("cpu")})


if __name__ == "__main__":
    main()
