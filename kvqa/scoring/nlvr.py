"""NLVR2 and NLVR: accuracy and consistency as the official scripts of lil-lab/nlvr have them.

Consistency is the share of sentences for which every pair of photos (NLVR: every picture) is judged right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kvqa.errors import InputError
from kvqa.scoring.files import by_id, field, read_pairs, read_records
from kvqa.scoring.ids import SHOWN, Handling, choose, join
from kvqa.scoring.report import Report

ORDERS = 6
"""NLVR shows every record's three boxes in all orders, each a picture of its own."""


def score_nlvr2(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "official",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return accuracy and consistency of NLVR2 (Suhr et al. 2019, arXiv 1811.00491) as fractions.

    Args:
        predictions: Lines of `identifier,True|False`, in any case.
        truth: JSON lines with `identifier` (`split-set-pair-sentence`) and `label`.
        protocol: `official`.
        ids: Score only the pairs of this list, such as the balanced ones.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: if a file or an id does not fit; there is no such protocol.
    """
    _known_protocol(protocol, ("official",))
    labels = read_labels(truth)
    return _report(
        dataset="nlvr2",
        protocol=protocol,
        about="lil-lab/nlvr, nlvr2/eval/metrics.py; consistency over sentences (pair number blanked)",
        labels=labels,
        chosen=choose(labels, ids),
        said=read_pairs(predictions),
        source=predictions,
        handling=handling,
        group_of=sentence_of_nlvr2,
    )


def score_nlvr(
    predictions: Path,
    truth: Path,
    *,
    protocol: str = "structured",
    ids: Path | None = None,
    handling: Handling = "default",
) -> Report:
    """Return accuracy and consistency of NLVR (Suhr et al. 2017) as fractions.

    Args:
        predictions: Lines of `identifier,true|false`. For `structured`, `1572-0`; for `images`, a line for each
            picture, `dev-1572-0-3.png`.
        truth: JSON lines with `identifier` and `label`.
        protocol: `structured`: one prediction a record. `images`: one for each of the six orders of the boxes.
        ids: Score only these records.
        handling: What to do with ids that do not fit.

    Raises:
        InputError: as `score_nlvr2`.
    """
    _known_protocol(protocol, ("structured", "images"))
    labels = read_labels(truth)
    chosen = choose(labels, ids)
    said = read_pairs(predictions)
    if protocol == "images":
        said = [("-".join(name.split(".")[0].split("-")[1:]), value) for name, value in said]
        labels = {f"{name}-{order}": label for name, label in labels.items() for order in range(ORDERS)}
        chosen = [f"{name}-{order}" for name in chosen for order in range(ORDERS)]
    return _report(
        dataset="nlvr",
        protocol=protocol,
        about=f"lil-lab/nlvr, {protocol}; consistency over sentences (first part of the identifier)",
        labels=labels,
        chosen=chosen,
        said=said,
        source=predictions,
        handling=handling,
        group_of=lambda name: name.split("-")[0],
    )


def read_labels(path: Path) -> dict[str, str]:
    """Return label by identifier, both as text, from JSON lines or a JSON list.

    Raises:
        InputError: if a record lacks one of them or an identifier occurs twice.
    """
    records = by_id(read_records(path), "identifier", path)
    return {name: str(field(record, "label", path)) for name, record in records.items()}


def sentence_of_nlvr2(identifier: str) -> str:
    """Return the identifier with the number of the pair blanked: `"dev-850-0-1"` gives `"dev-850--1"`.

    Raises:
        InputError: if it has fewer than four parts.
    """
    parts = identifier.split("-")
    if len(parts) < 4:
        raise InputError(f"{identifier!r} is no NLVR2 identifier; one reads split-set-pair-sentence")
    parts[2] = ""
    return "-".join(parts)


def consistency(right: Mapping[str, bool], group_of: Callable[[str], str]) -> tuple[float, int]:
    """Return the share of groups in which everything is right, and the number of groups."""
    groups = right_groups(right, group_of)
    return sum(groups.values()) / len(groups), len(groups)


def right_groups(right: Mapping[str, bool], group_of: Callable[[str], str]) -> dict[str, bool]:
    """Return for each group whether everything in it is right, groups in order of appearance."""
    groups: dict[str, bool] = {}
    for name, is_right in right.items():
        group = group_of(name)
        groups[group] = groups.get(group, True) and is_right
    return groups


def _report(
    *,
    dataset: str,
    protocol: str,
    about: str,
    labels: Mapping[str, str],
    chosen: list[str],
    said: list[tuple[str, str]],
    source: Path,
    handling: Handling,
    group_of: Callable[[str], str],
) -> Report:
    """Compare what was said with the labels, in any case but otherwise letter by letter, as the scripts do."""
    joined = join(said, chosen, source=source, handling=handling, unknown_is_error=False, elsewhere=labels.keys())
    right = {name: name in joined.by_id and joined.by_id[name].lower() == labels[name].lower() for name in joined.ids}
    share, sentences = consistency(right, group_of)
    odd = [f"{name},{joined.by_id[name]}" for name in joined.by_id if not _is_truth_value(joined.by_id[name])]
    return Report(
        dataset=dataset,
        protocol=protocol,
        about=about,
        unit="fraction",
        scores={"accuracy": sum(right.values()) / len(right), "consistency": share},
        groups={"counts": {"pairs": len(right), "sentences": sentences}},
        ids=joined.report,
        per_question={name: float(is_right) for name, is_right in right.items()},
        notes=tuple(_odd_note(odd)),
    )


def _is_truth_value(value: str) -> bool:
    return value.lower() in ("true", "false")


def _odd_note(odd: list[str]) -> Iterable[str]:
    if odd:
        yield f"{len(odd):,} predictions are neither true nor false, counted as wrong: {'; '.join(odd[:SHOWN])}"


def _known_protocol(name: str, allowed: tuple[str, ...]) -> None:
    if name not in allowed:
        raise InputError(f"there is no protocol {name!r} here; allowed: {', '.join(allowed)}")
