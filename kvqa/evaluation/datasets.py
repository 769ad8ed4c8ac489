"""Which function evaluates which data set, and the one way to call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.evaluation.fvqa import evaluate_fvqa
from kvqa.evaluation.nlvr import evaluate_nlvr
from kvqa.evaluation.okvqa import evaluate_okvqa
from kvqa.evaluation.page import write_report_page
from kvqa.evaluation.records import Log


@dataclass(frozen=True)
class Evaluator:
    """How a data set is evaluated.

    Attributes:
        run: Takes `root`, `split`, `model`, `out`, `seed` and `log` by name, and what the attributes below say; leaves
            `predictions.jsonl` and `report.json` in `out` and returns the report, both by
            `kvqa.evaluation.finish.finish_run`, so that pages and comparisons can be made of them.
        needs_kb: It takes `kb`, the folder of a knowledge base.
        options: What else it takes, of `ablations`, `hide_test_gold` and `trained_root`.
    """

    run: Callable[..., dict[str, Any]]
    needs_kb: bool = True
    options: frozenset[str] = frozenset()


EVALUATORS: dict[str, Evaluator] = {
    "fvqa": Evaluator(evaluate_fvqa, options=frozenset({"ablations", "hide_test_gold", "trained_root"})),
    "nlvr": Evaluator(evaluate_nlvr, needs_kb=False),
    "okvqa": Evaluator(evaluate_okvqa, options=frozenset({"ablations", "trained_root"})),
}
"""Name on the command line to evaluator."""


def evaluate(
    dataset: str,
    *,
    root: Path,
    split: str,
    model: Path,
    out: Path,
    kb: Path | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Evaluate a model on a split; leave predictions, report and page in `out`, and return the report.

    Args:
        dataset: A key of `EVALUATORS`.
        options: By name; those that are None or False count as not given.

    Raises:
        InputError, KnowledgeError: if there is no such data set, it does not take an option, or data, model and
            knowledge base are not sound or do not fit together.
    """
    if dataset not in EVALUATORS:
        raise InputError(f"unknown data set {dataset!r}; allowed: {', '.join(EVALUATORS)}")
    evaluator = EVALUATORS[dataset]
    given = {name: value for name, value in (options or {}).items() if value}
    if wrong := sorted(given.keys() - evaluator.options):
        flags = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise InputError(f"{dataset} does not take {flags}; leave it out")
    if evaluator.needs_kb:
        if kb is None:
            raise InputError(f"{dataset} is answered with a knowledge base; name its folder: --kb FOLDER")
        given["kb"] = kb
    report = evaluator.run(root=root, split=split, model=model, out=out, seed=seed, log=log, **given)
    write_report_page(out)
    return report
