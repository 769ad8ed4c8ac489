"""From the records of a whole split to its files: what is the same for every data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kvqa.evaluation.ablations import ABLATIONS, GOLD_ABLATIONS
from kvqa.evaluation.overlap import Overlap
from kvqa.evaluation.records import Record, write_run
from kvqa.evaluation.summary import Table, intervals, means, summary, table_of
from kvqa.models.checkpoint import ModelManifest
from kvqa.provenance import commit
from retrieval.manifest import Manifest

Together = Callable[[Sequence[Record], str], tuple[Table, Sequence[str]]]
"""Records and the name of an ablation, "" for the run itself, to scores of several questions together: a value in
percent for each group of questions, and the pictures of each, which are drawn together in the bootstrap."""


def finish_run(
    out: Path,
    records: Sequence[Record],
    *,
    about: Mapping[str, Any],
    group_scores: Sequence[str],
    groups: Sequence[str],
    overlap: Overlap,
    model: ModelManifest,
    kb: Manifest | None,
    seed: int,
    start: float,
    ablations: Mapping[str, str] = GOLD_ABLATIONS | ABLATIONS,
    together: Together | None = None,
) -> dict[str, Any]:
    """Write `predictions.jsonl` and `report.json` into `out`, and return the report.

    Args:
        records: One for each question; see docs/evaluation.md for the keys. At least one.
        about: `dataset`, `split`, `protocol`, `primary` (the score that counts first), and settings of the run.
        group_scores, groups: Which scores are given by which groupings.
        overlap: With the pictures that the model was trained on.
        model, kb: Manifests; None for a run without a knowledge base.
        seed: Of the bootstrap.
        start: `time.perf_counter()` at the beginning.
        ablations: What each of them takes away or gives.
        together: For scores of several questions together.
    """
    report: dict[str, Any] = summary(records, group_scores=group_scores, groups=groups, seed=seed)
    for name, figures in report.get("ablations", {}).items():
        figures["about"] = ablations.get(name, "")
    if together is not None:
        for name, figures in {"": report, **report.get("ablations", {})}.items():
            table, pictures = together(records, name)
            figures["scores"] |= means(table)
            figures["intervals"] |= intervals(table, pictures, seed=seed)
    report |= {
        **about,
        "questions": len(records),
        "images": len({record["image"] for record in records}),
        "overlap": {**overlap.as_json(), "scores_without": _without(records, set(overlap.rows))},
        "seed": seed,
        "model": asdict(model),
        "kb": None if kb is None else {**asdict(kb), "id": kb.id},
        "commit": commit(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_run(out, records, report)
    return report


def _without(records: Sequence[Record], rows: set[int]) -> dict[str, float]:
    """Return the mean scores without some rows; nothing if there are none such, or none is left."""
    left = [record for i, record in enumerate(records) if i not in rows] if rows else []
    return means(table_of(left)) if left else {}
