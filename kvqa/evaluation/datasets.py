"""Which function evaluates which data set with which kind of model, and the one way to call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.evaluation.choices import evaluate_choices
from kvqa.evaluation.fvqa import evaluate_fvqa
from kvqa.evaluation.nlvr import evaluate_nlvr
from kvqa.evaluation.okvqa import evaluate_okvqa
from kvqa.evaluation.page import write_report_page
from kvqa.evaluation.records import Log
from kvqa.evaluation.tasks import evaluate_reading
from kvqa.models.checkpoint import ModelKind, model_kind


@dataclass(frozen=True)
class Evaluator:
    """How a data set is evaluated with one kind of model.

    Attributes:
        run: Takes `root`, `split`, `model`, `out`, `seed` and `log` by name, and what the attributes below say; leaves
            `predictions.jsonl` and `report.json` in `out` and returns the report, both by
            `kvqa.evaluation.finish.finish_run`, so that pages and comparisons can be made of them.
        needs_kb: It cannot do without `kb`, the folder of a knowledge base.
        options: What else it takes, of `kb`, `regions`, `vectors`, `ablations`, `hide_test_gold` and `trained_root`.
    """

    run: Callable[..., dict[str, Any]]
    needs_kb: bool = False
    options: frozenset[str] = frozenset()


_ALWAYS = frozenset({"ablations", "trained_root"})


def _graph(run: Callable[..., dict[str, Any]], *options: str) -> Evaluator:
    return Evaluator(run, needs_kb=True, options=_ALWAYS | {"kb", *options})


def _reading(name: str) -> Evaluator:
    return Evaluator(partial(evaluate_reading, name), options=_ALWAYS | {"regions"})


def _choice(name: str) -> Evaluator:
    return Evaluator(partial(evaluate_choices, name), options=_ALWAYS | {"kb", "regions", "vectors"})


EVALUATORS: Mapping[str, Mapping[ModelKind, Evaluator]] = {
    "fvqa": {"graph": _graph(evaluate_fvqa, "hide_test_gold")},
    "okvqa": {"graph": _graph(evaluate_okvqa), "reading": _reading("okvqa")},
    "vqa2": {"reading": _reading("vqa2")},
    "aokvqa": {"reading": _reading("aokvqa")},
    "nlvr": {"statement": Evaluator(evaluate_nlvr)},
    "nlvr2": {"reading": _reading("nlvr2")},
    "snli-ve": {"reading": _reading("snli_ve")},
    "vcr": {"choice": _choice("vcr")},
    "fvqa-r": {"choice": _choice("fvqa_r")},
}
"""Name on the command line, and kind of the model, to evaluator."""

KINDS: Mapping[ModelKind, str] = {
    "graph": "a model that answers over a knowledge base (kvqa train configs/fvqa.yaml)",
    "reading": "a model of a task that is read word by word (kvqa train configs/okvqa.yaml and the like)",
    "statement": "a model that judges drawings (kvqa train configs/nlvr.yaml)",
    "choice": "a model that chooses answers and reasons (kvqa train configs/vcr.yaml, configs/fvqa-r.yaml)",
}
"""Kind of a model to what it is, for messages."""


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

    A split without labels leaves predictions only; what is returned then has `remark` and no `scores`.

    Args:
        dataset: A key of `EVALUATORS`; `_` for `-` is understood.
        options: By name; those that are None or False count as not given.

    Raises:
        InputError, KnowledgeError: if there is no such data set, the model is of a kind that it is not evaluated with,
            an option does not apply, or data, model and knowledge base are not sound or do not fit together.
    """
    name = dataset.replace("_", "-")
    if name not in EVALUATORS:
        raise InputError(f"unknown data set {dataset!r}; allowed: {', '.join(EVALUATORS)}")
    kind = model_kind(model)
    if kind not in EVALUATORS[name]:
        wanted = ", or ".join(KINDS[known] for known in EVALUATORS[name])
        raise InputError(f"{model} holds {KINDS[kind]}; {name} is evaluated with {wanted}")
    evaluator = EVALUATORS[name][kind]
    given = {key: value for key, value in {**(options or {}), "kb": kb}.items() if value}
    if wrong := sorted(given.keys() - evaluator.options):
        flags = ", ".join("--" + key.replace("_", "-") for key in wrong)
        raise InputError(f"{name} with {KINDS[kind]} does not take {flags}; leave it out")
    if evaluator.needs_kb and kb is None:
        raise InputError(f"{name} is answered with a knowledge base; name its folder: --kb FOLDER")
    report = evaluator.run(root=root, split=split, model=model, out=out, seed=seed, log=log, **given)
    if "scores" in report:
        write_report_page(out)
    return report
