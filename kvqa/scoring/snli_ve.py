"""SNLI-VE: does the photo entail the sentence? Plain accuracy over three labels (Xie et al. 2019, arXiv 1901.06706)."""

from __future__ import annotations

from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import as_id, by_id, field, read_pairs, read_records, read_text
from kvqa.scoring.ids import Handling, choose, join
from kvqa.scoring.report import Report

LABELS = ("entailment", "neutral", "contradiction")
NO_AGREEMENT = "-"
"""SNLI's label of a pair on which its annotators did not agree; such pairs are not scored."""


def score_snli_ve(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "accuracy",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return the accuracy as a fraction, overall and by true label.

    Args:
        predictions: Lines of `pairID,label`, or JSON records with `pairID` and `gold_label`, `label` or `prediction`.
        truth: JSON lines with `pairID` and `gold_label`.
        protocol: `accuracy`; there is no official script.
        ids: Score only these pairs.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file, a label or an id does not fit; there is no such protocol.
    """
    if protocol != "accuracy":
        raise InputError(f"SNLI-VE has no protocol {protocol!r}; allowed: accuracy")
    records = by_id(read_records(truth), "pairID", truth)
    gold = {name: _label(field(record, "gold_label", truth), truth) for name, record in records.items()}
    scored = {name: label for name, label in gold.items() if label != NO_AGREEMENT}
    joined = join(
        _read_predictions(predictions), choose(scored, ids), source=predictions, handling=handling,
        elsewhere=gold.keys(),
    )  # fmt: skip
    right = {name: joined.by_id.get(name) == scored[name] for name in joined.ids}
    passed_over = len(gold) - len(scored)
    return Report(
        dataset="snli-ve",
        protocol=protocol,
        about="plain accuracy over entailment, neutral and contradiction",
        unit="fraction",
        scores={"accuracy": sum(right.values()) / len(right)},
        groups={"per_label": _by_label(right, scored)},
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
        notes=(f"{passed_over:,} pairs without an agreed label are passed over",) if passed_over else (),
    )


def _read_predictions(path: Path) -> list[tuple[str, str]]:
    if not read_text(path).lstrip().startswith(("{", "[")):
        return [(name, _label(label, path)) for name, label in read_pairs(path)]
    return [(as_id(field(record, "pairID", path), path), _label(_said(record), path)) for record in read_records(path)]


def _said(record: dict[str, object]) -> object:
    return next((record[name] for name in ("prediction", "label", "gold_label") if name in record), None)


def _label(value: object, path: Path) -> str:
    label = str(value).strip().lower()
    if label not in (*LABELS, NO_AGREEMENT):
        raise InputError(f"{path}: {value!r} is no label; allowed: {', '.join(LABELS)}")
    return label


def _by_label(right: dict[str, bool], gold: dict[str, str]) -> dict[str, float]:
    of_label = {label: [right[name] for name in right if gold[name] == label] for label in LABELS}
    return {label: sum(values) / len(values) for label, values in of_label.items() if values}
