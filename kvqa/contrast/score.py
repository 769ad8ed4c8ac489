"""Scoring predictions for any contrast set: in groups, without and with the original, and by kind of edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.contrast import group_scores, original_identifier, truth_value
from kvqa.scoring.files import Record, as_id, by_id, field, read_pairs, read_records, read_text
from kvqa.scoring.ids import SHOWN, Handling, join
from kvqa.scoring.report import Report

_SAID = ("prediction", "answer", "label")
_YES_NO = {"yes": True, "no": False}


def score_variants(predictions: Path, truth: Path, *, handling: Handling = "default") -> Report:
    """Return accuracy and consistency of a contrast set as fractions.

    Variants without a label, which still wait for a person, are left out and counted. The group of a variant is its
    `original`, or its identifier without the last part. An original counts into its group where some variant says its
    label (`original_label`); if no original is predicted at all, there is no consistency with the original.

    Args:
        predictions: Lines of `identifier,prediction`, or JSON records of `identifier` and `prediction`; those of the
            originals among them if there are any.
        truth: JSON records of `identifier`, `label` and perhaps `original`, `original_label` and `edit`, as
            `kvqa contrast make` writes them; a label is a truth value, yes or no, or any text.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit, or no variant has a label.
    """
    variants = by_id(read_records(truth), "identifier", truth)
    labelled = {name: record for name, record in variants.items() if field(record, "label", truth) is not None}
    if not labelled:
        raise InputError(f"no variant in {truth} has a label yet; fill in `label` where `needs_human` is true")
    original_of = {name: str(record.get("original") or original_identifier(name)) for name, record in labelled.items()}
    original_labels = {
        original_of[name]: record["original_label"]
        for name, record in labelled.items()
        if record.get("original_label") is not None
    }
    every_original = {str(record.get("original")) for record in variants.values()} | set(original_of.values())
    said = _read_predictions(predictions)
    joined = join(said, labelled, source=predictions, handling=handling, elsewhere=variants.keys() | every_original)
    right = {name: name in joined.by_id and agree(joined.by_id[name], labelled[name]["label"]) for name in joined.ids}
    all_said = dict(said)
    groups = dict.fromkeys(original_of[name] for name in right)
    predicted = any(group in all_said for group in groups)
    originals = {
        group: group in all_said and agree(all_said[group], original_labels[group])
        for group in groups
        if predicted and group in original_labels
    }
    scores = group_scores(right, original_of, originals)
    return Report(
        dataset="contrast",
        protocol="group",
        about="a group is all labelled variants of one original; consistency without and with the original",
        unit="fraction",
        scores={
            "accuracy": scores.accuracy,
            "consistency": scores.consistency,
            "consistency_with_original": scores.consistency_with_original,
            "accuracy_of_originals": sum(originals.values()) / len(originals) if originals else None,
        },
        groups={
            "accuracy_per_edit": _by_edit((str(labelled[name].get("edit", "")), right[name]) for name in right),
            "counts": {
                "variants": len(right),
                "groups": scores.groups,
                "groups_with_original": scores.groups_with_original,
                "waiting_for_a_person": len(variants) - len(labelled),
            },
        },
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
        notes=_notes(predicted, [name for name in originals if name not in all_said], len(variants) - len(labelled)),
    )


def agree(said: object, label: object) -> bool:
    """Say whether a prediction says the label: the same truth value, else the same text whatever its case."""
    known = _value(label)
    if known is not None:
        return _value(said) == known
    return str(said).strip().lower() == str(label).strip().lower()


def _value(value: object) -> bool | None:
    truth = truth_value(value)
    return _YES_NO.get(str(value).strip().lower()) if truth is None else truth


def _read_predictions(path: Path) -> list[tuple[str, object]]:
    if not read_text(path).lstrip().startswith(("{", "[")):
        return list(read_pairs(path))
    return [(as_id(_identity(record, path), path), _said(record, path)) for record in read_records(path)]


def _identity(record: Record, path: Path) -> object:
    return record["question_id"] if "question_id" in record else field(record, "identifier", path)


def _said(record: Record, path: Path) -> object:
    for name in _SAID:
        if name in record:
            return record[name]
    raise InputError(f"{path}: a prediction has none of {', '.join(_SAID)}: {str(record)[:100]}")


def _by_edit(pairs: Iterable[tuple[str, bool]]) -> Mapping[str, float]:
    gathered: dict[str, list[bool]] = {}
    for edit, is_right in pairs:
        if edit:
            gathered.setdefault(edit, []).append(is_right)
    return {edit: sum(values) / len(values) for edit, values in sorted(gathered.items())}


def _notes(predicted: bool, unsaid: list[str], waiting: int) -> tuple[str, ...]:
    notes = []
    if not predicted:
        notes.append("no original is predicted; consistency with the original needs their predictions in the same file")
    if unsaid:
        notes.append(f"{len(unsaid):,} originals have no prediction, counted as wrong: {', '.join(unsaid[:SHOWN])}")
    if waiting:
        notes.append(f"{waiting:,} variants wait for a person's label and are left out")
    return tuple(notes)
