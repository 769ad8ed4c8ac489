"""Which function scores which data set, and with which protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.scoring import fvqa, vqa_variants
from kvqa.scoring.aokvqa import score_aokvqa
from kvqa.scoring.contrast import score_nlvr2_contrast
from kvqa.scoring.fvqa import score_fvqa, score_zs_fvqa
from kvqa.scoring.ids import Handling
from kvqa.scoring.kvqa_hops import score_kvqa
from kvqa.scoring.nlvr import score_nlvr, score_nlvr2
from kvqa.scoring.plain import score_daquar, score_gqa
from kvqa.scoring.report import Report
from kvqa.scoring.snli_ve import score_snli_ve
from kvqa.scoring.vcr import score_vcr
from kvqa.scoring.vqa import score_vqa


@dataclass(frozen=True)
class Scorer:
    """How one data set is scored.

    Attributes:
        score: Takes `predictions` and `truth`, and `protocol`, `ids` and `handling` by name.
        protocols: Allowed names, the default first.
    """

    score: Callable[..., Report]
    protocols: tuple[str, ...]


SCORERS: Mapping[str, Scorer] = {
    "vqa2": Scorer(partial(score_vqa, dataset="vqa2"), tuple(vqa_variants.PROTOCOLS)),
    "okvqa": Scorer(partial(score_vqa, dataset="okvqa"), tuple(vqa_variants.PROTOCOLS)),
    "aokvqa": Scorer(score_aokvqa, ("official",)),
    "nlvr2": Scorer(score_nlvr2, ("official",)),
    "nlvr2-contrast": Scorer(score_nlvr2_contrast, ("group",)),
    "nlvr": Scorer(score_nlvr, ("structured", "images")),
    "snli-ve": Scorer(score_snli_ve, ("accuracy",)),
    "vcr": Scorer(score_vcr, ("official",)),
    "fvqa": Scorer(score_fvqa, ("lemma", "exact")),
    "zs-fvqa": Scorer(score_zs_fvqa, ("exact", "lemma")),
    "kvqa": Scorer(score_kvqa, ("exact",)),
    "gqa": Scorer(score_gqa, ("accuracy",)),
    "daquar": Scorer(score_daquar, ("accuracy",)),
}
"""Every data set that `kvqa score` knows."""

assert set(SCORERS["fvqa"].protocols) == set(fvqa.PROTOCOLS)


def score_file(
    dataset: str,
    predictions: Path,
    truth: Path,
    *,
    protocol: str | None = None,
    ids: Path | None = None,
    originals: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return the scores of a prediction file; see the function of the data set for the layouts of the files.

    Args:
        dataset: A key of `SCORERS`.
        predictions: The prediction file, plain or gzip.
        truth: The file with the right answers, plain or gzip.
        protocol: One of the data set's protocols; None for its default.
        ids: Score only what this list names.
        originals: The labelled originals of a contrast set.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if there is no such data set or protocol, or a file or an id does not fit.
        kb.errors.KnowledgeError: if a file cannot be opened.
    """
    if dataset not in SCORERS:
        raise InputError(f"kvqa score knows no data set {dataset!r}; allowed: {', '.join(SCORERS)}")
    scorer = SCORERS[dataset]
    extra = {"originals": originals} if originals is not None else {}
    if extra and dataset != "nlvr2-contrast":
        raise InputError(f"{dataset} has no originals; leave --originals out, it is for nlvr2-contrast")
    chosen = protocol or scorer.protocols[0]
    if chosen not in scorer.protocols:
        raise InputError(f"{dataset} has no protocol {chosen!r}; allowed: {', '.join(scorer.protocols)}")
    return scorer.score(predictions, truth, protocol=chosen, ids=ids, handling=handling, **extra)


def mean_report(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the reports of several splits as one JSON object, with the mean of each score over the splits.

    FVQA is reported so: the mean over its five splits. A score that a split lacks has no mean.
    """
    first = reports[0]
    means = {}
    for name in first.scores:
        values = [report.scores[name] for report in reports]
        known = [value for value in values if value is not None]
        means[name] = round(sum(known) / len(known), 4) if len(known) == len(values) else None
    return {
        "dataset": first.dataset,
        "protocol": first.protocol,
        "unit": first.unit,
        "mean": means,
        "splits": [report.as_json() for report in reports],
    }
