"""Contrast sets (Gardner et al. 2020, arXiv 2004.02709): accuracy, and consistency over the variants of one original.

An identifier is that of the original and `-<k>`. The published evaluator for NLVR2 reads every prediction as true and
cuts two characters off an identifier, which is wrong from the tenth variant on; here labels and predictions are parsed
and the last part is cut. Consistency is reported both over the variants alone, as published, and with the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import Record, by_id, field, read_pairs, read_records
from kvqa.scoring.ids import SHOWN, Handling, choose, join
from kvqa.scoring.report import Report

_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})


@dataclass(frozen=True)
class GroupScores:
    """Scores of variants in groups, as fractions.

    Attributes:
        accuracy: Share of variants that are right.
        consistency: Share of groups in which every variant is right.
        groups: Number of groups.
        consistency_with_original: The same, the original counted into its group; over the groups whose original is
            known; None if there is none.
        groups_with_original: Number of those groups.
    """

    accuracy: float
    consistency: float
    groups: int
    consistency_with_original: float | None
    groups_with_original: int


def group_scores(
    right: Mapping[str, bool], original_of: Mapping[str, str], originals: Mapping[str, bool]
) -> GroupScores:
    """Return the scores of variants.

    Args:
        right: For each variant whether it is right; at least one.
        original_of: For each variant its original.
        originals: For each original that is known whether it is right.
    """
    groups: dict[str, bool] = {}
    for name, is_right in right.items():
        group = original_of[name]
        groups[group] = groups.get(group, True) and is_right
    joined = [is_right and originals[group] for group, is_right in groups.items() if group in originals]
    return GroupScores(
        accuracy=sum(right.values()) / len(right),
        consistency=sum(groups.values()) / len(groups),
        groups=len(groups),
        consistency_with_original=sum(joined) / len(joined) if joined else None,
        groups_with_original=len(joined),
    )


def original_identifier(identifier: str) -> str:
    """Return the identifier without its last part: `"test1-419-2-1-12"` gives `"test1-419-2-1"`.

    Raises:
        InputError: if the last part is no number.
    """
    original, _, last = identifier.rpartition("-")
    if not original or not last.isdigit():
        raise InputError(f"{identifier!r} is no identifier of a contrast set; one is that of the original and -<k>")
    return original


def truth_value(value: object) -> bool | None:
    """Return the truth value that a label or a prediction says, however it is written, or None if it says none."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def score_nlvr2_contrast(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "group",
    ids: Path | None = None,
    handling: Handling = "default",
    originals: Path | None = None,
) -> Report:
    """Return accuracy and consistency of the NLVR2 contrast set as fractions.

    Args:
        predictions: Lines of `identifier,prediction`, the prediction True, False, 1 or 0; with `originals`, those of
            the originals too.
        truth: JSON lines with `identifier` and `label`, a boolean or text.
        protocol: `group`: a group is all variants of one original.
        ids: Score only these variants.
        handling: What to do with ids that do not fit.
        originals: The labelled original set (NLVR2 test1), for the consistency with the original.

    Raises:
        InputError: if a file, a label or an id does not fit; there is no such protocol.
    """
    if protocol != "group":
        raise InputError(f"the NLVR2 contrast set has no protocol {protocol!r}; allowed: group")
    variants = read_truth_values(truth)
    known = read_truth_values(originals) if originals else {}
    said = read_pairs(predictions)
    joined = join(
        said, choose(variants, ids), source=predictions, handling=handling, elsewhere=variants.keys() | known.keys()
    )
    original_of = {name: original_identifier(name) for name in joined.ids}
    right = {name: truth_value(joined.by_id.get(name)) == variants[name] for name in joined.ids}
    said_of_original = dict(said)
    asked_originals = [group for group in dict.fromkeys(original_of.values()) if group in known]
    scores = group_scores(
        right,
        original_of,
        {group: truth_value(said_of_original.get(group)) == known[group] for group in asked_originals},
    )
    return Report(
        dataset="nlvr2-contrast",
        protocol=protocol,
        about="a group is all variants of one original; consistency without and with the original in its group",
        unit="fraction",
        scores={
            "accuracy": scores.accuracy,
            "consistency": scores.consistency,
            "consistency_with_original": scores.consistency_with_original,
        },
        groups={
            "counts": {
                "variants": len(right),
                "groups": scores.groups,
                "groups_with_original": scores.groups_with_original,
            }
        },
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
        notes=_notes(joined.by_id, scores, [name for name in asked_originals if name not in said_of_original]),
    )


def read_truth_values(path: Path) -> dict[str, bool]:
    """Return the label by identifier.

    Raises:
        InputError: if a label is no truth value or an identifier occurs twice.
    """
    return {name: _label(record, path) for name, record in by_id(read_records(path), "identifier", path).items()}


def _label(record: Record, path: Path) -> bool:
    value = truth_value(field(record, "label", path))
    if value is None:
        raise InputError(f"{path}: the label {record['label']!r} of {record['identifier']} is neither true nor false")
    return value


def _notes(said: Mapping[str, str], scores: GroupScores, unsaid: list[str]) -> tuple[str, ...]:
    """Say what stands behind the figures with the original, and which predictions say nothing."""
    notes = []
    if not scores.groups_with_original:
        notes.append("consistency with the original needs the labelled originals: --originals FILE")
    elif scores.groups_with_original < scores.groups:
        notes.append(
            f"{scores.groups - scores.groups_with_original:,} groups have no labelled original; "
            "consistency with the original leaves them out"
        )
    if unsaid:
        notes.append(f"{len(unsaid):,} originals have no prediction, counted as wrong: {', '.join(unsaid[:SHOWN])}")
    odd = [f"{name},{value}" for name, value in said.items() if truth_value(value) is None]
    if odd:
        notes.append(f"{len(odd):,} predictions are neither true nor false, counted as wrong: {'; '.join(odd[:SHOWN])}")
    return tuple(notes)
