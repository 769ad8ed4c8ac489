"""The NLVR figures of docs/results.md: cross-validation on dev, or training on dev and one score on test.

    python scripts/nlvr_figures.py configs/nlvr.yaml --root NLVR --out runs/nlvr [--test] [--seed 0] [--variant all]

A model for each seed first learns the grammar; this stage reads nothing of the data set and is kept in OUT, so that
all folds and variants of a seed start from the same weights. Without --test, every variant is trained on five parts of
dev and judged on the sixth, in turn; test is not read. With --test it is trained on all of dev and judged on test.
Predictions are left in OUT in the official form, for `kvqa score nlvr`, and are not made again where they are there;
the figures are printed and left in `report-dev.json` or `report-test.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from kvqa.config import read_config
from kvqa.data.example import Example
from kvqa.data.nlvr import STATEMENTS, read_nlvr
from kvqa.evaluation.nlvr import official_lines
from kvqa.models.judge import new_model, truths
from kvqa.models.statement import StatementModel
from kvqa.provenance import commit
from kvqa.scoring.nlvr import score_nlvr
from kvqa.training.nlvr import NlvrExperiment, folds_of, learn_examples, learn_grammar
from retrieval.manifest import write_text_safely

FROM_SCRATCH = 30
"""Passes over dev where there is nothing to start from."""


def variants(experiment: NlvrExperiment) -> dict[str, NlvrExperiment]:
    """Return what is compared; in every variant but the first one thing is left out."""
    real, synthetic = experiment.real, experiment.synthetic
    scratch = replace(
        experiment,
        synthetic=replace(synthetic, steps=0),
        real=replace(real, synthetic=0, epochs=FROM_SCRATCH, lr=1e-3),
    )
    return {
        "all": experiment,
        "no-augmentation": replace(experiment, real=replace(real, augment=False)),
        "grammar-only": replace(experiment, real=replace(real, epochs=0)),
        "no-grammar": scratch,
        "sentence-only": replace(scratch, picture=False, real=replace(scratch.real, epochs=FROM_SCRATCH // 4)),
    }


def started(experiment: NlvrExperiment, seed: int, out: Path) -> StatementModel:
    """Return the model that has learnt the grammar, from OUT if it is there."""
    model = new_model(experiment.model, seed)
    if not experiment.synthetic.steps:
        return model
    learn_grammar(model, experiment.synthetic, seed=seed, state=out / f"grammar-{seed}.state", log=say)
    return model


def judge(
    experiment: NlvrExperiment, start: StatementModel, known: Sequence[Example], asked: Sequence[Example], seed: int
) -> list[float]:
    """Return the probabilities that `asked` are true, after training on `known`."""
    model = copy.deepcopy(start)
    learn_examples(model, known, experiment.real, seed=seed, picture=experiment.picture, log=say)
    return truths(model, asked, picture=experiment.picture).tolist()


Predicted = tuple[list[Example], list[float]]


def predict_test(experiment: NlvrExperiment, seed: int, root: Path, out: Path) -> Predicted:
    """Return the examples of test and the probabilities that they are true."""
    asked = list(read_nlvr(root, "test"))
    known = list(read_nlvr(root, experiment.split))
    return asked, judge(experiment, started(experiment, seed, out), known, asked, seed)


def cross_validate(experiment: NlvrExperiment, seed: int, root: Path, out: Path) -> Predicted:
    """Return the training examples, each judged by a model that has not seen its part."""
    asked: list[Example] = []
    found: list[float] = []
    start = started(experiment, seed, out)
    parts = folds_of(read_nlvr(root, experiment.split), experiment.folds)
    for number, part in enumerate(parts):
        known = [example for other in parts if other is not part for example in other]
        asked += part
        found += judge(experiment, start, known, part, seed * 100 + number)
    return asked, found


def run(experiment: NlvrExperiment, name: str, seed: int, *, root: Path, out: Path, test: bool) -> dict[str, float]:
    """Run one variant with one seed; return its scores."""
    split = "test" if test else experiment.split
    path = out / f"{split}-{name}-{seed}.csv"
    if not path.is_file():
        asked, found = (
            predict_test(experiment, seed, root, out) if test else cross_validate(experiment, seed, root, out)
        )
        write_text_safely(path, official_lines(asked, found))
    report = score_nlvr(path, STATEMENTS[split].locate(root))
    scores = {key: value for key, value in report.scores.items() if value is not None}
    labels = [one.label for one in read_nlvr(root, split)]
    scores["majority"] = max(labels.count(label) for label in (0, 1)) / len(labels)
    say(f"{split} {name} seed {seed}: " + ", ".join(f"{key} {100 * value:.1f}" for key, value in scores.items()))
    return scores


def table(report: dict[str, list[dict[str, float]]]) -> str:
    """Return the scores of all variants, mean ± standard deviation over seeds, in percent."""
    rows = ["| variant | accuracy | consistency | majority |", "|---|---|---|---|"]
    for name, runs in report.items():
        cells = []
        for key in ("accuracy", "consistency"):
            values = [100 * scores[key] for scores in runs]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        rows.append(f"| {name} | {' | '.join(cells)} | {100 * runs[0]['majority']:.1f} |")
    return "\n".join(rows)


def say(line: str) -> None:
    """Print a line at once, also into a file."""
    print(line, flush=True)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test", action="store_true", help="train on all of dev and score test")
    parser.add_argument("--seed", type=int, action="append", help="instead of the config's; may be repeated")
    parser.add_argument("--variant", action="append", help="instead of all; may be repeated")
    args = parser.parse_args()
    torch.set_num_threads(1)  # at these sizes a second thread gains nothing
    experiment = read_config(args.config, NlvrExperiment)
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, list[dict[str, float]]] = {}
    for seed in args.seed or experiment.seeds:
        for name, variant in variants(experiment).items():
            if not args.variant or name in args.variant:
                scores = run(variant, name, seed, root=args.root, out=args.out, test=args.test)
                report.setdefault(name, []).append(scores)
    write_text_safely(
        args.out / f"report-{'test' if args.test else experiment.split}.json",
        json.dumps({"commit": commit(), "experiment": asdict(experiment), "scores": report}, indent=1) + "\n",
    )
    print(table(report))


if __name__ == "__main__":
    main()
