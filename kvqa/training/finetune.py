"""The recipe that trains a model on FVQA: encoder by cross-fitting, then reasoner, then temperature.

Everything random comes from the seed; each stage leaves its state in the output folder, and a run that was
stopped goes on from there with the same result.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.fact_questions import FactQuestions
from kvqa.data.gold import allowed_facts, gold_fact_ids
from kvqa.data.graph_batch import GraphItem
from kvqa.data.graph_features import View, normal
from kvqa.errors import InputError
from kvqa.models.checkpoint import save_model
from kvqa.models.graph import GraphReasoner
from kvqa.models.model import KvqaModel
from kvqa.models.predict import Prediction, graph_items, predict
from kvqa.models.pretrained import start_from
from kvqa.models.text import TextFolder
from kvqa.training.encoder_stage import SearchSpace, train_encoder
from kvqa.training.experiment import Experiment
from kvqa.training.reasoner_stage import train_reasoner
from kvqa.training.targets import build_targets, build_vocabulary
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import write_text_safely
from retrieval.retriever import Retriever

Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainingReport:
    """What a run reports: scores on held-out training images (percent, empty without any), temperature, seconds."""

    held_out: dict[str, float]
    temperature: float
    seconds: float


def finetune(
    experiment: Experiment,
    examples: Sequence[Example],
    kb: KnowledgeBase,
    out: Path,
    *,
    hideable: NDArray[np.bool_] | None = None,
    device: str = "cpu",
    provenance: dict[str, str] | None = None,
    log: Log = print,
) -> TrainingReport:
    """Train on `examples` and leave the model in `out`.

    Args:
        hideable: (num_facts,) bool, facts that only the data set provides; those that no training example uses are
            kept out of training, else the model would see gold facts of test questions as negatives.
        device: `"cpu"` or a CUDA device.
        provenance: Goes into the model's manifest, such as data set, commit and versions.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    kept, aside = split_by_image(examples, experiment.held_out, seed=experiment.seed, salt="held-out")
    if not kept:
        raise InputError(f"no training example is left with held_out {experiment.held_out}; lower it")
    training = [examples[i] for i in kept]
    _check_enough(training, experiment)
    vocabulary = build_vocabulary(training, at_least=experiment.vocabulary_at_least)
    torch.manual_seed(experiment.seed)
    model = KvqaModel(experiment.model, TextFolder.find(experiment.model.text), vocabulary)
    begun = start_from(model, Path(experiment.init), text_sha256=model.text.sha256) if experiment.init else None
    model.to(device)
    allowed = allowed_facts(training, kb, hideable)
    retriever = Retriever(
        kb,
        dense=experiment.retriever.dense,
        linked=experiment.retriever.linked,
        likely=experiment.retriever.likely,
        allowed=allowed,
    )
    log(f"{len(training)} questions, {len(vocabulary)} answers, {int((~allowed).sum())} facts hidden from training")
    if experiment.fact_questions:
        wanted = round(experiment.fact_questions * len(training))
        made = FactQuestions(kb, allowed).make(training, wanted, seed=experiment.seed)
        log(f"{len(made)} questions made of facts")
        training += made

    # All at once and in one order: the last bit of a vector may depend on its company in a product, and a run that
    # goes on from its state shall meet the same numbers as one that was never stopped.
    model.labels(sorted({"image"} | {region.label for example in training for region in example.regions.regions}))
    context = _context(experiment, kb, allowed, vocabulary)
    if begun is not None:
        context += f" {begun.manifest.weights_sha256}"
    views = _train_encoders(experiment, model, training, kb, allowed, out, context, log)
    texts = dict(enumerate(kb.store.entity_texts()))
    items = graph_items(model, training, views, retriever, texts)
    gold = gold_fact_ids(training, kb)
    kept, unseen = split_by_image(training, experiment.calibration, seed=experiment.seed, salt="calibration")
    unseen = [i for i in unseen if "made_from" not in training[i].meta]  # confidence is about what people ask
    part = [items[i] for i in kept], [training[i] for i in kept], gold[kept]
    _train_reasoner(experiment, model, *part, kb, out, f"{context} {experiment.retriever}", log)
    temperature = _calibrate(model, [items[i] for i in unseen], [training[i] for i in unseen], kb, log)
    model.config = replace(model.config, temperature=temperature)

    held_out = [examples[i] for i in aside]
    scores = held_out_scores(model, held_out, replace(retriever, allowed=None)) if held_out else {}
    report = TrainingReport(scores, temperature, time.perf_counter() - start)
    save_model(
        model,
        out,
        training={"experiment": asdict(experiment), "kb": kb.manifest.id, "held_out": scores, **(provenance or {})},
    )
    write_text_safely(out / "training.json", json.dumps(asdict(report), indent=2) + "\n")
    return report


