"""From the records of a run to the figures of its report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvqa.evaluation.records import Record
from kvqa.metrics import bootstrap_interval, expected_calibration_error

BINS = 10
"""Bars of the calibration plot."""

Table = Mapping[str, NDArray[np.float64]]
"""Score name to one value (E,) in percent for each question."""


def table_of(records: Sequence[Record], *, ablation: str = "") -> dict[str, NDArray[np.float64]]:
    """Return the scores of the records, or those of one of their ablations."""
    rows = [record["ablations"][ablation]["scores"] if ablation else record["scores"] for record in records]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def summary(records: Sequence[Record], *, group_scores: Sequence[str], groups: Sequence[str], seed: int) -> Record:
    """Return `scores`, `intervals`, `by`, `calibration` and `ablations` of a report, all in percent.

    Args:
        records: At least one.
        group_scores: The scores that are given for each group.
        groups: The groupings, in order; one that no record has is an empty object.
        seed: Of the bootstrap, which draws pictures.
    """
    images = [record["image"] for record in records]
    table = table_of(records)
    out: Record = {
        "scores": {**means(table), "ece": calibration_error(records)},
        "intervals": intervals(table, images, seed=seed),
        "by": by_group(table, [record["groups"] for record in records], groups, group_scores),
        "calibration": calibration(records),
    }
    names = list(records[0].get("ablations", {}))
    if names:
        tables = {name: table_of(records, ablation=name) for name in names}
        out["ablations"] = {
            name: {"scores": means(altered), "intervals": intervals(altered, images, seed=seed)}
            for name, altered in tables.items()
        }
    return out


def means(table: Table) -> dict[str, float]:
    """Return the mean of each score with two decimals."""
    return {name: round(float(values.mean()), 2) for name, values in table.items()}


def intervals(table: Table, images: Sequence[str], *, seed: int) -> dict[str, list[float]]:
    """Return the 95 % interval of the mean of each score when pictures are drawn again."""
    out = {}
    for name, values in table.items():
        low, high = bootstrap_interval(values, images, seed=seed)
        out[name] = [round(low, 2), round(high, 2)]
    return out


def by_group(
    table: Table, groups: Sequence[Mapping[str, str]], names: Iterable[str], scores: Collection[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return grouping to value to number of questions and `scores`; values with most questions first."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        rows: dict[str, list[int]] = defaultdict(list)
        for i, group in enumerate(groups):
            if name in group:
                rows[group[name]].append(i)
        out[name] = {
            value: {"questions": len(which)}
            | {score: round(float(table[score][which].mean()), 2) for score in scores if score in table}
            for value, which in sorted(rows.items(), key=lambda item: -len(item[1]))
        }
    return out


def calibration_error(records: Sequence[Record]) -> float:
    """Return the expected calibration error, in percent, of `confidence` against `right`."""
    sure, right = _sure_and_right(records)
    return round(100 * expected_calibration_error(sure, right), 2)


def calibration(records: Sequence[Record], bins: int = BINS) -> list[dict[str, Any]]:
    """Return for each of `bins` intervals of confidence (low, high] its questions, mean confidence and accuracy."""
    sure, right = _sure_and_right(records)
    number = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    out: list[dict[str, Any]] = []
    for i in range(bins):
        inside = number == i
        some = bool(inside.any())
        out.append(
            {
                "from": round(100 * i / bins, 2),
                "to": round(100 * (i + 1) / bins, 2),
                "questions": int(inside.sum()),
                "confidence": round(100 * float(sure[inside].mean()), 2) if some else None,
                "accuracy": round(100 * float(right[inside].mean()), 2) if some else None,
            }
        )
    return out


def _sure_and_right(records: Sequence[Record]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sure = np.clip([record["confidence"] for record in records], 0, 1)
    return np.asarray(sure, dtype=np.float64), np.array([record["right"] for record in records], dtype=np.float64)
