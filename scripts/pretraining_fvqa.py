"""What pretraining gives: an encoder that finds gold facts of FVQA, trained with and without it.

    python scripts/pretraining_fvqa.py --root DATA --out runs/pretraining [--seeds 0 1 2] [--questions 1000]

A quarter of train0's pictures is kept aside, also from pretraining, as are the pictures of the evaluation splits of the
config. One encoder is pretrained (`--steps`). Then, for each seed, two encoders are trained on questions of the other
pictures, one from scratch and one from the pretrained weights, all else equal, and asked for the gold fact among all
facts of FVQA's own file. Prints recall at 1 and 10 in percent and leaves them in `report.json`. No test split is read
but for the names of pictures to leave out. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kvqa.attack.fvqa import closed_facts
from kvqa.config import read_config
from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.pretrain_pairs import gather_pairs, picture_key
from kvqa.models.model import KvqaModel, ModelConfig
from kvqa.models.pretrained import start_from
from kvqa.models.text import TextFolder
from kvqa.training.encoder_stage import EncoderStage, SearchSpace, train_encoder
from kvqa.training.finetune import split_by_image
from kvqa.training.memory import keep_freed_memory
from kvqa.training.pretrain import pretrain
from kvqa.training.pretrain_config import Pretraining
from kvqa.training.targets import Targets
from retrieval.manifest import write_text_safely
from retrieval.precision import fast_bfloat16

FACT_ONLY = EncoderStage(answer=0, anchor=0, relation=0, side=0, visible=0, vocabulary=0)
Known = tuple[Example, int]
"""A question and the row of its gold fact."""


def new_model(experiment: Pretraining, seed: int) -> KvqaModel:
    torch.manual_seed(seed)
    config = ModelConfig(text=experiment.model.text, inputs=experiment.model.inputs, encoder=experiment.model.encoder)
    return KvqaModel(config, TextFolder.find(experiment.model.text))


def search_space(vectors: Tensor, shown: Sequence[int]) -> SearchSpace:
    """Return the facts (K, S) with zeros for those that training must not see."""
    kept = torch.zeros_like(vectors)
    kept[list(shown)] = vectors[list(shown)]
    kept = kept.bfloat16() if fast_bfloat16() else kept
    return SearchSpace(kept, kept[:1], np.array([0]), kept[:1])


def train(model: KvqaModel, known: Sequence[Known], vectors: Tensor, *, epochs: int, seed: int, state: Path) -> None:
    rows = [row for _, row in known]
    none = np.full(len(rows), -1, dtype=np.int64)
    train_encoder(
        model.encoder,
        model.collator(),
        [example for example, _ in known],
        Targets(np.array(rows, dtype=np.int64), *[none] * 6),
        search_space(vectors, sorted(set(rows))),
        replace(FACT_ONLY, epochs=epochs),
        seed=seed,
        name=state.stem,
        state=state,
        log=lambda line: print(line, flush=True),
    )


def recall(model: KvqaModel, known: Sequence[Known], vectors: Tensor) -> dict[str, float]:
    """Return recall at 1 and 10 in percent."""
    views = model.eval().views([example for example, _ in known])
    scores = torch.from_numpy(np.stack([view.fact for view in views])) @ vectors.T  # (N, K)
    gold = torch.tensor([row for _, row in known])
    ranks = (scores > scores.gather(1, gold[:, None])).sum(1)
    return {f"recall@{k}": 100 * (ranks < k).float().mean().item() for k in (1, 10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of all data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/pretrain.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--held-out", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()

    experiment = read_config(options.config, Pretraining)
    experiment = replace(experiment, run=replace(experiment.run, steps=options.steps, batch=options.batch))
    examples = FvqaDataset(options.root / "fvqa").examples("train0")
    kept, aside = split_by_image(examples, 0.25, seed=0, salt="pretraining")
    hidden = {picture_key(examples[i].image) for i in aside}
    data = gather_pairs(
        options.root,
        seen=experiment.seen,
        texts=experiment.texts,
        leave_out=experiment.leave_out,
        also_leave_out=hidden,
    )
    started = time.perf_counter()
    report = pretrain(experiment, data, options.out / "pretrained", log=lambda line: print(line, flush=True))
    assert not hidden & set(data.pictures)

    rows, vectors = closed_facts(new_model(experiment, 0), options.root / "fvqa")
    known = [(example, rows.get(example.facts[0], -1)) for example in examples]
    results: dict[str, list[dict[str, float]]] = {"untrained": [], "from scratch": [], "pretrained": []}
    for seed in options.seeds:
        rng = random.Random(seed)
        training = [known[i] for i in rng.sample(kept, min(options.questions, len(kept))) if known[i][1] >= 0]
        held_out = [known[i] for i in aside if known[i][1] >= 0][: options.held_out]
        for name in ("from scratch", "pretrained"):
            model = new_model(experiment, seed)
            if not results["untrained"]:
                results["untrained"].append(recall(model, held_out, vectors))
            if name == "pretrained":
                start_from(model, options.out / "pretrained", text_sha256=model.text.sha256)
            state = options.out / f"{name.replace(' ', '-')}-{seed}.state"
            train(model, training, vectors, epochs=options.epochs, seed=seed, state=state)
            results[name].append(recall(model, held_out, vectors))
            print(seed, name, len(training), len(held_out), results[name][-1], flush=True)
    for name, found in results.items():
        for measure in ("recall@1", "recall@10"):
            values = [scores[measure] for scores in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            print(f"{name:<14} {measure:<10} {statistics.mean(values):6.1f} ± {spread:.1f}  {values}")
    record = {"pretraining": vars(report), "seconds": time.perf_counter() - started, "results": results}
    write_text_safely(options.out / "report.json", json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