def _check_enough(training: Sequence[Example], experiment: Experiment) -> None:
    images = len({example.image for example in training})
    if images < experiment.folds:
        raise InputError(f"{images} training pictures cannot be split into folds {experiment.folds}; lower folds")
    if round(experiment.calibration * images) >= images:
        raise InputError(f"calibration {experiment.calibration} leaves none of {images} pictures; lower calibration")


def _context(experiment: Experiment, kb: KnowledgeBase, allowed: NDArray[np.bool_], vocabulary: Sequence[str]) -> str:
    """Return what both stages depend on besides their own settings; a state of another context is refused."""
    shown = hashlib.sha256(np.packbits(allowed).tobytes()).hexdigest()
    made = f" {experiment.fact_questions}" if experiment.fact_questions else ""
    return f"{kb.manifest.id} {shown} {experiment.model.text} {experiment.folds} {list(vocabulary)}{made}"


def split_by_image(examples: Sequence[Example], share: float, *, seed: int, salt: str) -> tuple[list[int], list[int]]:
    """Split rows so that about `share` of the *images* go to the second part; no image is in both."""
    images = sorted({example.image for example in examples})
    chosen = set(random.Random(f"{salt}/{seed}").sample(images, round(share * len(images))))
    first = [i for i, e in enumerate(examples) if e.image not in chosen]
    return first, [i for i, e in enumerate(examples) if e.image in chosen]


def _train_encoders(
    experiment: Experiment,
    model: KvqaModel,
    training: Sequence[Example],
    kb: KnowledgeBase,
    allowed: NDArray[np.bool_],
    out: Path,
    context: str,
    log: Log,
) -> list[View]:
    """Train the encoder on everything, and return views of each example by an encoder that did not see its image."""
    targets = build_targets(training, kb, model.vocabulary)
    space = SearchSpace.of(kb, allowed, targets, seed=experiment.seed).to(model.device)
    initial = copy.deepcopy({n: p for n, p in model.encoder.named_parameters() if p.requires_grad})
    views: dict[int, View] = {}
    stage, everything = experiment.encoder_stage, list(range(len(training)))
    for name, rows, others in _fold_plan(training, experiment):
        with torch.no_grad():
            for parameter_name, parameter in model.encoder.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(initial[parameter_name])
        train_encoder(
            model.encoder,
            model.collator(),
            [training[i] for i in others],
            targets.take(others),
            space,
            replace(stage, epochs=stage.fold_epochs) if rows and others != everything else stage,
            seed=experiment.seed,
            name=name,
            state=out / f"{name}.state",
            context=context,
            log=log,
        )
        views.update(zip(rows, model.views([training[i] for i in rows]), strict=True))
    return [views[i] for i in range(len(training))]


def _fold_plan(training: Sequence[Example], experiment: Experiment) -> list[tuple[str, list[int], list[int]]]:
    """Return (name, rows to view, rows to train on) of each encoder; the last one is trained on everything."""
    everything = list(range(len(training)))
    if experiment.folds == 1:
        return [("encoder", everything, everything)]
    images = sorted({example.image for example in training})
    random.Random(f"folds/{experiment.seed}").shuffle(images)
    fold_of = {image: position % experiment.folds for position, image in enumerate(images)}
    plan = []
    for fold in range(experiment.folds):
        rows = [i for i in everything if fold_of[training[i].image] == fold]
        plan.append((f"fold-{fold}", rows, [i for i in everything if fold_of[training[i].image] != fold]))
    return [*plan, ("encoder", [], everything)]


def _train_reasoner(
    experiment: Experiment,
    model: KvqaModel,
    items: Sequence[GraphItem],
    training: Sequence[Example],
    gold: NDArray[np.int64],
    kb: KnowledgeBase,
    out: Path,
    context: str,
    log: Log,
) -> None:
    torch.manual_seed(experiment.seed)
    model.reasoner = GraphReasoner(model.config.reasoner).to(model.device)
    train_reasoner(
        model.reasoner,
        items,
        training,
        [int(g) for g in gold],
        kb,
        model.labels,
        experiment.reasoner_stage,
        seed=experiment.seed,
        name="reasoner",
        state=out / "reasoner.state",
        context=context,
        log=log,
    )


def _calibrate(
    model: KvqaModel, items: Sequence[GraphItem], examples: Sequence[Example], kb: KnowledgeBase, log: Log
) -> float:
    """Return the temperature fitted on training images that the reasoner did not see; 1 without any."""
    if not items:
        return 1.0
    predictions = predict(model, items, kb)
    temperature = fit_temperature(predictions, examples)
    accuracy = np.mean([is_right(p, e) for p, e in zip(predictions, examples, strict=True)])
    log(f"calibration: top-1 {100 * accuracy:.1f} on {len(items)} unseen questions, temperature {temperature:.2f}")
    return temperature


def is_right(prediction: Prediction, example: Example, k: int = 1) -> bool:
    """Say whether the reference answer is among the first `k`."""
    return normal(example.answers[0]) in [answer for answer, _ in prediction.answers[:k]]


def fit_temperature(predictions: Sequence[Prediction], examples: Sequence[Example]) -> float:
    """Return the temperature, of a grid, that gives the reference answers the highest likelihood."""
    rows = []
    for prediction, example in zip(predictions, examples, strict=True):
        shares = np.array([share for _, share in prediction.answers])
        right = np.array([answer == normal(example.answers[0]) for answer, _ in prediction.answers])
        shares, right = np.append(shares, max(1e-9, 1 - shares.sum())), np.append(right, not right.any())
        rows.append((np.log(shares + 1e-9), right))

    def loss(temperature: float) -> float:
        total = 0.0
        for logs, right in rows:
            scaled = logs / temperature
            total -= np.logaddexp.reduce(scaled[right]) - np.logaddexp.reduce(scaled)
        return total

    return float(min(np.arange(0.5, 4.01, 0.05), key=loss))


def held_out_scores(model: KvqaModel, examples: Sequence[Example], retriever: Retriever) -> dict[str, float]:
    """Return the scores, in percent, by which settings are chosen."""
    views = model.views(examples)
    ranked = retriever.rank(np.stack([view.fact for view in views]), 100)
    gold = gold_fact_ids(examples, retriever.kb)
    hits = ranked == gold[:, None]
    predictions = predict(model, graph_items(model, examples, views, retriever), retriever.kb)
    facts = [p.ranked_facts()[:3] for p in predictions]
    scores = {f"recall_{k}": hits[:, :k].any(1).mean() for k in (1, 10, 100)}
    for k in (1, 3):
        scores[f"answer_top{k}"] = np.mean([is_right(p, e, k) for p, e in zip(predictions, examples, strict=True)])
        scores[f"fact_top{k}"] = np.mean([g in f[:k] for g, f in zip(gold, facts, strict=True)])
    return {name: round(100 * float(value), 2) for name, value in scores.items()}
